"""What one process of `vqcodec.benchmarks.priors.portability` does: write its share of the streams, or read that of
others.

Stream i is written by process i mod n, and read by another that changes from one i to the next: by every other one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

import vqcodec.prior.integer
from vqcodec.bitstream import TokenGrid
from vqcodec.bitstream.coder import decode_level, encode_level
from vqcodec.prior.config import PriorConfig
from vqcodec.prior.integer import IntegerPrior

#: tokens along a side of a grid, at most
_LONGEST_SIDE = 9


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


def _is_the_same(
    payload: bytes, model: IntegerPrior, level: int, grid: TokenGrid, coarser: tuple[TokenGrid, ...]
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


def _stream(folder: str, number: int, models: int, seed: int) -> tuple[IntegerPrior, tuple[TokenGrid, ...]]:
    """The model of stream `number`, and its tokens: any, or few different ones."""
    rng = np.random.default_rng((seed, number))
    model = _model(folder, models - 1 if number % 10 == 0 else int(rng.integers(models)))
    shape = tuple(rng.integers(1, _LONGEST_SIDE + 1, 2))
    sizes = model.config.codebook_sizes[: rng.integers(1, model.config.levels + 1)]
    narrow = rng.random() < 0.5
    return model, tuple(TokenGrid(rng.integers(min(size, 3) if narrow else size, size=shape), size) for size in sizes)


@cache
def _model(folder: str, number: int) -> IntegerPrior:
    config = PriorConfig.from_dict(json.loads((Path(folder) / f"{number}.json").read_text()))
    return IntegerPrior(config, load_file(Path(folder) / f"{number}.safetensors"))
