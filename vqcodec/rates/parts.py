"""Which blocks of a picture get the finest level first: those to whose latent it adds most. Imports no torch.

The blocks of a share lie in those of every larger one, so that bytes and what they give rise together.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vqcodec.bitstream import PartialLevel
from vqcodec.bitstream.partial import block_shape

#: side of a block in tokens: smaller blocks hold more of what matters, and their map takes more bytes
_TOKENS_A_SIDE: Final = 4


def part_of(
    share: float, energy: NDArray[np.floating[Any]], factor: int, size: tuple[int, int], filler: int
) -> PartialLevel | None:
    """The blocks with a level that has so large a share of all blocks, in (0, 1]; None for all.

    energy: (rows, cols), how much each token adds. factor: pixels a token. size: width and height of the picture.
    """
    side = _TOKENS_A_SIDE * factor
    rows, cols = block_shape(side, *size)
    padded = np.zeros((rows * _TOKENS_A_SIDE, cols * _TOKENS_A_SIDE))
    padded[: energy.shape[0], : energy.shape[1]] = energy
    by_block = padded.reshape(rows, _TOKENS_A_SIDE, cols, _TOKENS_A_SIDE).sum(axis=(1, 3)).reshape(-1)
    count = math.ceil(share * len(by_block))
    if count >= len(by_block):
        return None
    coded = np.zeros(len(by_block), bool)
    coded[np.argsort(-by_block, kind="stable")[:count]] = True
    return PartialLevel(side, coded.reshape(rows, cols), filler)
