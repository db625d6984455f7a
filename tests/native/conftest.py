"""The units of this processor, for the tests of the core."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from vqcodec.native.library import core, units


@pytest.fixture(params=units(library) if (library := core()) else [])
def unit(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each unit that this processor has, while the core computes by it."""
    library = core()
    assert library is not None
    before = library.vq_unit()
    assert not library.vq_unit_choose(request.param.encode())
    yield request.param
    library.vq_unit_choose(before)
