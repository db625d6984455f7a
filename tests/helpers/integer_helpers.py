"""A small integer prior with random weights, and what it says of random tokens: without torch once it is made."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from vqcodec.bitstream import TokenGrid
from vqcodec.bitstream.entropy_models import CodingContext, EntropyModel
from vqcodec.prior.integer import IntegerPrior

if TYPE_CHECKING:
    from vqcodec.prior.transformer import Prior

SIZES = (40, 24, 9)
#: as numpy calls them, which has other names from 2.4 on; it warns of those that it does not know
_AVX_512, _FMA = "X86_V4 AVX512_ICL AVX512_SPR AVX512F AVX512CD AVX512_SKX", "X86_V3 FMA3 AVX2"
#: settings of a process that change which kernels compute, and in what order
PROCESSES = {
    "one thread": {"OPENBLAS_NUM_THREADS": "1"},
    "two threads": {"OPENBLAS_NUM_THREADS": "2"},
    "four threads": {"OPENBLAS_NUM_THREADS": "4"},
    "no AVX-512": {"NPY_DISABLE_CPU_FEATURES": _AVX_512, "OPENBLAS_CORETYPE": "Haswell"},
    "no FMA": {"NPY_DISABLE_CPU_FEATURES": f"{_AVX_512} {_FMA}", "OPENBLAS_CORETYPE": "Nehalem"},
    "settings of torch": {"OMP_NUM_THREADS": "2"},
}


@lru_cache
def priors(order: str = "wavefront", **fields: Any) -> tuple[Prior, IntegerPrior]:
    """In floating point and in whole numbers."""
    prior, arrays = prior_arrays((order,) * 3, **fields)
    return prior, IntegerPrior(prior.config, arrays)


@lru_cache
def prior_arrays(
    orders: tuple[str, ...], sizes: tuple[int, ...] = SIZES, **fields: Any
) -> tuple[Prior, dict[str, np.ndarray]]:
    """In floating point, and as `IntegerPrior` takes it."""
    import torch
    from prior_helpers import random_prior

    from vqcodec.training.stage2.integer_export import integer_arrays

    prior = random_prior(codebook_sizes=sizes, factors=(16,) * len(sizes), orders=orders, **fields)
    tokens = [torch.from_numpy(draw(size, (8, 8), size)[None].astype(np.int64)) for size in sizes]
    return prior, integer_arrays(prior, tokens)


def draw(codes: int, shape: tuple[int, int], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, codes, shape)


def grids(shape: tuple[int, int], seed: int = 0, sizes: tuple[int, ...] = SIZES) -> tuple[TokenGrid, ...]:
    return tuple(TokenGrid(draw(size, shape, seed + size), size) for size in sizes)


def frequencies(
    model: EntropyModel, pyramid: tuple[TokenGrid, ...], level: int, *, complete: bool = False
) -> np.ndarray:
    """(rows * cols, K): of all tokens of a level, in raster order; as a reader finds them, or a writer."""
    grid = pyramid[level]
    known = grid.indices.astype(np.int32) if complete else np.full(grid.shape, -1, np.int32)
    context = CodingContext(level, grid.shape, grid.codebook_size, pyramid[:level], known, complete)
    at_work = model.begin_level(context)
    found = np.zeros((known.size, grid.codebook_size), np.int64)
    for positions in at_work.groups():
        found[positions] = at_work.frequencies(positions)
        known.reshape(-1)[positions] = grid.indices.reshape(-1)[positions]
    return found


def digest(model: EntropyModel, shape: tuple[int, int] = (9, 13), seeds: int = 3) -> str:
    """sha256 of the frequencies of all tokens of a few random streams."""
    total = hashlib.sha256()
    for seed in range(seeds):
        pyramid = grids(shape, seed)
        for level in range(len(pyramid)):
            total.update(frequencies(model, pyramid, level).astype("<i8").tobytes())
    return total.hexdigest()
