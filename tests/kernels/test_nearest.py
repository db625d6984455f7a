"""Every path gives the index of the contract: shapes, types, ties, near ties, huge and tiny values, bad input."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from vqcodec.kernels import KernelError, assign_codes, blocked, nearest_codes, path_for, residual_codes
from vqcodec.kernels.contract import METRICS, Metric, exact_nearest

# Triton's interpreter computes in numpy, which warns of what the kernels allow for
pytestmark = pytest.mark.filterwarnings("ignore:.* encountered:RuntimeWarning")

HALF_TYPES = (torch.float16, torch.bfloat16)


def normal(*shape: int, seed: int = 0, device: torch.device | None = None) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(device)


def mismatches(z: Tensor, codebook: Tensor, metric: Metric = "l2") -> int:
    found = nearest_codes(z, codebook, metric=metric)
    assert found.dtype == torch.int64
    assert found.device == z.device
    return int((found != exact_nearest(z, codebook, metric)).sum())


# ---- the same answer on every path ----


@pytest.mark.usefixtures("path")
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(0, 150), st.integers(1, 400), st.integers(1, 40), st.sampled_from(METRICS),
    st.sampled_from([torch.float32, *HALF_TYPES]), st.integers(0, 2**31),
)  # fmt: skip
def test_any_shape(
    device: torch.device, count: int, codes: int, dimension: int, metric: Metric, dtype: torch.dtype, seed: int
) -> None:
    z = normal(count, dimension, seed=seed, device=device).to(dtype)
    assert mismatches(z, normal(codes, dimension, seed=seed + 1, device=device), metric) == 0


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("count", "codes", "dimension"),
    [(70, 1030, 8), (3, 5, 200), (65, 513, 65), (20, 9000, 4), (2, 40, 520), (9, 3, 64)],
)
def test_beyond_one_tile(device: torch.device, metric: Metric, count: int, codes: int, dimension: int) -> None:
    z, codebook = normal(count, dimension, device=device), normal(codes, dimension, seed=1, device=device)
    assert mismatches(z, codebook, metric) == 0


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("metric", METRICS)
def test_ties(device: torch.device, metric: Metric) -> None:
    """Whole numbers, every code three times, in another order: the lowest of equal ones."""
    generator = torch.Generator().manual_seed(3)
    codebook = torch.randint(-2, 3, (120, 3), generator=generator).float()
    codebook = torch.cat([codebook, codebook.flip(0), codebook]).to(device)
    z = torch.randint(-2, 3, (25, 3), generator=generator).float().to(device)
    assert mismatches(z, codebook, metric) == 0


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dimension", [4, 33])
def test_near_ties(device: torch.device, metric: Metric, dimension: int) -> None:
    """Codes that differ by a unit in the last place of one component, far from where vectors are dense."""
    base = normal(16, dimension, device=device)
    codebook = base.repeat(4, 1)
    for copy in range(1, 4):
        rows = slice(copy * 16, copy * 16 + 16)
        codebook[rows, copy % dimension] = torch.nextafter(codebook[rows, copy % dimension], base.new_tensor(9.0))
    z = base.repeat(3, 1) + 1e-4 * normal(48, dimension, seed=2, device=device)
    assert mismatches(z, codebook, metric) == 0


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("z_scale", [1e-40, 1e-25, 1.0, 1e38])
@pytest.mark.parametrize("code_scale", [1e-40, 1e-22, 1.0, 1e19])
def test_scales(device: torch.device, metric: Metric, z_scale: float, code_scale: float) -> None:
    z, codebook = normal(4, 5, device=device) * z_scale, normal(70, 5, seed=1, device=device) * code_scale
    assert mismatches(z, codebook, metric) == 0


@pytest.mark.usefixtures("path")
def test_sums_that_overflow_on_the_way(device: torch.device) -> None:
    """1e39 - 3 x 3e38 is less than 3e38, and in float32 it is infinite."""
    z = torch.tensor([[1e20, -3e19, -3e19, -3e19]], device=device)
    codebook = torch.tensor([[1e19] * 4, [3e18, 0.0, 0.0, 0.0], [0.0, 1e19, 0.0, 0.0]], device=device)
    assert mismatches(z, codebook) == 0
    assert nearest_codes(z, codebook).tolist() == [1]


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("metric", METRICS)
def test_far_from_the_origin(device: torch.device, metric: Metric) -> None:
    """Where z c and c^2 / 2 cancel but for a small rest."""
    z, codebook = 1e4 + normal(16, 8, device=device), 1e4 + normal(200, 8, seed=1, device=device)
    assert mismatches(z, codebook, metric) == 0


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite(device: torch.device, metric: Metric, broken: float) -> None:
    z, codebook = normal(12, 4, device=device), normal(50, 4, seed=1, device=device)
    z[7, 2] = z[10] = codebook[3, 1] = codebook[0, 0] = broken
    found = nearest_codes(z, codebook, metric=metric)
    assert torch.equal(found, exact_nearest(z, codebook, metric))
    assert found[[7, 10]].tolist() == [0, 0]
    assert not set(found[[0, 1, 2, 3, 4, 5, 6, 8, 9, 11]].tolist()) & {0, 3}
    assert nearest_codes(z[:3], torch.full_like(codebook, broken), metric=metric).tolist() == [0] * 3


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("dtype", HALF_TYPES)
def test_a_codebook_of_half_precision(device: torch.device, dtype: torch.dtype) -> None:
    codebook = normal(90, 8, seed=1, device=device).to(dtype)
    assert mismatches(normal(30, 8, device=device), codebook) == 0
    assert mismatches(normal(30, 8, device=device).to(dtype), codebook) == 0


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize(
    "view",
    [
        pytest.param(lambda z: z.t().contiguous().t(), id="transposed"),
        pytest.param(lambda z: z.repeat(1, 3)[:, ::3], id="columns"),
        pytest.param(lambda z: z.repeat(2, 1)[::2], id="rows"),
        pytest.param(lambda z: z[:1].expand(12, -1), id="expanded"),
    ],
)
def test_views(device: torch.device, view: Callable[[Tensor], Tensor]) -> None:
    z, codebook = view(normal(12, 8, device=device)), normal(90, 8, seed=1, device=device)
    assert mismatches(z, codebook) == 0
    assert mismatches(normal(9, 90, device=device)[:, :8], view(codebook)) == 0


def test_the_largest_codebook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VQCODEC_KERNELS", "blocked")
    assert mismatches(normal(20, 2), normal(262144, 2, seed=1)) == 0


@pytest.mark.parametrize(("codes", "scores"), [(7, 1), (40, 33), (33, 1000)])
def test_pieces_do_not_matter(codes: int, scores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Codebooks and vectors in several pieces, the last one smaller."""
    monkeypatch.setenv("VQCODEC_KERNELS", "blocked")
    monkeypatch.setattr(blocked, "_CODES", codes)
    monkeypatch.setattr(blocked, "_SCORES", scores)
    assert mismatches(normal(50, 6), normal(100, 6, seed=1)) == 0
    assert mismatches(normal(50, 6), torch.zeros(100, 6)) == 0


