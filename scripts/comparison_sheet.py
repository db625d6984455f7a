"""Draw a sheet of parts of pictures at full size: as they are, by models, and by other codecs at equal bytes.

usage: python scripts/comparison_sheet.py OUT.jpg --model MODEL [--model MODEL ...] [--codec avif ...] [--levels N ...]
           [--side PIXELS] IMAGE[:X,Y] [IMAGE[:X,Y] ...]

The first model says the bytes: those of so many levels. Others, and other codecs, get no more; these at full size or
reduced, whichever is nearer to the picture by PSNR. X, Y: the top left corner of the part, else the middle is shown.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vqcodec import Codec
from vqcodec.benchmarks.rate_distortion.anchors import Anchor, anchors
from vqcodec.pictures.arrays import Pixels
from vqcodec.pictures.image import load_image
from vqcodec.rates.rate import RateError

CAPTION = 20


@dataclass(frozen=True)
class Coded:
    """pixels: of the whole picture, (H, W, 3)."""

    pixels: Pixels
    caption: str


def by_levels(codec: Codec, rgb: Pixels, levels: int) -> tuple[Coded, int]:
    """By so many levels, and how many bytes they take."""
    stream = codec.encode(rgb, levels=levels)
    bpp = 8 * len(stream) / (rgb.shape[0] * rgb.shape[1])
    return Coded(np.asarray(codec.decode(stream)), f"{codec.card.name}: {len(stream)} bytes, {bpp:.3f} bpp"), len(
        stream
    )


def within(codec: Codec, rgb: Pixels, limit: int) -> Coded:
    """In at most so many bytes."""
    try:
        stream = codec.encode(rgb, max_bytes=limit)
    except RateError as error:
        return Coded(np.full_like(rgb, 255), f"{codec.card.name}: {error.smallest} bytes at least")
    return Coded(np.asarray(codec.decode(stream)), f"{codec.card.name}: {len(stream)} bytes")


def by_another(name: str, rgb: Pixels, limit: int) -> Coded:
    """By another codec in at most so many bytes, at the scale that PSNR prefers."""
    best: tuple[float, Coded] | None = None
    height, width = rgb.shape[:2]
    for anchor in anchors([name]):
        data = _largest_within(anchor, rgb, limit)
        if data is None:
            continue
        pixels = anchor.decode(data, width, height)
        error = float(np.square(pixels.astype(np.float64) - rgb).mean())
        if best is None or error < best[0]:
            best = error, Coded(pixels, f"{anchor.name}: {len(data)} bytes")
    return best[1] if best else Coded(np.full_like(rgb, 255), f"{name}: no file as small")


def _largest_within(anchor: Anchor, rgb: Pixels, limit: int) -> bytes | None:
    """Of all whole qualities; None where the smallest is too large."""
    low, high, found = -1, 100, None
    while high - low > 1:
        quality = (low + high) // 2
        data = anchor.encode(rgb, quality)
        if len(data) <= limit:
            low, found = quality, data
        else:
            high = quality
    return found


def cell(coded: Coded, corner: tuple[int, int], side: int) -> Image.Image:
    """A part with a line of text below."""
    x, y = corner
    made = Image.new("RGB", (side, side + CAPTION), "white")
    made.paste(Image.fromarray(np.ascontiguousarray(coded.pixels[y : y + side, x : x + side])))
    ImageDraw.Draw(made).text((3, side + 2), coded.caption, "black", font=ImageFont.load_default(13))
    return made


def main() -> None:
    """Write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("images", nargs="+")
    parser.add_argument("--model", action="append", required=True)
    parser.add_argument(
        "--codec", action="append", default=[], help="one whose settings are qualities: avif, webp, jpeg"
    )
    parser.add_argument("--levels", type=int, action="append")
    parser.add_argument("--side", type=int, default=320)
    options = parser.parse_args()
    first, *others = (Codec.load(model) for model in options.model)
    rows = []
    for image in options.images:
        path, _, place = image.partition(":")
        rgb = load_image(path, alpha="drop").rgb
        height, width = rgb.shape[:2]
        side = min(options.side, height, width)
        x, y = map(int, place.split(",")) if place else ((width - side) // 2, (height - side) // 2)
        for levels in options.levels or [first.card.autoencoder.levels]:
            made, size = by_levels(first, rgb, levels)
            columns = [Coded(rgb, "as it is"), made, *(within(codec, rgb, size) for codec in others)]
            columns += [by_another(name, rgb, size) for name in options.codec]
            rows.append([cell(each, (x, y), side) for each in columns])
    wide, high = max(len(row) * row[0].width for row in rows), sum(row[0].height for row in rows)
    sheet, top = Image.new("RGB", (wide, high), "white"), 0
    for row in rows:
        for number, each in enumerate(row):
            sheet.paste(each, (number * each.width, top))
        top += row[0].height
    sheet.save(options.out, quality=88)


if __name__ == "__main__":
    main()
