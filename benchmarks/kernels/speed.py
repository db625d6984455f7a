"""How fast the nearest codes are found: ours and others', on the same vectors and codes."""

from __future__ import annotations

import ctypes
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from vqcodec.benchmarks.kernels.floor import Floor, Rates, floor_of
from vqcodec.benchmarks.kernels.rivals import OURS, Search

#: inputs are rotated through so many bytes, more than any cache holds
_ROTATED_BYTES = 2**27
_LEAST_REPEATS, _MOST_REPEATS = 5, 50
#: a case is repeated for about so many seconds
_SECONDS = 0.5


@dataclass(frozen=True)
class KernelCase:
    """vectors N, codes K, dimension D, and the type of the vectors; codes are float32."""

    vectors: int
    codes: int
    dimension: int
    dtype: str

    @property
    def products(self) -> int:
        """Multiplications that a plain product takes."""
        return self.vectors * self.codes * self.dimension


@dataclass(frozen=True)
class KernelTime:
    """One method on one case. seconds: median. agreeing: share of indices that are ours; others than ours round.

    gigabytes_per_second: of z and indices. teraflops: of a plain product, two operations a multiplication, whatever the
    method computes. floor_share: of the time, on GPUs whose numbers are known, and of ours only. peak_bytes: memory
    beyond z and codes. failure: what stopped it, in place of all these.
    """

    case: KernelCase
    method: str
    seconds: float | None = None
    gigabytes_per_second: float | None = None
    teraflops: float | None = None
    floor: Floor | None = None
    floor_share: float | None = None
    peak_bytes: int | None = None
    agreeing: float | None = None
    failure: str | None = None


def measure_kernels(
    cases: Sequence[KernelCase], searches: dict[str, Search], device: torch.device, rates: Rates | None
) -> Iterator[KernelTime]:
    """Every method on every case, unit Gaussians. Ours comes first: others are compared with it."""
    for case in cases:
        generator = torch.Generator().manual_seed(0)
        dtype = getattr(torch, case.dtype)
        codes = torch.randn(case.codes, case.dimension, generator=generator).to(device)
        one = torch.randn(case.vectors, case.dimension, generator=generator).to(device, dtype)
        copies = min(8, max(2, -(-_ROTATED_BYTES // one.nbytes)))
        inputs = [one, *(one.roll(number, dims=0) for number in range(1, copies))]
        ours = searches[OURS](one, codes) if OURS in searches else None
        for method, search in searches.items():
            yield _timed(case, method, search, inputs, codes, ours, rates)


def _timed(
    case: KernelCase,
    method: str,
    search: Search,
    inputs: list[Tensor],
    codes: Tensor,
    ours: Tensor | None,
    rates: Rates | None,
) -> KernelTime:
    # what mixes types refuses them: others get float32, which is what their users would give them
    if method not in (OURS, "cdist") and inputs[0].dtype != codes.dtype:
        inputs = [each.to(codes.dtype) for each in inputs]
    try:
        found = search(inputs[0], codes)
        seconds = _median_seconds(search, inputs, codes)
        peak = _peak_bytes(search, inputs[0], codes)
    except (RuntimeError, MemoryError) as error:  # too large for it: a result, which is written down
        lines = str(error).strip().splitlines()
        return KernelTime(case, method, failure=lines[0] if lines else type(error).__name__)
    floor = (
        floor_of(case.vectors, case.codes, case.dimension, inputs[0].dtype, rates) if rates and method == OURS else None
    )
    return KernelTime(
        case,
        method,
        seconds=seconds,
        gigabytes_per_second=(inputs[0].nbytes + 8 * case.vectors) / seconds / 1e9,
        teraflops=2 * case.products / seconds / 1e12,
        floor=floor,
        floor_share=floor.seconds / seconds if floor else None,
        peak_bytes=peak,
        agreeing=None if ours is None else float((found.to(ours.device) == ours).float().mean()),
    )


@torch.inference_mode()
def _median_seconds(search: Search, inputs: list[Tensor], codes: Tensor) -> float:
    """By the device's own events on CUDA. One call has gone before."""
    seconds = [_seconds(search, inputs[1], codes)]
    repeats = max(_LEAST_REPEATS, min(_MOST_REPEATS, int(_SECONDS / max(seconds[0], 1e-6))))
    seconds += [_seconds(search, inputs[number % len(inputs)], codes) for number in range(repeats)]
    return statistics.median(seconds[1:])


def _seconds(search: Search, z: Tensor, codes: Tensor) -> float:
    if z.device.type == "cuda":
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        search(z, codes)
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1e3
    started = time.perf_counter()
    search(z, codes)
    return time.perf_counter() - started


def _peak_bytes(search: Search, z: Tensor, codes: Tensor) -> int | None:
    """Of the GPU's memory, or of the process as far as Linux tells."""
    if z.device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        search(z, codes)
        return int(torch.cuda.max_memory_allocated() - before)
    try:
        ctypes.CDLL(None).malloc_trim(0)  # what calls before have left would be used again, unseen
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts from here
    except (AttributeError, OSError, TypeError):
        return None
    before = _status("VmRSS")
    search(z, codes)
    return max(0, _status("VmHWM") - before)


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    return 0
