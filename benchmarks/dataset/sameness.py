"""Workers, parts, listings and batches: the same files, and the same tokens whatever is computed beside them."""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np

from vqcodec.benchmarks.dataset.making import crops, digests, make_pictures, run, tell
from vqcodec.codec import Codec
from vqcodec.dataset.packages import pa, pq
from vqcodec.native.library import use_threads
from vqcodec.pictures.arrays import Pixels

#: the command in a process that lists folders in an order of chance; arguments: a seed, and the words of the command
_SHUFFLED: Final = """
import os, random, sys
from vqcodec.cli.main import main

chance, scandir, listdir = random.Random(sys.argv.pop(1)), os.scandir, os.listdir


class Shuffled:
    def __init__(self, *place):
        with scandir(*place) as listing:
            self.entries = list(listing)
        chance.shuffle(self.entries)
        self.rest = iter(self.entries)
    def __enter__(self):
        return self
    def __exit__(self, *_):
        pass
    def close(self):
        pass
    def __iter__(self):
        return self.rest
    def __next__(self):
        return next(self.rest)


def shuffled(*place):
    names = listdir(*place)
    chance.shuffle(names)
    return names


os.scandir, os.listdir = Shuffled, shuffled
main()
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos")
    parser.add_argument("--pictures", type=int, default=300)
    parser.add_argument("--only", choices=["files", "listings", "lists", "tokens"])
    options = parser.parse_args()
    for what, shows in (("files", files), ("listings", listings), ("lists", lists)):
        if options.only in (None, what):
            with tempfile.TemporaryDirectory() as folder:
                shows(options.photos, Path(folder), options.pictures)
    if options.only in (None, "tokens"):
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


def listings(source: str, folder: Path, pictures: int) -> None:
    """Print whether the files are the same when the pictures were written and are listed in other orders."""
    place = make_pictures(source, folder / "pictures", pictures)
    for number, path in enumerate(sorted(place.rglob("*.jpg"))):  # some folders to list
        target = place / f"{number % 7}" / f"{number % 5}" / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    os.rmdir(place / "0000")
    contents = {path.relative_to(place): path.read_bytes() for path in sorted(place.rglob("*.jpg"))}
    words = ("--shard-size", "16", "--workers", "2")
    for what, url in (("folder", str(place)), ("folder by fsspec", f"file://{place}")):
        run("tokenize", url, "-o", folder / what, *words)
        expected, same = digests(folder / what), 0
        for seed in range(3):
            shutil.rmtree(place)
            for path in random.Random(seed).sample(list(contents), len(contents)):
                (place / path).parent.mkdir(parents=True, exist_ok=True)
                (place / path).write_bytes(contents[path])
            out = folder / f"{what} {seed}"
            command = [sys.executable, "-c", _SHUFFLED, str(seed), "tokenize", url, "-o", str(out), *words]
            subprocess.run(command, check=True, capture_output=True)
            same += digests(out) == expected
        tell(what=what, files=len(expected), orders=3, identical=same)


def lists(source: str, folder: Path, pictures: int) -> None:
    """Print whether rows are in the order of a list, and the same in any order but for the name of the list."""
    place = make_pictures(source, folder / "pictures", pictures)
    names = [path.relative_to(folder).as_posix() for path in sorted(place.rglob("*.jpg"))]
    in_order, by_key = 0, []
    for name, lines in (("one", names), ("other", random.Random(0).sample(names, len(names)))):
        (folder / f"{name}.txt").write_text("\n".join(lines))
        run("tokenize", folder / f"{name}.txt", "-o", folder / name, "--shard-size", 16, "--workers", 2)
        shards = sorted((folder / name / "tokens").iterdir())
        table = pa.concat_tables([pq.read_table(shard) for shard in shards]).drop_columns(["source"])
        in_order += table.column("key").to_pylist() == lines
        by_key.append(sorted(table.to_pylist(), key=lambda row: str(row["key"])))
    same = sum(one == other for one, other in zip(*by_key, strict=True))
    tell(what="list, lines permuted", rows_in_the_order_of_the_list=in_order == 2, rows=pictures, same_by_key=same)


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
