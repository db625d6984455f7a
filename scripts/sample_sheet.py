"""Draw a sheet of the pictures in the folders of a folder: a row for each, with its name.

usage: python scripts/sample_sheet.py OUT.png FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

#: pixels
CELL, NAME = 64, 90
GAP = 2


def main() -> None:
    """Write the sheet."""
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    rows = {folder.name: sorted(folder.glob("*.png")) for folder in sorted(Path(sys.argv[2]).iterdir())}
    width = NAME + (CELL + GAP) * max(map(len, rows.values()))
    sheet = Image.new("RGB", (width, (CELL + GAP) * len(rows)), "white")
    for number, (name, files) in enumerate(rows.items()):
        top = number * (CELL + GAP)
        ImageDraw.Draw(sheet).text((4, top + CELL // 3), name, "black", font=ImageFont.load_default(14))
        for column, file in enumerate(files):
            with Image.open(file) as picture:
                cell = picture.convert("RGB").resize((CELL, CELL), Image.Resampling.NEAREST)
            sheet.paste(cell, (NAME + column * (CELL + GAP), top))
    sheet.save(sys.argv[1])


if __name__ == "__main__":
    main()