@pytest.mark.usefixtures("path")
def test_reduced_precision_of_the_process_does_not_matter(device: torch.device) -> None:
    z, codebook = normal(300, 8, device=device), normal(700, 8, seed=1, device=device)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        with torch.autocast(device.type, dtype=torch.bfloat16):
            assert mismatches(z, codebook) == 0
    finally:
        torch.set_float32_matmul_precision(before)


# ---- what training needs ----


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("dimension", [3, 8, 70])
def test_assignment(device: torch.device, masked: bool, dimension: int) -> None:
    z, codebook = normal(150, dimension, device=device), normal(20, dimension, seed=1, device=device)
    in_use = normal(150, seed=2, device=device) > 0 if masked else None
    made = assign_codes(z, codebook, in_use=in_use)
    kept = torch.ones(150, dtype=torch.bool, device=device) if in_use is None else in_use
    one_hot = torch.nn.functional.one_hot(exact_nearest(z, codebook, "l2"), 20).double() * kept[:, None]
    assert torch.equal(made.indices, exact_nearest(z, codebook, "l2"))
    assert torch.equal(made.vectors, codebook[made.indices])
    assert torch.equal(made.counts.double(), one_hot.sum(dim=0))
    torch.testing.assert_close(made.sums, (one_hot.t() @ z.double()).float())
    torch.testing.assert_close(made.squared_errors, (z - made.vectors).square().sum(dim=1))


@pytest.mark.usefixtures("path")
def test_a_mask_with_gaps_in_memory(device: torch.device) -> None:
    z, codebook = normal(40, 4, device=device), normal(9, 4, seed=1, device=device)
    mask = torch.arange(80, device=device) % 3 == 0
    made = assign_codes(z, codebook, in_use=mask[::2])
    assert torch.equal(made.counts, assign_codes(z, codebook, in_use=mask[::2].clone()).counts)
    assert made.counts.sum() == mask[::2].sum()


@pytest.mark.usefixtures("path")
def test_residual_levels(device: torch.device) -> None:
    """Codebooks of several sizes; each level has the nearest code to what the ones before leave."""
    z = normal(100, 8, device=device).half()
    codebooks = [
        normal(codes, 8, seed=codes, device=device) / (1 + number) for number, codes in enumerate((300, 7, 50))
    ]
    made = residual_codes(z, codebooks)
    left = z.float()
    for level, codebook in enumerate(codebooks):
        assert torch.equal(made.indices[level], exact_nearest(left, codebook, "l2"))
        left = left - codebook[made.indices[level]]
    assert torch.equal(made.remaining, left)


