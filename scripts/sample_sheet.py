"""Draw a sheet of small pictures, those of each folder in FOLDER as a row with the folder's name: samples of classes.

usage: python scripts/sample_sheet.py OUT.png FOLDER      (or OUT.jpg)
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

#: pixels
CELL, NAME = 64, 90
GAP = 2


def sheet(rows: dict[str, list[Path]]) -> Image.Image:
    """A row for each name: the name, then its pictures, each as a square of CELL pixels."""
    pitch = CELL + GAP
    made = Image.new("RGB", (NAME + pitch * max(map(len, rows.values())), pitch * len(rows)), "white")
    draw, font = ImageDraw.Draw(made), ImageFont.load_default(14)
    for number, (name, files) in enumerate(rows.items()):
        draw.text((4, pitch * number + CELL // 2), name, "black", font=font, anchor="lm")
        for column, file in enumerate(files):
            with Image.open(file) as picture:
                cell = picture.convert("RGB").resize((CELL, CELL), Image.Resampling.NEAREST)
            made.paste(cell, (NAME + pitch * column, pitch * number))
    return made


def main() -> None:
    """Write the sheet."""
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    folders = sorted(folder for folder in Path(sys.argv[2]).glob("*") if folder.is_dir())
    rows = {folder.name: sorted(folder.glob("*.png")) for folder in folders}
    if not any(rows.values()):
        sys.exit(f"{sys.argv[2]}: no folders of .png files")
    sheet(rows).save(sys.argv[1], quality=90)


if __name__ == "__main__":
    main()
