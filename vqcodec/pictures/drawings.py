"""Pictures that the networks, which learned photographs, code badly: logos, charts, screenshots, pure colours."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from vqcodec.pictures.conversion import LoadedImage

__all__ = ["drawing_warning"]

_BAND_ROWS: Final = 32
_MOST_PIXELS: Final = 1 << 18
#: from here on a channel counts as white: photographs may have any amount of it, as drawings have
_WHITE: Final = 250
_LEAST_SHARE: Final = 0.02  # of pixels that are not white, to say anything
_COLOURS: Final = 16
# Of 700 photographs not one has half of its pixels in 16 colours, and one in a hundred 4 % of saturated ones.
_FLAT_SHARE, _FLAT_COLOURS_SHARE, _COLOURS_SHARE = 0.55, 0.5, 0.85
_SATURATED: Final = 220  # the largest channel less the smallest
_SATURATED_SHARE: Final = 0.15


def drawing_warning(image: LoadedImage) -> tuple[str, ...]:
    """A line about a picture that looks drawn, or has very saturated colours in many places; none for a photograph.

    At most 260,000 pixels are looked at, in bands of 32 rows; those with alpha 0 are not.
    """
    rgb, visible = _sample(image)
    shown = visible & (rgb.min(axis=2) < _WHITE)
    if shown.mean() < _LEAST_SHARE:
        return ()
    alike = (rgb[1:, 1:] == rgb[:-1, 1:]).all(axis=2) & (rgb[1:, 1:] == rgb[1:, :-1]).all(axis=2)
    flat = float(alike[shown[1:, 1:]].mean()) if shown[1:, 1:].any() else 0.0
    codes = rgb[shown].astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], dtype=np.uint32)
    counts = np.sort(np.unique(codes, return_counts=True)[1])[::-1]
    in_few_colours = float(counts[:_COLOURS].sum() / codes.size)
    if (
        len(counts) > 1
        and codes.size > 256
        and (in_few_colours >= _COLOURS_SHARE or (flat >= _FLAT_SHARE and in_few_colours >= _FLAT_COLOURS_SHARE))
    ):
        return (
            "looks drawn rather than photographed (a logo, chart or screenshot): edges and colours will suffer; "
            "PNG or lossless WebP keep them",
        )
    pixels = rgb[visible].astype(np.int16)
    saturated = float((pixels.max(axis=1) - pixels.min(axis=1) >= _SATURATED).mean())
    if saturated >= _SATURATED_SHARE:
        return (f"{saturated:.0%} of it are very saturated colours, which will come out paler",)
    return ()


def _sample(image: LoadedImage) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """(H', W, 3) pixels and where they are visible, (H', W): whole bands of rows, evenly over the picture."""
    bands = -(-image.height // _BAND_ROWS)
    wanted = max(1, _MOST_PIXELS // (_BAND_ROWS * image.width))
    chosen = np.unique(np.linspace(0, bands - 1, min(bands, wanted)).round().astype(int))
    rows = np.concatenate([np.arange(band * _BAND_ROWS, min((band + 1) * _BAND_ROWS, image.height)) for band in chosen])
    rgb = image.rgb[rows] if len(rows) < image.height else image.rgb
    if image.alpha is None:
        return rgb, np.ones(rgb.shape[:2], dtype=np.bool_)
    return rgb, image.alpha[rows] > 0
