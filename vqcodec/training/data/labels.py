"""Class labels: how they are written beside the pictures, and how a whole set of them is numbered."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TypeAlias

from vqcodec.training.data.types import DataError

__all__ = ["LAYOUTS", "MAX_CLASSES", "ClassLabel", "number_classes", "parse_class_number"]

#: as found beside a picture: a class's name, or its number; None: this picture has no label
ClassLabel: TypeAlias = "str | int | None"

#: numbers of classes lie in 0..MAX_CLASSES - 1: a damaged one must not make a table of a billion names
MAX_CLASSES = 100_000

LAYOUTS = (
    "a folder of folders (the first folder below the path is the class), tar shards with KEY.cls beside KEY.jpg "
    "(the class as a decimal integer), and the files of MNIST, Fashion-MNIST and CIFAR-10"
)

_NUMBER = re.compile(rb"\s*([0-9]{1,5})\s*")


def parse_class_number(content: bytes, name: str) -> int:
    """The class in the bytes of a `.cls` file called `name`. Raises DataError when it is no number of a class."""
    found = _NUMBER.fullmatch(content)
    if found is None:
        raise DataError(
            f"{name}: not the number of a class ({content[:20]!r}); "
            f"write a decimal integer from 0 to {MAX_CLASSES - 1} into it"
        )
    return int(found[1])


def number_classes(
    labels: Sequence[ClassLabel], more_names: Iterable[str] = ()
) -> tuple[list[int | None], tuple[str, ...]]:
    """The labels as numbers, and the name of each number.

    Names, those in `more_names` too, are sorted and numbered from 0; numbers stay, and are their own names.

    Raises:
        DataError: there is no label at all, or some are names and others are numbers.
    """
    names = sorted({label for label in labels if isinstance(label, str)}.union(more_names))
    numbers = {label for label in labels if isinstance(label, int)}
    if names and numbers:
        raise DataError(
            f"some classes have names ({names[0]}, ...), others only numbers ({min(numbers)}, ...): "
            "a set cannot have both, train on one of them"
        )
    if not names and not numbers:
        raise DataError(f"the pictures have no class labels; understood are {LAYOUTS}")
    number_of = {name: number for number, name in enumerate(names)}
    numbered = [number_of[label] if isinstance(label, str) else label for label in labels]
    return numbered, tuple(names) or tuple(str(number) for number in range(max(numbers) + 1))
