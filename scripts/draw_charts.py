#!/usr/bin/env python3
"""Drawn pictures to train on beside photographs: flat saturated colours, lettering, grids, charts, gradients.

scripts/draw_charts.py OUT.tar [--pictures 500] [--size 320] [--seed 0]

Photographs have few pure colours and little lettering; a model that saw nothing else paints both badly.
"""

from __future__ import annotations

import argparse
import io
import random
import string
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]
WORDS = ("codes", "tokens", "rate of", "0123", "total", "SALE", "exit", "48%", "Main Street", "& Co.", "no parking")
PURE: tuple[Colour, ...] = ((255, 0, 0), (0, 160, 0), (0, 0, 255), (255, 255, 0), (255, 0, 255), (0, 255, 255))


def draw_colour(rng: random.Random) -> Colour:
    """A pure colour, a saturated one, or a grey, in sRGB."""
    kind = rng.random()
    if kind < 0.35:
        return rng.choice(PURE)
    if kind < 0.8:
        hue = Image.new("HSV", (1, 1), (rng.randrange(256), rng.randrange(150, 256), rng.randrange(90, 256)))
        red, green, blue = np.asarray(hue.convert("RGB"))[0, 0].tolist()
        return red, green, blue
    grey = rng.choice((0, 255, 255, rng.randrange(256)))
    return grey, grey, grey


def draw_word(rng: random.Random) -> str:
    """One of the usual ones, or letters and figures by chance, in capitals or not."""
    if rng.random() < 0.4:
        return rng.choice(WORDS)
    letters = "".join(rng.choices(string.ascii_lowercase + string.digits, k=rng.randrange(1, 9)))
    return rng.choice((letters, letters, letters.upper(), letters.capitalize()))


def write_words(draw: ImageDraw.ImageDraw, rng: random.Random, size: int) -> None:
    """Lines of words over the whole picture, in one size and colour."""
    height = rng.randrange(10, 44)
    font = ImageFont.load_default(height)
    colour = draw_colour(rng)
    for top in range(rng.randrange(20), size, round(height * 1.4)):
        draw.text((rng.randrange(30), top), " ".join(draw_word(rng) for _ in range(8)), fill=colour, font=font)


def fill_patches(draw: ImageDraw.ImageDraw, rng: random.Random, size: int) -> None:
    """A grid of flat colours, with or without lines between."""
    step, gap = rng.randrange(20, 110), rng.choice((0, 0, 1, 2, 6))
    for top in range(0, size, step):
        for left in range(0, size, step):
            draw.rectangle((left, top, left + step - gap - 1, top + step - gap - 1), fill=draw_colour(rng))


def plot_bars(draw: ImageDraw.ImageDraw, rng: random.Random, size: int) -> None:
    """Bars over a grid, with an axis and numbers."""
    for top in range(20, size, 40):
        draw.line((0, top, size, top), fill=(190, 190, 190))
    width = rng.randrange(8, 40)
    for left in range(30, size, width + rng.randrange(2, 14)):
        top = rng.randrange(20, size - 20)
        draw.rectangle((left, top, left + width, size - 20), fill=draw_colour(rng))
        draw.text((left, size - 18), str(rng.randrange(100)), fill=(0, 0, 0))


def plot_lines(draw: ImageDraw.ImageDraw, rng: random.Random, size: int) -> None:
    """Thin and thick polylines, ellipses and their outlines."""
    for _ in range(rng.randrange(3, 9)):
        points = [(x, rng.randrange(size)) for x in range(0, size + 40, rng.randrange(15, 80))]
        draw.line(points, fill=draw_colour(rng), width=rng.randrange(1, 9))
    for _ in range(rng.randrange(4)):
        left, top, width = rng.randrange(size), rng.randrange(size), rng.randrange(20, 160)
        box = (left, top, left + width, top + rng.randrange(20, 160))
        draw.ellipse(box, fill=draw_colour(rng) if rng.random() < 0.5 else None, outline=draw_colour(rng), width=3)


def rule_lines(draw: ImageDraw.ImageDraw, rng: random.Random, size: int) -> None:
    """Stripes or a grid of lines a few pixels apart."""
    step, width = rng.randrange(4, 24), rng.randrange(1, 6)
    colour, both = draw_colour(rng), rng.random() < 0.5
    for at in range(0, size, step):
        draw.line((at, 0, at + rng.choice((0, 0, size // 3)), size), fill=colour, width=width)
        if both:
            draw.line((0, at, size, at), fill=colour, width=width)


KINDS: tuple[Callable[[ImageDraw.ImageDraw, random.Random, int], None], ...] = (
    write_words,
    fill_patches,
    plot_bars,
    plot_lines,
    rule_lines,
)


def draw_background(rng: random.Random, size: int) -> Image.Image:
    """One colour, or a gradient between two."""
    first, second = draw_colour(rng), draw_colour(rng)
    if rng.random() < 0.6:
        return Image.new("RGB", (size, size), first)
    ramp = np.linspace(0, 1, size)[:, None, None]
    pixels = (1 - ramp) * np.array(first) + ramp * np.array(second)
    picture = Image.fromarray(np.repeat(pixels, size, axis=1).round().astype(np.uint8))
    return picture.rotate(rng.choice((0, 90, 180, 270)))


def draw_chart(rng: random.Random, size: int) -> Image.Image:
    """One picture: a background and one to three kinds of drawing over one another."""
    picture = draw_background(rng, size)
    draw = ImageDraw.Draw(picture)
    for kind in rng.sample(KINDS, rng.choice((1, 1, 2, 3))):
        kind(draw, rng, size)
    return picture


def main() -> None:
    """Draw the pictures into a tar file of PNG."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--pictures", type=int, default=500)
    parser.add_argument("--size", type=int, default=320, help="pixels a side")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    with tarfile.open(arguments.out, "w") as tar:
        for number in range(arguments.pictures):
            stream = io.BytesIO()
            draw_chart(rng, arguments.size).save(stream, "PNG")
            member = tarfile.TarInfo(f"chart-{number:04}.png")
            member.size = stream.tell()
            tar.addfile(member, io.BytesIO(stream.getvalue()))


if __name__ == "__main__":
    main()
