"""The integer prior: near the one in floating point, the same whatever the machine does, and a codec with it."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from integer_helpers import PROCESSES, SIZES, digest, frequencies, grids, priors

from vqcodec.bitstream import TokenGrid
from vqcodec.bitstream.coder import decode_level, encode_level
from vqcodec.bitstream.entropy_models import PRIOR_ID, CodingContext
from vqcodec.prior.arithmetic import InexactError
from vqcodec.prior.integer import IntegerPrior
from vqcodec.prior.orders import ORDERS
from vqcodec.training.stage2.integer_export import integer_arrays

HELPERS = Path(__file__).parents[1] / "helpers"


def test_its_frequencies_are_near_those_of_the_float_prior() -> None:
    prior, integer = priors()
    pyramid = grids((6, 11))
    tokens = [torch.from_numpy(grid.indices[None].astype(np.int64)) for grid in pyramid]
    for level in range(3):
        chances = prior(tokens, level).softmax(dim=3)[0].flatten(0, 1).double().numpy()
        found = frequencies(integer, pyramid, level) / 2**24
        assert np.abs(found - chances).max() < 0.06
        divergence = (chances * np.log2(chances / found)).sum(axis=1).mean()
        entropy = -(chances * np.log2(chances)).sum(axis=1).mean()
        assert divergence < 0.01 * entropy


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (6, 1), (5, 9)])
def test_every_order_and_shape_comes_back(order: str, shape: tuple[int, int]) -> None:
    _, integer = priors(order)
    pyramid = grids(shape)
    for level, grid in enumerate(pyramid):
        payload = encode_level(grid, integer, level=level, coarser=pyramid[:level])
        read = decode_level(
            payload, integer, level=level, shape=shape, codebook_size=grid.codebook_size, coarser=pyramid[:level]
        )
        assert np.array_equal(read.indices, grid.indices)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("at_once", [1, 7, 10_000])
def test_a_writer_may_ask_for_many_groups_at_once(order: str, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vqcodec.prior.integer.TOKENS_AT_ONCE", at_once)
    _, integer = priors(order)
    pyramid = grids((6, 9))
    for level in range(len(pyramid)):
        one_by_one = frequencies(integer, pyramid, level)
        assert np.array_equal(frequencies(integer, pyramid, level, complete=True), one_by_one)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("slots", [1, 3, 5])
def test_attention_in_pieces_is_that_of_the_whole(order: str, slots: int, monkeypatch: pytest.MonkeyPatch) -> None:
    _, integer = priors(order)
    pyramid = grids((9, 8))
    whole = frequencies(integer, pyramid, 1)
    monkeypatch.setattr("vqcodec.prior.integer.SLOTS_AT_ONCE", slots)
    assert np.array_equal(frequencies(integer, pyramid, 1), whole)


def test_it_leaves_the_threads_of_linear_algebra_as_they_were() -> None:
    """In a process whose linear algebra has two threads, with two levels at work side by side."""
    program = """
import numpy as np
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from threadpoolctl import ThreadpoolController
from integer_helpers import SIZES, grids, priors
from vqcodec.bitstream.entropy_models import CodingContext

def threads():
    return {each["num_threads"] for each in ThreadpoolController().info() if each["user_api"] == "blas"}

_, integer = priors()
context = CodingContext(0, (3, 4), SIZES[0], (), grids((3, 4))[0].indices.astype(np.int32))
before, both_are_within, first_is_out = threads(), Event(), Event()

def first():
    groups = iter(integer.begin_level(context).groups())
    next(groups)
    assert both_are_within.wait(20)
    del groups  # as when a stream turns out to be damaged
    first_is_out.set()

def last():
    groups = iter(integer.begin_level(context).groups())
    next(groups)
    both_are_within.set()
    assert first_is_out.wait(20)
    print(*threads())
    del groups

with ThreadPoolExecutor(2) as pool:
    for task in [pool.submit(first), pool.submit(last)]:
        task.result()
