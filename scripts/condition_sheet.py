"""Draw a sheet of what a prior makes of conditions: each picture, what the prior is told of it, and samples.

usage: python scripts/condition_sheet.py OUT.jpg [--prior FOLDER] [--condition-model MODEL] IMAGE [IMAGE ...]

Pictures are cut to a square in their middle and reduced to 256 x 256 pixels. A prior that upscales is told a picture at
low resolution, whose colours the samples keep.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from vqcodec.generation.conditions import LOW_RESOLUTIONS, to_pixels
from vqcodec.generation.config import Series
from vqcodec.generation.sampler import Sampler
from vqcodec.pictures.arrays import Pixels
from vqcodec.pictures.image import load_image, scale_pixels, to_unit_range
from vqcodec.pictures.resampling import shrink
from vqcodec.training.stage1.preview import make_sheet

SIDE, SAMPLES = 256, 3


def square(path: str) -> Pixels:
    """The middle of a picture, (SIDE, SIDE, 3)."""
    picture = Image.fromarray(load_image(path, alpha="drop").rgb)
    return np.array(ImageOps.fit(picture, (SIDE, SIDE), Image.Resampling.LANCZOS))


def cells(sampler: Sampler, picture: Pixels) -> list[Pixels]:
    """The picture, its condition, and what the prior makes of this."""
    assert sampler.condition is not None
    told = sampler.condition.shown(picture[None])[0]
    if sampler.card.condition in LOW_RESOLUTIONS:
        low = to_pixels(shrink(scale_pixels(torch.from_numpy(picture[None])), sampler.upscaling))[0]
        made = sampler.upscale(low, Series(SAMPLES))
    else:
        made = sampler.generate(Series(SAMPLES), size=(SIDE, SIDE), condition=sampler.condition_of(picture))
    return [picture, told, *(each.rgb for each in made)]


def main() -> None:
    """Write the sheet."""
    parser = argparse.ArgumentParser(usage="\n".join((__doc__ or "").split("\n")[2:]))
    parser.add_argument("out", type=Path)
    parser.add_argument("images", nargs="+")
    parser.add_argument("--prior", type=Path)
    parser.add_argument("--condition-model")
    options = parser.parse_args()
    sampler = Sampler.load(prior=options.prior, condition_model=options.condition_model)
    if sampler.condition is None:
        raise SystemExit(f"prior {sampler.card.name} is told nothing of a picture; give another --prior")
    rows = [cells(sampler, square(path)) for path in options.images]
    columns = [to_unit_range(scale_pixels(torch.from_numpy(np.stack(column)))) for column in zip(*rows, strict=True)]
    headings = ["original", f"told: {sampler.card.condition}", *(f"sample {n}" for n in range(1, SAMPLES + 1))]
    Image.fromarray(make_sheet(columns, headings)).save(options.out, quality=88)


if __name__ == "__main__":
    main()
