"""What each place of an order looks at, against the tensors that the prior in floating point uses."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vqcodec.prior.orders import ORDERS
from vqcodec.prior.places import places
from vqcodec.prior.slots import slots


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 1), (3, 2), (9, 13)])
@pytest.mark.parametrize("radius", [1, 2, 6])
def test_every_place_looks_at_what_the_float_prior_does(order: str, shape: tuple[int, int], radius: int) -> None:
    known, whole = places(ORDERS[order], *shape, radius), slice(0, shape[0] * shape[1])
    relative, seen = slots(ORDERS[order], *shape, radius, torch.device("cpu")).relative(whole, whole)
    expected = np.where(seen.numpy(), relative.numpy(), (2 * radius + 1) ** 2)
    for start in range(0, whole.stop, 4):
        queries = slice(start, min(start + 4, whole.stop))
        keys = np.arange(whole.stop)[known.looked_at(queries)]
        found = known.seen.take(known.differences(queries, keys), mode="clip")
        assert np.array_equal(found, expected[queries][:, keys])
        left_out = np.delete(expected[queries], keys, axis=1)
        assert (left_out == (2 * radius + 1) ** 2).all()


def test_what_is_too_far_is_left_out_of_long_diagonals_alone() -> None:
    short, long = (places(ORDERS["wavefront"], rows, 40, 1) for rows in (5, 40))
    assert isinstance(short.looked_at(slice(150, 155)), slice)
    assert len(np.arange(1600)[long.looked_at(slice(800, 804))]) < 30
