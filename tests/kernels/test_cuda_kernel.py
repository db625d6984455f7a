"""The kernel in CUDA C++: by its text on an emulated warp, by its compiler, and on a GPU where there is one."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from vqcodec.kernels.compiled import as_fragments, can_compile, compiled_nearest, prepare, source
from vqcodec.kernels.contract import Metric, exact_nearest

Find = Callable[[Tensor, Tensor, Metric], Tensor]

EMULATED_WARP = Path(__file__).with_name("emulated_warp.h")
WARPS = 8


@pytest.fixture(scope="module")
def find(tmp_path_factory: pytest.TempPathFactory, device: torch.device) -> Find:
    """The kernel on a GPU, else on the emulated warp."""
    if device.type == "cuda":
        return compiled_nearest
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("g++ is not installed, which compiles the kernel for the emulated warp")
    folder = tmp_path_factory.mktemp("emulated")

    def emulated(z: Tensor, codebook: Tensor, metric: Metric) -> Tensor:
        call = prepare(z, codebook, metric)
        name = "-".join(str(value) for _, value in call.definitions)
        library = folder / f"{name}.so"
        if not library.exists():
            text = folder / f"{name}.cpp"
            text.write_text(source(call.definitions, EMULATED_WARP), encoding="utf-8")
            options = ["-std=c++17", "-O2", "-ffp-contract=off", "-Wno-unknown-pragmas", "-shared", "-fPIC"]
            subprocess.run([compiler, *options, "-o", str(library), str(text)], check=True)
        numbers = [each.data_ptr() if isinstance(each, Tensor) else each for each in call.arguments]
        pointers = [ctypes.c_void_p(each) for each in numbers[:6]]
        ctypes.CDLL(str(library)).emulate(*pointers, *numbers[6:], call.blocks, WARPS)
        return call.indices

    return emulated


def normal(*shape: int, seed: int, device: torch.device) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(device)


@pytest.mark.parametrize("metric", ["l2", "cosine"])
@pytest.mark.parametrize(
    ("count", "codes", "dimension"), [(600, 300, 8), (70, 1030, 4), (5, 3, 8), (65, 129, 4), (1, 1, 8)]
)
def test_the_same_as_the_contract(
    find: Find, device: torch.device, metric: Metric, count: int, codes: int, dimension: int
) -> None:
    z, codebook = normal(count, dimension, seed=1, device=device), normal(codes, dimension, seed=2, device=device)
    assert torch.equal(find(z, codebook, metric), exact_nearest(z, codebook, metric))


@pytest.mark.parametrize("metric", ["l2", "cosine"])
def test_ties_near_ties_and_what_is_not_finite(find: Find, device: torch.device, metric: Metric) -> None:
    base = normal(128, 8, seed=3, device=device)  # a chunk: the next one's codes fall into the same places
    codebook = torch.cat([base.nextafter(base + 1), base, base.flip(0), torch.zeros(2, 8).to(device)])
    z = base[:100].clone()
    z[7, 2], z[8], z[9, 0], z[10] = torch.nan, torch.inf, -torch.inf, 0
    assert torch.equal(find(z, codebook, metric), exact_nearest(z, codebook, metric))
    codebook[5, 1], codebook[6] = torch.inf, torch.nan
    assert torch.equal(find(z[:20], codebook, metric), exact_nearest(z[:20], codebook, metric))


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e12, 1e25])
def test_huge_and_tiny_values(find: Find, device: torch.device, scale: float) -> None:
    z, codebook = normal(40, 8, seed=4, device=device) * scale, normal(150, 8, seed=5, device=device) * scale
    assert torch.equal(find(z, codebook, "l2"), exact_nearest(z, codebook, "l2"))
    assert torch.equal(find(z / scale, codebook, "l2"), exact_nearest(z / scale, codebook, "l2"))


def test_half_types(find: Find, device: torch.device) -> None:
    z, codebook = normal(80, 4, seed=6, device=device), normal(200, 4, seed=7, device=device)
    for dtype in (torch.float16, torch.bfloat16):
        assert torch.equal(
            find(z.to(dtype), codebook.to(dtype), "l2"), exact_nearest(z.to(dtype), codebook.to(dtype), "l2")
        )


def test_nothing(find: Find, device: torch.device) -> None:
    assert find(torch.empty(0, 8, device=device), normal(3, 8, seed=0, device=device), "l2").shape == (0,)


def test_what_lanes_hold() -> None:
    codes = torch.arange(16 * 32).view(16, 32).bfloat16()
    lanes = as_fragments(codes)
    assert lanes.shape == (2, 32, 2, 2, 2)
    # code 3 of the second eight, third pair of dimensions of the second sixteen, and the same 8 further
    assert lanes[1, 4 * 3 + 2, 1].tolist() == [[codes[11, 20], codes[11, 21]], [codes[11, 28], codes[11, 29]]]


def test_for_few_dimensions() -> None:
    assert [can_compile(dimension) for dimension in (1, 4, 9, 10)] == [True, True, True, False]


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
def test_the_compiler_takes_it(architecture: str, tmp_path: Path) -> None:
    compiler = shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")
    if compiler is None:
        pytest.skip("nvcc is not installed")
    for dimension in (4, 8):
        call = prepare(torch.zeros(1, dimension), torch.ones(2, dimension), "l2")
        text, made = tmp_path / f"{dimension}.cu", tmp_path / f"{dimension}.cubin"
        text.write_text(source(call.definitions), encoding="utf-8")
        subprocess.run([compiler, "-std=c++17", f"-arch={architecture}", "-cubin", "-o", made, text], check=True)
        assert made.stat().st_size > 0
