"""The nearest codes by the kernel in nearest.cu, compiled by NVRTC through torch when it is first called.

For `nearest_codes` of up to 9 dimensions, and for whoever names it (`VQCODEC_KERNELS=cuda`): whether it or Triton's is
the faster one is for a GPU to tell (docs/kernels.md). Shapes: N vectors, K codes, D dimensions, W the layout's width.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from vqcodec.kernels.contract import Metric
from vqcodec.kernels.layout import CodeStack, Layout, margin_of

_FOLDER: Final = Path(__file__).parent
KERNEL_NAME: Final = "nearest"
#: as in nearest.cu
_CODES_OF_CHUNK: Final = 128
_ROWS_OF_BLOCK: Final = 512
_THREADS: Final = 256


@dataclass(frozen=True)
class Call:
    """What the kernel is compiled for, and given. arguments: tensors and whole numbers, in its order."""

    definitions: tuple[tuple[str, int], ...]
    arguments: tuple[Tensor | int, ...]
    indices: Tensor
    blocks: int


def can_compile(dimension: int) -> bool:
    """Whether the kernel is for vectors of so many dimensions."""
    return Layout.of(dimension).packed


def compiled_nearest(z: Tensor, codebook: Tensor, metric: Metric) -> Tensor:
    """As `vqcodec.kernels.nearest_codes`, of D up to 9."""
    call = prepare(z, codebook, metric)
    if call.blocks:
        with torch.cuda.device_of(z):
            kernel = _kernel(call.definitions, z.device.index)
            kernel(grid=(call.blocks, 1, 1), block=(_THREADS, 1, 1), args=list(call.arguments))
    return call.indices


def prepare(z: Tensor, codebook: Tensor, metric: Metric) -> Call:
    """The call for z (N, D) and codes (K, D), on their device."""
    layout = Layout.of(z.shape[1])
    stack = CodeStack.of([codebook], metric, layout)
    margin = margin_of(z.shape[1])
    rounding = stack.radius.new_tensor([0, margin.relative, margin.squared, margin.tiny])
    rounding[0] = stack.radius[0]
    indices = torch.empty(len(z), dtype=torch.int64, device=z.device)
    arguments = (
        z.float().contiguous(),
        stack.codes[0],
        stack.squares[0],
        as_fragments(stack.high[0]),
        rounding,
        indices,
        len(z),
        len(codebook),
        stack.high.shape[1] // _CODES_OF_CHUNK,
    )
    definitions = (("DIMENSION", z.shape[1]), ("WIDTH", layout.width), ("COSINE", int(metric == "cosine")))
    return Call(definitions, arguments, indices, -(-len(z) // _ROWS_OF_BLOCK))


def as_fragments(laid_out: Tensor) -> Tensor:
    """(K', W) bfloat16 in the order in which lanes read it: (K' / 8, 32, W / 16, 2, 2) for mma.m16n8k16's B.

    Lane 4 g + t has, of code g of 8, dimensions 2 t and 2 t + 1, and 8 more than these, of each 16 (PTX ISA, "Matrix
    Fragments for mma.m16n8k16").
    """
    codes, width = laid_out.shape
    parts = laid_out.view(codes // 8, 8, width // 16, 2, 4, 2)
    return parts.permute(0, 1, 4, 2, 3, 5).reshape(codes // 8, 32, width // 16, 2, 2).contiguous()


def source(definitions: tuple[tuple[str, int], ...], warp: Path = _FOLDER / "warp.cuh") -> str:
    """The kernel's text. warp: what it asks of a warp."""
    lines = [f"#define {name} {value}" for name, value in definitions]
    return "\n".join([*lines, warp.read_text("utf-8"), (_FOLDER / "nearest.cu").read_text("utf-8")])


@cache
def _kernel(definitions: tuple[tuple[str, int], ...], device: int | None) -> Any:
    """Compiled for the present device."""
    return torch.cuda._compile_kernel(source(definitions), KERNEL_NAME, nvcc_options=["--std=c++17"])
