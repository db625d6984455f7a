"""Label maps made from pictures: a class for each pixel, such as edge or not. Imports no torch.

They stand in for the segmentation maps of Esser et al., 2021 (§3.2 and appendix), which need labelled data: these come
from any folder of pictures. A model of label maps (`AutoencoderConfig.label_map`) turns them into tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from vqcodec.pictures.arrays import Pixels

#: (..., H, W): the class of each pixel
ClassMap = NDArray[np.uint8]

#: of the blur before edges are looked for, and before colours are sorted, in pixels
_EDGE_BLUR, _COLOUR_BLUR = 1.5, 2.5
#: slope of the luma from which on there is an edge, per pixel of 0..255
_EDGE_SLOPE = 6.0
#: side in pixels of the window in which the commonest colour wins
_COMMONEST = 5


@dataclass(frozen=True)
class LabelMap:
    """palette: the colour of each class, (classes, 3) uint8. of: a picture (H, W, 3) to classes (H, W), both uint8."""

    palette: Pixels
    of: Callable[[Pixels], ClassMap]

    @property
    def classes(self) -> int:
        return len(self.palette)

    def of_each(self, pictures: Pixels) -> ClassMap:
        """(B, H, W, 3) -> (B, H, W)."""
        return np.stack([self.of(picture) for picture in pictures])

    def drawn(self, picture: Pixels) -> ClassMap:
        """The classes of a picture that shows a map: each pixel's nearest colour of the palette. -> (H, W)."""
        return _nearest(Image.fromarray(picture), self.palette)

    def render(self, labels: ClassMap) -> Pixels:
        """(..., H, W) -> the colours, (..., H, W, 3)."""
        colours: Pixels = self.palette[labels]
        return colours


def _edges(picture: Pixels) -> ClassMap:
    """1 on edges: where the slope of the blurred luma is steep, and the steepest across the edge (Canny, 1986).

    Edges are three pixels wide.
    """
    luma = Image.fromarray(picture).convert("L").filter(ImageFilter.GaussianBlur(_EDGE_BLUR))
    down, right = np.gradient(np.pad(np.asarray(luma, dtype=np.float32), 1, mode="edge"))
    slope = np.hypot(down, right)
    middle = slope[1:-1, 1:-1]
    steepest = np.zeros(middle.shape, dtype=bool)
    direction = np.round(np.arctan2(down, right)[1:-1, 1:-1] / (np.pi / 4)).astype(int) % 4
    for number, (row, col) in enumerate(((0, 1), (1, 1), (1, 0), (1, -1))):
        ahead, behind = _shifted(slope, row, col), _shifted(slope, -row, -col)
        steepest |= (direction == number) & (middle >= ahead) & (middle > behind)
    thin = Image.fromarray((steepest & (middle >= _EDGE_SLOPE)).astype(np.uint8))
    return np.asarray(thin.filter(ImageFilter.MaxFilter(3)))


def _shifted(padded: NDArray[np.float32], row: int, col: int) -> NDArray[np.float32]:
    """What lies `row` down and `col` to the right of each place, of an array with one more place on every side."""
    height, width = padded.shape
    return padded[1 + row : height - 1 + row, 1 + col : width - 1 + col]


def _colours(picture: Pixels) -> ClassMap:
    """The nearest of 16 colours, in areas: the commonest around each pixel of a blurred picture."""
    blurred = Image.fromarray(picture).filter(ImageFilter.GaussianBlur(_COLOUR_BLUR))
    labels = Image.fromarray(_nearest(blurred, _COLOUR_PALETTE))
    return np.asarray(labels.filter(ImageFilter.ModeFilter(_COMMONEST)))


def _nearest(picture: Image.Image, palette: Pixels) -> ClassMap:
    """The number of the nearest colour for each pixel, by squared distance in RGB; the first of equal ones."""
    pixels, colours = np.asarray(picture, dtype=np.float32), palette.astype(np.float32)
    squares = np.square(colours).sum(axis=1) - 2 * pixels @ colours.T  # whole numbers below 2^24: exact
    nearest: ClassMap = squares.argmin(axis=2).astype(np.uint8)
    return nearest


#: k-means of the colours of 500 photographs, from dark to light
_COLOUR_PALETTE: Final = np.array(
    [
        (20, 22, 21),
        (56, 46, 35),
        (58, 70, 75),
        (115, 58, 40),
        (92, 82, 58),
        (190, 61, 50),
        (116, 139, 60),
        (114, 111, 104),
        (157, 120, 86),
        (106, 128, 143),
        (210, 152, 54),
        (85, 145, 191),
        (153, 149, 141),
        (202, 181, 150),
        (182, 189, 193),
        (231, 230, 228),
    ],
    dtype=np.uint8,
)
_EDGE_PALETTE: Final = np.array([(0, 0, 0), (255, 255, 255)], dtype=np.uint8)

EDGES: Final = "edges"
COLOURS: Final = "colours"
LABEL_MAPS: Final[dict[str, LabelMap]] = {
    EDGES: LabelMap(_EDGE_PALETTE, _edges),
    COLOURS: LabelMap(_COLOUR_PALETTE, _colours),
}
