"""Which blocks of a picture get the finest level first: those to whose latent it adds most. Imports no torch.

The blocks of a share lie in those of every larger one, so that bytes and what they give rise together.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vqcodec.bitstream import PartialLevel
from vqcodec.bitstream.partial import block_shape

#: side of a block in tokens: smaller blocks hold more of what matters, and their map takes more bytes
_TOKENS_A_SIDE: Final = 4


def part_of(
    share: float, energy: NDArray[np.float64], factor: int, size: tuple[int, int], filler: int
) -> PartialLevel | None:
    """The blocks with a level that has so large a share of all blocks, above 0 and up to 1; None for all.

    energy: (rows, cols), how much each token adds. factor: pixels a token. size: width and height of the picture.
    """
    side = _TOKENS_A_SIDE * factor
    by_block = _summed(energy, block_shape(side, *size))
    count = math.ceil(share * by_block.size)
    if count >= by_block.size:
        return None
    coded = np.zeros(by_block.size, bool)
    coded[np.argsort(-by_block.reshape(-1), kind="stable")[:count]] = True
    return PartialLevel(side, coded.reshape(by_block.shape), filler)


def _summed(energy: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.float64]:
    """Of each block; in a fixed order, so that it is the same everywhere."""
    summed = np.zeros(shape)
    for row in range(_TOKENS_A_SIDE):
        for col in range(_TOKENS_A_SIDE):
            part = energy[row::_TOKENS_A_SIDE, col::_TOKENS_A_SIDE]
            summed[: part.shape[0], : part.shape[1]] += part
    return summed
