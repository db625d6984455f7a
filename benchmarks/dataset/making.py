"""Sets of pictures to show something with, the command in processes of its own, and folders to compare."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vqcodec.dataset.entries import Entry
from vqcodec.dataset.files import Files
from vqcodec.dataset.reading import Row, pictures
from vqcodec.dataset.sources import canonical, entries
from vqcodec.dataset.spec import TokenSpec


def photos(source: str) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each picture of a source."""
    place, files = canonical(source), Files()
    found: list[Entry] = list(entries(place, TokenSpec(), files))
    rows = [Row(place, each.path, each.kind, each.offset, each.length) for each in found]
    for entry, content in zip(found, pictures(files, rows, None), strict=True):
        if content is not None:
            yield entry.key, content


def crops(source: str, side: int, count: int) -> Iterator[Image.Image]:
    """Crops of photos, the pictures in turn and each at another place."""
    contents = [content for _, content in photos(source)]
    rng = np.random.default_rng(0)
    opened: dict[int, Image.Image] = {}
    for number in range(count):
        place = number % len(contents)
        if place not in opened:
            opened[place] = Image.open(io.BytesIO(contents[place])).convert("RGB")
        image = opened[place]
        left, top = (int(rng.integers(max(1, length - side + 1))) for length in image.size)
        yield image.crop((left, top, left + side, top + side))


def make_pictures(source: str, folder: Path, count: int, side: int = 256) -> Path:
    """JPEG files in sub-folders of 1000."""
    for number, crop in enumerate(crops(source, side, count)):
        path = folder / f"{number // 1000:04}" / f"{number:07}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        crop.save(path, quality=90)
    return folder


def run(*words: object, **variables: str) -> tuple[subprocess.CompletedProcess[str], float]:
    """`vqcodec` with these words in a process of its own, and how many seconds it took."""
    started = time.monotonic()
    done = subprocess.run(command(*words), env=os.environ | variables, capture_output=True, text=True, check=False)
    return done, time.monotonic() - started


def start(*words: object, **variables: str) -> subprocess.Popen[bytes]:
    """The same, not waited for, in a process group of its own."""
    return subprocess.Popen(
        command(*words),
        env=os.environ | variables,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "vqcodec.cli.main", *map(str, words)]


def digests(folder: Path, *below: str) -> dict[str, str]:
    """sha256 of every file below a folder, hidden ones too."""
    places = [folder / name for name in below] if below else [folder]
    files = [path for place in places for path in place.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def tell(**values: Any) -> None:
    """A line of JSON."""
    print(json.dumps(values), flush=True)
