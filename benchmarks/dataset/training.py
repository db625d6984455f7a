"""Bits on disk, random reads, and a prior that learns the same from stored tokens as from pictures."""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Final

from vqcodec.benchmarks.dataset.making import command, make_pictures, run, tell
from vqcodec.cards.finding import DEFAULT_MODEL, find_model
from vqcodec.dataset.packages import pq
from vqcodec.dataset.reader import TokenDataset

#: of the crops, in pixels
_SIDE: Final = 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos")
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=50)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        out = sizes(options.photos, Path(folder), options.pictures)
        reads(out)
        losses(Path(folder), out, options.steps)


def sizes(source: str, folder: Path, pictures: int) -> Path:
    """Print bytes on disk against the ideal, log2 K bits for each token of the default model; gives the dataset."""
    out = folder / "out"
    make_pictures(source, folder / "pictures", pictures)
    run("tokenize", folder / "pictures", "-o", out, "--workers", 2, "--labels", "folder", "--size", _SIDE)
    tokens = other = 0
    for path in (out / "tokens").iterdir():
        group = pq.ParquetFile(path).metadata.row_group(0)
        columns = [group.column(number) for number in range(group.num_columns)]
        packed = [each.total_compressed_size for each in columns if each.path_in_schema.startswith("level_")]
        tokens += sum(packed)
        other += path.stat().st_size - sum(packed)
    shape = find_model(DEFAULT_MODEL).card.autoencoder
    counts = [(_SIDE // factor) ** 2 for factor in shape.level_factors]
    bits = sum(count * math.log2(size) for count, size in zip(counts, shape.quantizer.codebook_sizes, strict=True))
    ideal = pictures * bits / 8
    bound = 1.05 * ideal + 150 * pictures
    tell(
        what=f"bytes a picture of {sum(counts)} tokens",
        tokens=round(tokens / pictures, 1),
        of_ideal=round(tokens / ideal, 4),
        all_other=round(other / pictures, 1),
        within_bound=tokens + other <= bound,
    )
    done, seconds = run("tokens", "export", out, "-o", folder / "vq", "--to", "streams", "--entropy", "static")
    streams = sum(path.stat().st_size for path in (folder / "vq").iterdir())
    share = 1 - streams / (tokens + other)
    tell(what="streams, static", exit=done.returncode, smaller_by=round(share, 3), seconds=round(seconds))
    return out


def reads(out: Path) -> None:
    """Print how many random rows a second come, from memory and from the cache."""
    for name, data in (("memory", TokenDataset(out)), ("mapped", TokenDataset(out, memory_bytes=0))):
        batches = data.batches(0, 64)
        started, steps = time.perf_counter(), 0
        while time.perf_counter() - started < 3:
            batches(steps)
            steps += 1
        tell(what="random rows", where=name, per_second=round(64 * steps / (time.perf_counter() - started)))


def losses(folder: Path, out: Path, steps: int) -> None:
    """Print whether a tiny prior has the same losses by --tokens as by --data of pictures that need no cropping."""
    words = ("train", "stage2", "--labels", "--steps", steps, "--batch-size", 4, "--crop-size", 256, "--no-tensorboard")
    small = ("--set=model.width=32", "--set=model.depth=1", "--set=model.heads=2")
    plain = ("--set=training.crop.resized=0", "--set=training.crop.flip=false", *small)
    found = []
    for name, data in (("tokens", ("--tokens", out)), ("pictures", ("--data", folder / "pictures"))):
        started = time.monotonic()
        options = tuple(word for word in words if name == "pictures" or word != "--labels")
        done = subprocess.run(
            command(*options, *plain, "--out", folder / name, *data), capture_output=True, text=True, check=True
        )
        assert not done.returncode
        lines = [json.loads(line) for line in (folder / name / "log.jsonl").read_text().splitlines()]
        found.append([{key: value for key, value in line.items() if "loss" in key or "bits" in key} for line in lines])
        tell(what="trained", by=name, seconds=round(time.monotonic() - started), first=found[-1][0], last=found[-1][-1])
    tell(what="losses", steps=steps, logged=len(found[0]), identical=found[0] == found[1])


if __name__ == "__main__":
    main()
