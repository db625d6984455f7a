"""How the fused kernel lays vectors and codes out for matrix units, which multiply 16 dimensions at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: dimensions in one matrix product, at most: more are added up product by product
_LARGEST_SLICE: Final = 64
#: up to this width both parts of the factors, and the offsets, stand side by side in one matrix product
_LARGEST_PACKED: Final = 32


@dataclass(frozen=True)
class Layout:
    """slice_width: of one product. slices: so many of them hold a vector. packed: the parts stand side by side."""

    slice_width: int
    slices: int
    packed: bool

    @classmethod
    def of(cls, dimension: int) -> Layout:
        """Of vectors of so many dimensions."""
        side_by_side = 3 * dimension + 4
        packed = side_by_side <= _LARGEST_PACKED
        least = side_by_side if packed else dimension
        width = min(_LARGEST_SLICE, max(16, 1 << (least - 1).bit_length()))
        return cls(width, -(-least // width), packed)

    @property
    def width(self) -> int:
        """Of all slices."""
        return self.slice_width * self.slices

    def multiplications(self, *, split: bool) -> int:
        """For one score, on matrix units. split: whether z has a second part, which bfloat16 has not."""
        if self.packed:
            return self.width
        return self.width * (3 if split else 2)
