"""The nearest code vectors, whichever path computes them.

The operations are registered with torch (`torch.ops.vqcodec`), so that torch.compile and torch.export go through them.
None passes gradients: the straight-through estimator, or what takes its place, is the quantiser's.

Shapes: N vectors, K codes, D dimensions, L levels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vqcodec.kernels import compiled
from vqcodec.kernels.blocked import blocked_nearest
from vqcodec.kernels.contract import METRICS, Metric, exact_nearest, metric_of
from vqcodec.kernels.dispatch import Assignment, Path, ResidualCodes, path_for

_TYPES = (torch.float32, torch.float16, torch.bfloat16)


def nearest_codes(z: Tensor, codebook: Tensor, *, metric: Metric = "l2") -> Tensor:
    """The index (N,) int64 of the code (K, D) nearest to each of z (N, D).

    Exactly that of the least distance in float64 of the values given, the lowest of equal ones, on every device and
    path (`vqcodec.kernels.contract`). metric: "l2", or "cosine" for the largest cosine of the angle between them.
    float32, float16 or bfloat16, contiguous or not; K of 1 or more, D of 1 or more, N may be 0. The N x K matrix is
    never held whole. A vector that is not finite gets code 0, a code that is not finite is not chosen.

    Raises ValueError for other shapes, types and metrics, KernelError for a path that cannot be had.
    """
    _check(z, codebook, metric)
    indices: Tensor = torch.ops.vqcodec.nearest_codes(z.detach(), codebook.detach(), metric)
    return indices


def assign_codes(z: Tensor, codebook: Tensor, *, metric: Metric = "l2", in_use: Tensor | None = None) -> Assignment:
    """As `nearest_codes`, with the codes themselves, the squared errors, and count and sum of the vectors of each code.

    in_use: (N,) bool, the vectors that are counted and summed up; all by default. Sums on a GPU are added in any order.
    Raises as `nearest_codes`, and ValueError for another `in_use`.
    """
    _check(z, codebook, metric)
    if in_use is not None and (in_use.shape != z.shape[:1] or in_use.dtype != torch.bool or in_use.device != z.device):
        raise ValueError(f"in_use must be {len(z)} bool on {z.device}, got {_described(in_use)}")
    return Assignment(*torch.ops.vqcodec.assign_codes(z.detach(), codebook.detach(), metric, in_use))


def residual_codes(z: Tensor, codebooks: Sequence[Tensor]) -> ResidualCodes:
    """Residual quantisation: the nearest code ("l2") of the first codebook (K, D), of the next for what is left, ...

    What is left is in float32: z minus the code, rounded. Raises as `nearest_codes`, and ValueError without codebooks.
    """
    if not codebooks:
        raise ValueError("residual quantisation needs a codebook or more")
    for codebook in codebooks:
        _check(z, codebook, "l2")
    return ResidualCodes(*torch.ops.vqcodec.residual_codes(z.detach(), [codebook.detach() for codebook in codebooks]))


def _check(z: Tensor, codebook: Tensor, metric: str) -> None:
    if metric not in METRICS:
        raise ValueError(f"{metric}: not a metric; use {' or '.join(METRICS)}")
    for name, shape, tensor in (("z", "N, D", z), ("the codebook", "K, D", codebook)):
        if tensor.dim() != 2 or not tensor.shape[1] or tensor.dtype not in _TYPES:
            raise ValueError(f"{name} must be ({shape}) of float32, float16 or bfloat16, got {_described(tensor)}")
    if not len(codebook):
        raise ValueError("the codebook has no codes")
    if z.shape[1] != codebook.shape[1] or z.device != codebook.device:
        raise ValueError(f"z and the codebook do not match: {_described(z)} and {_described(codebook)}")


def _described(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')} on {tensor.device}"


# `torch.library.custom_op` would do the same, but takes a tenth of a millisecond a call
torch.library.define("vqcodec::nearest_codes", "(Tensor z, Tensor codebook, str metric) -> Tensor")
torch.library.define(
    "vqcodec::assign_codes",
    "(Tensor z, Tensor codebook, str metric, Tensor? in_use) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
)
torch.library.define("vqcodec::residual_codes", "(Tensor z, Tensor[] codebooks) -> (Tensor, Tensor)")
#: what Triton's kernel does, but for what another does in its place
_FUSED = (Path.TRITON, Path.CUDA)
#: on every device
_ANYWHERE = "CompositeExplicitAutograd"


@torch.library.impl("vqcodec::nearest_codes", _ANYWHERE)
def _nearest_codes(z: Tensor, codebook: Tensor, metric: str) -> Tensor:
    path, _ = path_for(z.device, len(z) * len(codebook))
    if path is Path.CUDA and compiled.can_compile(z.shape[1]):
        return compiled.compiled_nearest(z, codebook, metric_of(metric))
    if path in _FUSED:
        from vqcodec.kernels.fused import fused_nearest

        return fused_nearest(z, codebook, metric)
    return _by_torch(path, z, codebook, metric)


@torch.library.impl("vqcodec::assign_codes", _ANYWHERE)
def _assign_codes(
    z: Tensor, codebook: Tensor, metric: str, in_use: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    path, _ = path_for(z.device, len(z) * len(codebook))
    if path in _FUSED:
        from vqcodec.kernels.fused import fused_assign

        return fused_assign(z, codebook, metric, in_use)
    indices = _by_torch(path, z, codebook, metric)
    z, codebook = z.float(), codebook.float()
    vectors = codebook[indices]
    errors = (z - vectors).square().sum(dim=1)
    if in_use is not None:
        z, chosen = z[in_use], indices[in_use]
    else:
        chosen = indices
    counts = torch.bincount(chosen, minlength=len(codebook)).float()
    return indices, vectors, errors, counts, torch.zeros_like(codebook).index_add_(0, chosen, z)


@torch.library.impl("vqcodec::residual_codes", _ANYWHERE)
def _residual_codes(z: Tensor, codebooks: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    path, _ = path_for(z.device, len(z) * sum(map(len, codebooks)))
    if path in _FUSED:
        from vqcodec.kernels.fused import fused_residual

        return fused_residual(z, codebooks)
    remaining, indices = z.float().clone(), []
    for codebook in codebooks:
        indices.append(_by_torch(path, remaining, codebook, "l2"))
        remaining -= codebook.float()[indices[-1]]
    return torch.stack(indices), remaining


def _by_torch(path: Path, z: Tensor, codebook: Tensor, metric: str) -> Tensor:
    find = exact_nearest if path is Path.REFERENCE else blocked_nearest
    return find(z, codebook, metric_of(metric))


# ---- what the operations give, in shapes alone ----


def _nearest_shapes(z: Tensor, codebook: Tensor, metric: str) -> Tensor:
    return z.new_empty(z.shape[0], dtype=torch.int64)


def _assign_shapes(
    z: Tensor, codebook: Tensor, metric: str, in_use: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    count, (codes, dimension) = z.shape[0], codebook.shape
    return (
        z.new_empty(count, dtype=torch.int64),
        z.new_empty(count, dimension, dtype=torch.float32),
        z.new_empty(count, dtype=torch.float32),
        z.new_empty(codes, dtype=torch.float32),
        z.new_empty(codes, dimension, dtype=torch.float32),
    )


def _residual_shapes(z: Tensor, codebooks: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    return z.new_empty(len(codebooks), z.shape[0], dtype=torch.int64), z.new_empty(z.shape, dtype=torch.float32)


torch.library.register_fake("vqcodec::nearest_codes", _nearest_shapes)
torch.library.register_fake("vqcodec::assign_codes", _assign_shapes)
torch.library.register_fake("vqcodec::residual_codes", _residual_shapes)
