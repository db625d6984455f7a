"""A finest level that has tokens in some blocks of a picture only: rates between those of whole levels.

Such a stream has a PARTIAL_LEVEL box: which blocks have tokens of that level, and the token that stands everywhere
else, which takes no bits. docs/format.md, section 3.2.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vqcodec.bitstream.entropy_models import CodedTokens
from vqcodec.bitstream.errors import CorruptStreamError, StreamError
from vqcodec.bitstream.limits import MAX_SIDE_PIXELS, MAX_TOKENS
from vqcodec.bitstream.wire import Reader, encode_varint


@dataclass(frozen=True, eq=False)
class PartialLevel:
    """What a PARTIAL_LEVEL box says.

    ``side``: of the blocks, in pixels, a multiple of the finest level's f. ``coded``: (rows, cols) bool, the blocks
    that have tokens, at least one and not all. ``filler``: the token elsewhere. Raises `ValueError` for others.

    Examples:
        >>> partial = PartialLevel(64, np.array([[True, False, True]]), filler=5)
        >>> partial.to_bytes().hex()
        '4005a0'
        >>> partial.tokens(32, (1, 5)).mask.tolist()
        [[True, True, False, False, True]]
    """

    side: int
    coded: npt.NDArray[np.bool_]
    filler: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "coded", np.asarray(self.coded, dtype=bool))
        if self.side < 1 or self.coded.ndim != 2 or self.coded.all() or not self.coded.any():
            raise ValueError(f"of {self.coded.shape} blocks of {self.side} pixels at least one has tokens, and not all")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PartialLevel) and (
            (self.coded.shape, self.to_bytes()) == (other.coded.shape, other.to_bytes())
        )

    def __hash__(self) -> int:
        return hash(self.to_bytes())

    def to_bytes(self) -> bytes:
        """The content of the box."""
        bits = np.packbits(self.coded.reshape(-1)).tobytes()  # the first block in the highest bit
        return encode_varint(self.side) + encode_varint(self.filler) + bits

    def tokens(self, factor: int, shape: tuple[int, int]) -> CodedTokens:
        """Which tokens of a grid (rows, cols) of ``factor`` pixels each are coded. Raises `CorruptStreamError` where
        blocks do not hold whole tokens."""
        if self.side % factor:
            raise CorruptStreamError(f"blocks of {self.side} pixels do not hold whole tokens; the file is damaged")
        rows, cols = (np.arange(length) // (self.side // factor) for length in shape)
        return CodedTokens(self.coded[rows[:, None], cols], self.filler)


def block_shape(side: int, width: int, height: int) -> tuple[int, int]:
    """(rows, cols) of blocks of ``side`` pixels of a picture."""
    return -(-height // side), -(-width // side)


def read_partial(content: memoryview, width: int, height: int) -> PartialLevel:
    """What the box of a picture of ``width`` x ``height`` pixels says. Raises `CorruptStreamError`."""
    reader = Reader(content)
    try:
        side, filler = reader.varint("side of the blocks"), reader.varint("token of the rest")
        if not 1 <= side <= MAX_SIDE_PIXELS:
            raise CorruptStreamError(f"blocks of {side} pixels")
        shape = block_shape(side, width, height)
        count = shape[0] * shape[1]
        if count > MAX_TOKENS:  # before any of them is read: a block has a token at least
            raise CorruptStreamError(f"{count} blocks, more than a picture has tokens")
        bits = np.frombuffer(reader.take(-(-count // 8), "blocks"), np.uint8)
    except StreamError as error:
        raise CorruptStreamError(f"the PARTIAL_LEVEL box is damaged: {error}") from error
    if reader.remaining:
        raise CorruptStreamError(f"the PARTIAL_LEVEL box has {reader.remaining} bytes too many; the file is damaged")
    coded = np.unpackbits(bits)
    if coded[count:].any():
        raise CorruptStreamError("the PARTIAL_LEVEL box has more blocks than the picture; the file is damaged")
    try:
        return PartialLevel(side, coded[:count].reshape(shape).astype(bool), filler)
    except ValueError as error:
        raise CorruptStreamError(f"the PARTIAL_LEVEL box is damaged: {error}") from error
