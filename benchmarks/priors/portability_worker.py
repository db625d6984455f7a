"""What one process of `vqcodec.benchmarks.priors.portability` does: write its share of the streams, read that of
others, or code pictures.

Stream i is written by process i mod n, and read by another that changes from one i to the next: by every other one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import cycle
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

import vqcodec.native.library
import vqcodec.pictures.tiling
import vqcodec.prior.integer
from vqcodec.bitstream import TokenGrid
from vqcodec.bitstream.coder import decode_level, encode_level
from vqcodec.prior.coding import CorePrior, prior_for_coding
from vqcodec.prior.config import PriorConfig
from vqcodec.prior.integer import IntegerPrior

#: what streams are coded with
CodingPrior: TypeAlias = CorePrior | IntegerPrior

#: tokens along a side of a grid, at most
_LONGEST_SIDE = 9
#: pixels along a side of a picture, at most
_LONGEST_PICTURE = 900
#: that pictures are coded with, one after the other
_QUALITIES = (100.0, 90.0, 58.0, 42.0, 25.0)


def write(folder: str, case: int, cases: int, streams: int, models: int, seed: int, at_once: int) -> None:
    """Payloads of the streams of this case, into a file."""
    setattr(vqcodec.prior.integer, "TOKENS_AT_ONCE", at_once)  # noqa: B010 - a constant elsewhere
    payloads, tokens = [], 0
    for number in range(case, streams, cases):
        model, levels = _stream(folder, number, models, seed)
        for level, grid in enumerate(levels):
            payloads.append(encode_level(grid, model, level=level, coarser=levels[:level]))
            tokens += grid.indices.size
    sizes = np.array([len(payload) for payload in payloads])
    joined = np.frombuffer(b"".join(payloads), np.uint8)
    np.savez(Path(folder) / f"write {case}.npz", sizes=sizes, joined=joined, tokens=tokens)


def read(folder: str, case: int, cases: int, streams: int, models: int, seed: int, at_once: int) -> None:
    """Decode and encode again the streams that fall to this case; a line for each that comes out otherwise."""
    setattr(vqcodec.prior.integer, "TOKENS_AT_ONCE", at_once)  # noqa: B010 - a constant elsewhere
    lines = []
    for writer in range(cases):
        payloads = _payloads(Path(folder) / f"write {writer}.npz")
        for number in range(writer, streams, cases):
            mine = (writer + 1 + number // cases % (cases - 1)) % cases == case
            model, levels = _stream(folder, number, models, seed)
            for level, grid in enumerate(levels):
                payload = next(payloads)
                if mine and not _is_the_same(payload, model, level, grid, levels[:level]):
                    lines.append(f"stream {number}, level {level}: written by case {writer}, read by case {case}\n")
    (Path(folder) / f"read {case}.txt").write_text("".join(lines))


def code(
    folder: str, case: int, pictures: int | list[str], model: str, seed: int, tile: int, other_core: str = ""
) -> None:
    """The hashes of the streams and pixels of pictures, in tiles of so many tokens, into a file.

    Their qualities differ: all levels, or the finest one of a part of the picture. pictures: files, which are coded
    with the best entropy model, or how many random ones, with none. other_core: file of a core to use.
    """
    from vqcodec.codec import Codec

    if other_core.endswith(".wasm"):
        from vqcodec.benchmarks.priors import webassembly

        webassembly.use(Path(other_core))
    elif other_core:
        setattr(vqcodec.native.library, "_FILE", Path(other_core))  # noqa: B010 - a constant elsewhere
    setattr(vqcodec.pictures.tiling, "TILE_TOKENS", tile)  # noqa: B010 - a constant elsewhere
    codec, hashes, tokens = Codec.load(model, device="cpu"), [], 0
    is_random = isinstance(pictures, int)
    coded: Iterable[str | NDArray[np.uint8]] = pictures if isinstance(pictures, list) else _pictures(pictures, seed)
    for picture, quality in zip(coded, cycle(_QUALITIES), strict=False):
        stream = codec.encode(picture, quality=quality, entropy="uniform" if is_random else None)
        decoded = codec.decode_stream(stream)
        tokens += decoded.stream.tokens.token_count
        hashes.append(hashlib.sha256(stream + decoded.image.rgb.tobytes()).hexdigest())
    (Path(folder) / f"pixels {case}.json").write_text(json.dumps({"hashes": hashes, "tokens": tokens}))


def _pictures(count: int, seed: int) -> Iterator[NDArray[np.uint8]]:
    for number in range(count):
        yield _picture(number, seed)


def _picture(number: int, seed: int) -> NDArray[np.uint8]:
    """Blocks of colours with noise, of 1 x 1 to 900 x 900 pixels."""
    rng = np.random.default_rng((seed, number))
    height, width = (int(side) for side in rng.integers(1, _LONGEST_PICTURE + 1, 2))
    block = int(rng.integers(3, 60))
    coarse = rng.integers(0, 256, (height // block + 1, width // block + 1, 3), dtype=np.uint8)
    whole = coarse.repeat(block, 0).repeat(block, 1)[:height, :width]
    noise = rng.integers(0, 1 << int(rng.integers(0, 8)), whole.shape, dtype=np.uint8)
    return np.ascontiguousarray(whole ^ noise)


def _is_the_same(
    payload: bytes, model: CodingPrior, level: int, grid: TokenGrid, coarser: tuple[TokenGrid, ...]
) -> bool:
    found = decode_level(
        payload, model, level=level, shape=grid.shape, codebook_size=grid.codebook_size, coarser=coarser
    )
    return found == grid and encode_level(grid, model, level=level, coarser=coarser) == payload


def _payloads(path: Path) -> Iterator[bytes]:
    stored = np.load(path)
    ends = stored["sizes"].cumsum()
    for size, end in zip(stored["sizes"], ends, strict=True):
        yield stored["joined"][end - size : end].tobytes()


def _stream(folder: str, number: int, models: int, seed: int) -> tuple[CodingPrior, tuple[TokenGrid, ...]]:
    """The model of stream `number`, and its tokens: any, or few different ones."""
    rng = np.random.default_rng((seed, number))
    model = _model(folder, models - 1 if number % 10 == 0 else int(rng.integers(models)))
    shape = tuple(rng.integers(1, _LONGEST_SIDE + 1, 2))
    sizes = model.config.codebook_sizes[: rng.integers(1, model.config.levels + 1)]
    narrow = rng.random() < 0.5
    return model, tuple(TokenGrid(rng.integers(min(size, 3) if narrow else size, size=shape), size) for size in sizes)


@cache
def _model(folder: str, number: int) -> CodingPrior:
    config = PriorConfig.from_dict(json.loads((Path(folder) / f"{number}.json").read_text()))
    return prior_for_coding(config, load_file(Path(folder) / f"{number}.safetensors"))
