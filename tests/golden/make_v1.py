"""Writes the golden streams of format version 1. NEVER rerun this for a version that has been released.

The files in v1/ are what users' files look like: they must decode for ever. If a test of them fails, the code is wrong,
not the files. This script is kept to show how they were made and as a pattern for the next version. It refuses to
overwrite a file.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from vqcodec.bitstream import (
    Boxes,
    GridSpec,
    StaticModel,
    StreamModel,
    TokenGrid,
    TokenPyramid,
    UniformModel,
    quantise_frequencies,
    write_stream,
)

HERE = Path(__file__).resolve().parent / "v1"
MODEL_ID = bytes.fromhex("60 1d e2 51")
HALF = 2**23


def skewed(size: int, seed: int) -> list[int]:
    """Frequencies (K,) with a few probable values."""
    counts = np.floor(np.random.default_rng(seed).gamma(0.2, size=size) * 1000).astype(np.int64)
    return [int(value) for value in quantise_frequencies(counts)]


def make(
    name: str,
    size: tuple[int, int],
    grids: list[tuple[int, int]],
    *,
    tables: list[list[int]] | None = None,
    boxes: Boxes | None = None,
    tokens: list[Any] | None = None,
    extra_box: bytes = b"",
    region_side: int = 0,
    seed: int = 0,
) -> None:
    """Write one stream and its record."""
    (width, height), entropy_id = size, 0 if tables is None else 1
    entropy_models = {0: UniformModel()} | ({} if tables is None else {1: StaticModel(tables)})
    model = StreamModel(MODEL_ID, "golden", tuple(GridSpec(*grid) for grid in grids), entropy_models)
    rng = np.random.default_rng(seed)
    levels = []
    for level, (_, codebook_size) in enumerate(grids):
        shape = model.grid_shape(level, width, height)
        chances = None if tables is None else np.array(tables[level]) / 2**24
        drawn = rng.choice(codebook_size, size=shape, p=chances) if tokens is None else np.array(tokens[level])
        levels.append(TokenGrid(drawn.reshape(shape), codebook_size))
    pyramid = TokenPyramid(tuple(levels))
    data = write_stream(
        pyramid,
        model=model,
        width=width,
        height=height,
        entropy_id=entropy_id,
        boxes=boxes,
        region_side=region_side,
    )
    if extra_box:
        data = with_extra_box(data, extra_box, pyramid)
    record = {
        "model_id": MODEL_ID.hex(),
        "width": width,
        "height": height,
        "entropy_id": entropy_id,
        "grids": grids,
        "static_tables": tables,
        "boxes": {} if boxes is None else {key: value.hex() for key, value in vars(boxes).items() if value},
        "tokens": [grid.indices.tolist() for grid in levels],
    }
    with (HERE / f"{name}.vq").open("xb") as stream_file:
        stream_file.write(data)
    with (HERE / f"{name}.json").open("x", encoding="utf-8") as record_file:
        record_file.write(json.dumps(record, separators=(",", ":")) + "\n")


def with_extra_box(data: bytes, box: bytes, pyramid: TokenPyramid) -> bytes:
    """A stream without boxes, of a picture below 128 x 128, given one raw box."""
    head = data[:2] + bytes([data[2] | 0x80]) + data[3:10]
    section = bytes([len(box)]) + box
    checksum = zlib.crc32(head + section)
    for grid in pyramid.levels:
        checksum = zlib.crc32(grid.indices.astype("<u4").tobytes(), checksum)
    return head + checksum.to_bytes(4, "little") + section + data[14:]


def main() -> None:
    """Write all streams."""
    everything = Boxes(icc=b"profile " * 40, exif=b"Exif\0\0II*\0", xmp=b"<x:xmpmeta/>", alpha=bytes(range(50)))
    make("uniform_1x1_k2", (1, 1), [(16, 2)], tokens=[[1]])
    make("uniform_k1", (40, 24), [(8, 1)])
    make("uniform_768x512_k1024", (768, 512), [(16, 1024)], seed=1)
    make("uniform_odd_size_k1000", (333, 17), [(16, 1000)], seed=2)
    make("uniform_k70000", (100, 60), [(8, 70000)], seed=3)
    make("uniform_all_zero", (160, 160), [(16, 1024)], tokens=[[0] * 100])
    make("uniform_two_levels", (201, 99), [(32, 512), (16, 1024)], seed=4)
    make("uniform_four_levels", (96, 64), [(16, 1024)] * 4, seed=5)
    make("uniform_sixteen_levels", (33, 31), [(16, 6 + level) for level in range(16)], seed=6)
    make("uniform_wide", (16384, 1), [(512, 300)], seed=7)
    make("static_k256", (256, 256), [(16, 256)], tables=[skewed(256, 8)], seed=8)
    make("static_three_levels", (130, 70), [(32, 100), (16, 64), (8, 17)], tables=[skewed(k, k) for k in (100, 64, 17)])
    make("static_nearly_certain", (512, 512), [(16, 3)], tables=[[2**24 - 2, 1, 1]], tokens=[[0] * 1000 + [2] * 24])
    middle = [[HALF - 1, 2, HALF - 1]]
    make("static_carry", (9, 1), [(1, 3)], tables=middle, tokens=[[1, 1, 1, 1, 1, 1, 1, 1, 2]])
    make("static_no_carry", (9, 1), [(1, 3)], tables=middle, tokens=[[1, 1, 1, 1, 1, 1, 1, 1, 0]])
    make("boxes_all", (64, 48), [(16, 1024)] * 2, boxes=everything, seed=9)
    make("boxes_alpha_static", (50, 70), [(16, 40)], tables=[skewed(40, 10)], boxes=Boxes(alpha=b"\0"), seed=10)
    make("boxes_unknown_ancillary", (64, 48), [(16, 1024)], extra_box=b"\x81\x03new", seed=11)


if __name__ == "__main__":
    main()
