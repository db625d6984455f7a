"""A sheet of pictures for the eye: originals beside what the model makes of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from vqcodec.pictures.arrays import Pixels

#: pixels between two pictures
GAP = 2
_MARGIN = 2


def make_sheet(columns: Sequence[Tensor], headings: Sequence[str]) -> Pixels:
    """One column for each of `columns`, N pictures (N, 3, H, W) float in [0, 1] on the CPU, one below the other.

    Returns (height, width, 3) uint8: thin white gaps between the pictures, and above them the headings, which are left
    out where one of them is wider than a picture. Values are rounded, not clamped. Raises ValueError when the numbers
    of columns and headings differ.
    """
    count, _, height, width = columns[0].shape
    top = _heading_height(headings, width)
    size = (len(columns) * (width + GAP) - GAP, top + count * (height + GAP) - GAP)
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    for column, (pictures, heading) in enumerate(zip(columns, headings, strict=True)):
        left = column * (width + GAP)
        if top:
            draw.text((left + _MARGIN, _MARGIN), heading, fill="black", font=ImageFont.load_default())
        for row, picture in enumerate(_to_uint8(pictures)):
            sheet.paste(Image.fromarray(picture), (left, top + row * (height + GAP)))
    return np.asarray(sheet)


def _to_uint8(pictures: Tensor) -> Pixels:
    return (pictures.permute(0, 2, 3, 1) * 255).round().byte().contiguous().numpy()


def _heading_height(headings: Sequence[str], width: int) -> int:
    """Pixels above the pictures, 0 when a heading does not fit into the `width` of a picture."""
    boxes = [ImageFont.load_default().getbbox(heading) for heading in headings]
    if max(box[2] for box in boxes) + 2 * _MARGIN > width:
        return 0
    return int(max(box[3] for box in boxes)) + 2 * _MARGIN
