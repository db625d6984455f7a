"""Draw a sheet of pictures: each as it is, then decoded from 1, 3 and 6 levels, with bytes and bits per pixel.

usage: python scripts/contact_sheet.py OUT.jpg IMAGE [IMAGE ...]
"""

from __future__ import annotations

import sys

from PIL import Image, ImageDraw, ImageFont

from vqcodec import Codec
from vqcodec.pictures.image import load_image, to_pil

LEVELS = (1, 3, 6)
WIDTH = 400
CAPTION = 22


def captioned(image: Image.Image, text: str) -> Image.Image:
    """The picture at a width of WIDTH pixels with a line of text below."""
    image = image.resize((WIDTH, round(image.height * WIDTH / image.width)), Image.Resampling.LANCZOS)
    made = Image.new("RGB", (WIDTH, image.height + CAPTION), "white")
    made.paste(image)
    ImageDraw.Draw(made).text((4, image.height + 3), text, "black", font=ImageFont.load_default(14))
    return made


def row(codec: Codec, path: str) -> list[Image.Image]:
    """The picture and its reconstructions."""
    loaded = load_image(path, alpha="drop")
    cells = [captioned(to_pil(loaded.rgb), f"original, {loaded.width} x {loaded.height}")]
    for levels in LEVELS:
        stream = codec.encode(loaded, levels=levels)
        rate = 8 * len(stream) / (loaded.width * loaded.height)
        text = f"{levels} level{'s' if levels > 1 else ''}: {len(stream)} bytes, {rate:.3f} bpp"
        cells.append(captioned(codec.decode(stream), text))
    return cells


def main() -> None:
    """Write the sheet."""
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    codec = Codec.load()
    rows = [row(codec, path) for path in sys.argv[2:]]
    sheet = Image.new("RGB", (WIDTH * (1 + len(LEVELS)), sum(cells[0].height for cells in rows)), "white")
    top = 0
    for cells in rows:
        for number, cell in enumerate(cells):
            sheet.paste(cell, (WIDTH * number, top))
        top += cells[0].height
    sheet.save(sys.argv[1], quality=90)


if __name__ == "__main__":
    main()
