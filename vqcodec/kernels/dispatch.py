"""Which path computes: by VQCODEC_KERNELS, the device, and what is installed; and what the paths give."""

from __future__ import annotations

import os
from enum import Enum
from functools import cache
from importlib.util import find_spec
from typing import Final, NamedTuple

import torch
from torch import Tensor

#: the environment variable that names a path
VARIABLE: Final = "VQCODEC_KERNELS"
#: N x K from which on Triton is worth its start: for the first call of a kind, it compiles for half a minute
MANY_SCORES: Final = 2**26
#: compute capability from which on there are matrix units for bfloat16
_LEAST_CAPABILITY: Final = (8, 0)


class KernelError(ValueError):
    """The path asked for is unknown, or not available here."""


class Path(Enum):
    """reference: the contract, vector by vector. blocked: matrix products of plain torch, a block at a time. triton:
    one fused kernel. cuda: the same with a kernel in CUDA C++ for indices of few dimensions, for those who name it."""

    REFERENCE = "reference"
    BLOCKED = "blocked"
    TRITON = "triton"
    CUDA = "cuda"


class Assignment(NamedTuple):
    """indices: (N,) int64. vectors: (N, D) float32, their codes. squared_errors: (N,) float32, of z from these.

    counts: (K,) float32, how many vectors chose each code. sums: (K, D) float32, of these vectors. Both of the vectors
    in use only.
    """

    indices: Tensor
    vectors: Tensor
    squared_errors: Tensor
    counts: Tensor
    sums: Tensor


class ResidualCodes(NamedTuple):
    """indices: (L, N) int64. remaining: (N, D) float32, what all levels together leave."""

    indices: Tensor
    remaining: Tensor


def path_for(device: torch.device, scores: int = MANY_SCORES) -> tuple[Path, str]:
    """The path for so many scores (N x K) on a device, and why it is this one. Raises KernelError."""
    wanted = os.environ.get(VARIABLE, "auto")
    if wanted == "auto":
        return _best(device, scores)
    if wanted not in [path.value for path in Path]:
        raise KernelError(f"{VARIABLE}={wanted}: not a path; use auto, {', '.join(path.value for path in Path)}")
    path = Path(wanted)
    obstacle = _obstacle(device)
    if path is Path.CUDA and device.type != "cuda":
        obstacle = f"there is no CUDA C++ on {device.type}"
    if path in (Path.TRITON, Path.CUDA) and obstacle:
        raise KernelError(f"{VARIABLE}={wanted}: {obstacle}; use auto or blocked")
    return path, f"{VARIABLE}={wanted}"


def _best(device: torch.device, scores: int) -> tuple[Path, str]:
    if device.type != "cuda":
        return Path.BLOCKED, "Triton's kernel is for CUDA"
    if scores < MANY_SCORES:
        return Path.BLOCKED, "too few scores for Triton's kernel"
    obstacle = _obstacle(device)
    return (Path.BLOCKED, obstacle) if obstacle else (Path.TRITON, "on a GPU, from 2^26 scores on; blocked below")


def _obstacle(device: torch.device) -> str | None:
    """Why Triton cannot run there, None if it can."""
    if not _has_triton():
        return "Triton is not installed (pip install vqcodec[gpu])"
    if device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        is_able = (major, minor) >= _LEAST_CAPABILITY
        return None if is_able else f"the kernel needs compute capability 8.0, this GPU has {major}.{minor}"
    if device.type == "cpu" and interpreted():
        return None
    return f"Triton does not run on {device.type}, but for its interpreter (TRITON_INTERPRET=1)"


@cache
def _has_triton() -> bool:
    return find_spec("triton") is not None


@cache
def interpreted() -> bool:
    """Whether Triton interprets kernels on the CPU; it reads its variable once, when it is imported."""
    import triton

    return bool(triton.knobs.runtime.interpret)