print(*before, *threads())
"""
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "2", "MKL_NUM_THREADS": "2", "PYTHONPATH": str(HELPERS)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=100, check=True
    )
    assert done.stdout.split() == ["1", "2", "2"]


def test_what_comes_later_does_not_matter() -> None:
    _, integer = priors()
    pyramid = grids((7, 7))
    whole = frequencies(integer, pyramid, 1)
    other = pyramid[1].indices.copy()
    other[-1, -1] = (other[-1, -1] + 1) % SIZES[1]
    changed = frequencies(integer, (pyramid[0], TokenGrid(other, SIZES[1]), pyramid[2]), 1)
    assert np.array_equal(whole, changed)
    other[0, 0] = (other[0, 0] + 1) % SIZES[1]
    assert not np.array_equal(whole, frequencies(integer, (pyramid[0], TokenGrid(other, SIZES[1]), pyramid[2]), 1))


def test_every_number_is_whole() -> None:
    """Half of an eighth more or less anywhere would show: scales are no whole numbers, but all that is added up is."""
    _, integer = priors()
    for block in integer.blocks:
        for linear in (block.into, block.out, block.widen, block.narrow):
            assert np.array_equal(linear.weight, np.rint(linear.weight))
            assert np.abs(linear.weight).max() <= 127
        assert np.abs(block.gelu).max() <= 127
    assert np.array_equal(integer.relative, np.rint(integer.relative))


#: what a program may have switched on before it decodes
SETTINGS = """
import torch
torch.set_float32_matmul_precision('medium')
torch.autocast('cpu', torch.bfloat16).__enter__()
torch.set_default_dtype(torch.float64)
torch.use_deterministic_algorithms(True)
torch.set_flush_denormal(True)
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the weights, as processes find it: conversion itself is in floating point, once."""
    from safetensors.numpy import save_file

    prior, _ = priors()
    tokens = [torch.from_numpy(grid.indices[None].astype(np.int64)) for grid in grids((8, 8))]
    path = tmp_path_factory.mktemp("integer") / "entropy.safetensors"
    save_file(integer_arrays(prior, tokens), path)
    return path


def digest_in_a_process(saved: Path, environment: dict[str, str], settings: str) -> str:
    """Without torch but for its settings: the process starts ten times sooner."""
    config = priors()[0].config.to_dict()
    code = (
        f"{settings}\nimport sys; sys.path[:0] = [{str(HELPERS)!r}]\n"
        "from safetensors.numpy import load_file; from integer_helpers import digest\n"
        "from vqcodec.prior.integer import IntegerPrior; from vqcodec.prior.config import PriorConfig\n"
        f"prior = IntegerPrior(PriorConfig.from_dict({config}), load_file({str(saved)!r}))\n"
        "print('torch' in sys.modules, digest(prior))"
    )
    made = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True, check=True
    )
    has_torch, found = made.stdout.split()
    assert has_torch == str(bool(settings))
    return found


def test_a_file_says_what_memory_says(saved: Path) -> None:
    from safetensors.numpy import load_file

    prior, _ = priors()
    tokens = [torch.from_numpy(grid.indices[None].astype(np.int64)) for grid in grids((8, 8))]
    arrays, loaded = integer_arrays(prior, tokens), load_file(saved)
    assert arrays.keys() == loaded.keys()
    assert all(np.array_equal(arrays[name], loaded[name]) for name in arrays)


@pytest.mark.parametrize("process", PROCESSES)
def test_kernels_threads_and_settings_of_torch_do_not_matter(process: str, saved: Path) -> None:
    from safetensors.numpy import load_file

    expected = digest(IntegerPrior(priors()[0].config, load_file(saved)))
    settings = SETTINGS if process == "settings of torch" else ""
    assert digest_in_a_process(saved, PROCESSES[process], settings) == expected


# ---- what cannot be ----


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"classes": 2}, "a prior that codes streams knows tokens alone"),
        ({"coordinates": True}, "a prior that codes streams knows tokens alone"),
        ({"factors": (32, 16, 16)}, "levels of one resolution"),
    ],
)
def test_priors_that_cannot_code(fields: dict[str, object], message: str) -> None:
    from prior_helpers import random_prior

    prior = random_prior(**{"codebook_sizes": SIZES, "factors": (16,) * 3, "orders": ("raster",) * 3} | fields)
    with pytest.raises(ValueError, match=message):
        integer_arrays(prior, [])


def test_a_radius_beyond_what_is_exact_is_refused() -> None:
    prior, _ = priors()
    with pytest.raises(InexactError, match="radius 9"):
        IntegerPrior(dataclasses.replace(prior.config, radius=9), {})


@pytest.mark.parametrize(
    ("level", "codes", "message"), [(3, 9, "the prior has 3 levels; level 3"), (1, 9, "24 tokens of level 1")]
)
def test_levels_that_it_does_not_have(level: int, codes: int, message: str) -> None:
    _, integer = priors()
    context = CodingContext(level, (2, 2), codes, (), np.full((2, 2), -1, np.int32))
    with pytest.raises(ValueError, match=message):
        integer.begin_level(context)


def test_its_id_is_that_of_the_format() -> None:
    _, integer = priors()
    assert (integer.entropy_id, integer.name) == (PRIOR_ID, "prior")