@pytest.mark.usefixtures("path")
def test_no_vectors(device: torch.device) -> None:
    z, codebook = normal(0, 8, device=device), normal(20, 8, device=device)
    assert nearest_codes(z, codebook).shape == (0,)
    made = assign_codes(z, codebook)
    assert made.vectors.shape == (0, 8)
    assert made.counts.tolist() == [0] * 20
    assert residual_codes(z, [codebook, codebook]).indices.shape == (2, 0)


# ---- with torch ----


@pytest.mark.usefixtures("path")
def test_torch_checks_the_operations(device: torch.device) -> None:
    z, codebook = normal(30, 4, device=device), normal(20, 4, seed=1, device=device)
    torch.library.opcheck(torch.ops.vqcodec.nearest_codes.default, (z, codebook, "l2"))
    torch.library.opcheck(torch.ops.vqcodec.assign_codes.default, (z, codebook, "cosine", z[:, 0] > 0))
    torch.library.opcheck(torch.ops.vqcodec.residual_codes.default, (z, [codebook, codebook]))


class _NoFloat64(TorchDispatchMode):
    """As on Apple's GPUs."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        assert not any(
            isinstance(each, Tensor) and each.dtype == torch.float64 for each in torch.utils._pytree.tree_leaves(made)
        )
        return made


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dtype", [torch.float32, *HALF_TYPES])
def test_blocks_need_no_float64_but_to_settle(
    metric: Metric, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled: list[int] = []

    def settle(z: Tensor, codebook: Tensor, metric: Metric, rows: Tensor, codes: Tensor) -> Tensor:
        settled.append(len(z))
        return torch.zeros(len(z), dtype=torch.int64)

    monkeypatch.setattr(blocked, "nearest_of_pairs", settle)
    z, codebook = normal(500, 8).to(dtype), normal(300, 8, seed=1).to(dtype)
    z[0] = math.nan
    with _NoFloat64():
        blocked.blocked_nearest(z, codebook, metric)
    assert sum(settled) >= 1


@pytest.mark.usefixtures("path")
def test_no_gradient_passes(device: torch.device) -> None:
    z = normal(30, 4, device=device).requires_grad_()
    codebook = normal(20, 4, seed=1, device=device).requires_grad_()
    made = [nearest_codes(z, codebook), *assign_codes(z, codebook), *residual_codes(z, [codebook])]
    assert not any(each.requires_grad for each in made)


def test_export_goes_through() -> None:
    class Quantizer(torch.nn.Module):
        def forward(self, z: Tensor, codebook: Tensor) -> Tensor:
            return codebook[nearest_codes(z, codebook)]

    z, codebook = normal(30, 4), normal(20, 4, seed=1)
    exported = torch.export.export(Quantizer(), (z, codebook))
    assert "vqcodec.nearest_codes" in str(exported.graph)
    assert torch.equal(exported.module()(z, codebook), Quantizer()(z, codebook))


# ---- what is refused ----


@pytest.mark.parametrize(
    ("z", "codebook", "message"),
    [
        (torch.zeros(3), torch.zeros(2, 2), r"z must be \(N, D\)"),
        (torch.zeros(3, 0), torch.zeros(2, 0), r"z must be \(N, D\)"),
        (torch.zeros(3, 2).double(), torch.zeros(2, 2), r"got \(3, 2\) float64"),
        (torch.zeros(3, 2), torch.zeros(2, 2, 2), r"the codebook must be \(K, D\)"),
        (torch.zeros(3, 2), torch.zeros(2, 2, dtype=torch.int64), r"int64"),
        (torch.zeros(3, 2), torch.zeros(0, 2), r"no codes"),
        (torch.zeros(3, 2), torch.zeros(2, 3), r"do not match"),
        (torch.zeros(3, 2), torch.zeros(2, 2, device="meta"), r"do not match"),
    ],
)
def test_other_shapes_and_types_are_refused(z: Tensor, codebook: Tensor, message: str) -> None:
    for call in (nearest_codes, assign_codes):
        with pytest.raises(ValueError, match=message):
            call(z, codebook)
    with pytest.raises(ValueError, match=message):
        residual_codes(z, [codebook])


def test_no_codebooks_another_metric_and_another_mask_are_refused() -> None:
    z = torch.zeros(3, 2)
    with pytest.raises(ValueError, match="a codebook or more"):
        residual_codes(z, [])
    with pytest.raises(ValueError, match="euclid: not a metric; use l2 or cosine"):
        nearest_codes(z, z, metric="euclid")  # type: ignore[arg-type]
    for mask in (torch.ones(2, dtype=torch.bool), torch.ones(3)):
        with pytest.raises(ValueError, match="in_use must be 3 bool"):
            assign_codes(z, z, in_use=mask)


def test_an_unknown_path_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VQCODEC_KERNELS", "fast")
    with pytest.raises(
        KernelError, match="VQCODEC_KERNELS=fast: not a path; use auto, reference, blocked, triton, cuda"
    ):
        path_for(torch.device("cpu"))
