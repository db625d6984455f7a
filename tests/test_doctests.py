"""The examples in docstrings run as they stand, and every public name has one."""

from __future__ import annotations

import doctest
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

import vqcodec
from vqcodec import bitstream, training

ROOT = Path(__file__).parent.parent
#: root folder -> the package that it is; benchmarks and commands are no library
LIBRARY = {"vqcodec": "vqcodec", "bitstream": "vqcodec.bitstream"}
#: what one meets first in vqcodec.bitstream; the other names are constants, errors and protocols
ENTRY_POINTS = [
    "Boxes",
    "GridSpec",
    "StaticModel",
    "StreamModel",
    "TokenGrid",
    "TokenPyramid",
    "UniformModel",
    "quantise_frequencies",
    "read_header",
    "read_stream",
    "truncated_sizes",
    "truncated_stream",
    "write_stream",
]
PUBLIC = [name for name in vqcodec.__all__ if not name.startswith("__")]


def modules_with_examples() -> Iterator[str]:
    for folder, package in LIBRARY.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            if ">>> " in path.read_text(encoding="utf-8"):
                inner = path.relative_to(ROOT / folder).with_suffix("").parts
                yield ".".join([package, *(part for part in inner if part != "__init__")])


@pytest.fixture(scope="module", autouse=True)
def models_are_loaded_once() -> Iterator[None]:
    """As examples load the embedded model again and again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("VQCODEC_MODELS", raising=False)
        for kind in (vqcodec.Codec, vqcodec.Sampler):
            patch.setattr(kind, "load", cache(kind.load))
        yield


@pytest.mark.parametrize("name", list(modules_with_examples()))
def test_examples_give_what_they_say(name: str) -> None:
    module: ModuleType = import_module(name)
    told: list[str] = []
    runner = doctest.DocTestRunner(verbose=False)
    for test in doctest.DocTestFinder(exclude_empty=True).find(module):
        runner.run(test, out=told.append)
    assert runner.summarize(verbose=False).attempted > 0, "no example of it was found"
    assert not told, "".join(told)


@pytest.mark.parametrize(
    ("package", "name"),
    [
        *((vqcodec, name) for name in PUBLIC),
        *((bitstream, name) for name in ENTRY_POINTS),
        *((training, name) for name in training.__all__ if name != "PRESETS"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_every_public_name_has_an_example(package: ModuleType, name: str) -> None:
    assert doctest.DocTestParser().get_examples(getattr(package, name).__doc__ or "")
