"""Workers, parts and batches: the same files, and the same tokens whatever is computed beside them."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from vqcodec.benchmarks.dataset.making import crops, digests, make_pictures, run, tell
from vqcodec.codec import Codec
from vqcodec.native.library import use_threads
from vqcodec.pictures.arrays import Pixels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos")
    parser.add_argument("--pictures", type=int, default=300)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files(options.photos, Path(folder), options.pictures)
    tokens(options.photos, 1000)


def files(source: str, folder: Path, pictures: int) -> None:
    """Print whether the files of all ways to run are the same."""
    make_pictures(source, folder / "pictures", pictures)
    words = ("tokenize", folder / "pictures", "--shard-size", 16)
    run(*words, "-o", folder / "1", "--workers", 1)
    expected = digests(folder / "1")
    for workers in (2, 4):
        run(*words, "-o", folder / f"{workers}", "--workers", workers)
        same = digests(folder / f"{workers}") == expected
        tell(what="workers", workers=workers, files=len(expected), identical=same)
    for index in (1, 2, 0):
        run(*words, "-o", folder / "parts", "--part", f"{index}/3", "--workers", 1)
    tell(what="parts 0/3, 1/3, 2/3", files=len(expected), identical=digests(folder / "parts") == expected)


def tokens(source: str, pictures: int) -> None:
    """Print how many tokens change with the batch, its order, its neighbours and the number of threads."""
    codec = Codec.load(device="cpu")
    pixels = np.stack([np.asarray(crop) for crop in crops(source, 256, pictures)])
    use_threads(1)
    alone = [codec.tokenize_pixels(each) for each in pixels]
    total = sum(np.asarray(grid).size for grids in alone for grid in grids)
    order = np.random.default_rng(0).permutation(pictures)
    for batch, threads in ((8, 1), (64, 1), (64, 2)):
        use_threads(threads)
        flips = 0
        for start in range(0, pictures, batch):
            some = order[start : start + batch]
            together = codec.tokenize(_images(pixels[some]))
            for place, number in enumerate(some):
                for level, grid in enumerate(together):
                    flips += int(np.count_nonzero(grid[place] != np.asarray(alone[number][level])))
        tell(what="tokens", batch=batch, threads=threads, order="shuffled", tokens=total, flips=flips)
    use_threads(None)


def _images(pixels: Pixels) -> Any:
    return pixels.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(127.5) - np.float32(1)


if __name__ == "__main__":
    main()
