"""What all parts of the training data share: the arrays, the error, and what the trainer asks of a set of pictures."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vqcodec.pictures.arrays import Pixels

#: (B,), numbers of classes
Labels = NDArray[np.int64]


class DataError(ValueError):
    """Training data that cannot be used."""


class Pictures(Protocol):
    """A fixed sequence of RGB pictures, (H, W, 3) uint8 each, that may have class labels."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes; a label is a place in them. Empty for a set without labels."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Pixels: ...

    def label(self, index: int) -> int | None:
        """The label of the picture that `[index]` gives; None when it has none."""

    def item(self, index: int) -> tuple[Pixels, int | None]:
        """`[index]` and `label(index)` at once."""
