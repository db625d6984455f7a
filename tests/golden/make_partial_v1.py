"""Writes golden streams whose finest level is that of a part of the picture: three beside those of make_v1.py, and in
partial_v1/ those of models of make_pixels_v1.py, with the hashes of their pixels. NEVER rerun this.
"""

from __future__ import annotations

import hashlib
import json
import sys

import numpy as np
from make_v1 import HERE, MODEL_ID, skewed

from vqcodec.bitstream import (
    GridSpec,
    PartialLevel,
    StaticModel,
    StreamModel,
    TokenGrid,
    TokenPyramid,
    UniformModel,
    write_stream,
)
from vqcodec.bitstream.partial import block_shape

FOLDER = HERE.parent / "partial_v1"
PIXELS = HERE.parent / "pixels_v1"


def make(
    name: str,
    size: tuple[int, int],
    grids: list[tuple[int, int]],
    *,
    side: int,
    filler: int,
    tables: list[list[int]] | None = None,
    region_side: int = 0,
    seed: int = 0,
) -> None:
    """Write one stream and its record, as make_v1.py does."""
    (width, height), entropy_id = size, 0 if tables is None else 1
    entropy_models = {0: UniformModel()} | ({} if tables is None else {1: StaticModel(tables)})
    model = StreamModel(MODEL_ID, "golden", tuple(GridSpec(*grid) for grid in grids), entropy_models)
    rng = np.random.default_rng(seed)
    coded = rng.random(block_shape(side, width, height)) < 0.4
    coded.flat[0], coded.flat[-1] = False, True
    partial = PartialLevel(side, coded, filler)
    levels = [
        TokenGrid(rng.integers(codes, size=model.grid_shape(level, width, height)), codes)
        for level, (_, codes) in enumerate(grids)
    ]
    mask = partial.tokens(grids[-1][0], levels[-1].shape).mask
    levels[-1] = TokenGrid(np.where(mask, levels[-1].indices, filler), grids[-1][1])
    data = write_stream(
        TokenPyramid(tuple(levels)),
        model=model,
        width=width,
        height=height,
        entropy_id=entropy_id,
        region_side=region_side,
        blocks=partial,
    )
    record = {
        "model_id": MODEL_ID.hex(),
        "width": width,
        "height": height,
        "entropy_id": entropy_id,
        "grids": grids,
        "static_tables": tables,
        "boxes": {},
        "tokens": [grid.indices.tolist() for grid in levels],
    }
    with (HERE / f"{name}.vq").open("xb") as stream_file:
        stream_file.write(data)
    with (HERE / f"{name}.json").open("x", encoding="utf-8") as record_file:
        record_file.write(json.dumps(record, separators=(",", ":")) + "\n")


def main() -> None:
    """Write all streams."""
    from vqcodec.codec import Codec

    if FOLDER.exists():
        sys.exit(f"{FOLDER}: is there already")
    FOLDER.mkdir()
    make("partial_uniform", (201, 99), [(32, 512), (16, 1024)], side=48, filler=1000, seed=21)
    tables = [skewed(codes, codes) for codes in (100, 64, 17)]
    make("partial_static", (130, 70), [(32, 100), (16, 64), (8, 17)], side=24, filler=3, tables=tables, seed=22)
    make("partial_regions", (130, 70), [(16, 64), (8, 17)], side=24, filler=0, region_side=32, seed=23)
    golden = {}
    for name, levels in (("compact", 2), ("strides", 2), ("hierarchical", 4)):
        codec = Codec.load(PIXELS / name, device="cpu")
        assert codec.arithmetic == "native"
        for count in range(2, levels + 1):
            stream = codec.encode(
                PIXELS / "picture.png", quality=100 * (count - 0.5) / codec.card.autoencoder.levels, entropy="uniform"
            )
            assert codec.read(stream).blocks is not None
            (FOLDER / f"{name}-{count}.vq").write_bytes(stream)
            decoded = codec.decode_stream(stream).image.rgb
            golden[f"{name}-{count}"] = hashlib.sha256(np.ascontiguousarray(decoded).tobytes()).hexdigest()
    (FOLDER / "golden.json").write_text(json.dumps(golden, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
