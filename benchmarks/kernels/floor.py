"""The least time that the fused kernel could take on a GPU: the longest of what it must read, multiply and compare.

- bytes: z once, and the indices; codes stay in the cache;
- multiplications: of bfloat16, as `vqcodec.kernels.layout` has them;
- comparisons: of each group of codes, as many as it has codes, less one, and five to keep the best; from compute
  capability 9.0 on, one instruction takes the largest of three numbers. A multiprocessor has 64 lanes for them.

Rates are of the device at its full clock, dense, without the share that any program loses.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from vqcodec.kernels.layout import Layout

#: multiplications and additions of bfloat16 that one multiprocessor does in one cycle, by compute capability
_OPERATIONS_PER_CYCLE = {(8, 0): 2048, (8, 6): 1024, (8, 9): 1024, (9, 0): 4096}
#: for comparisons (CUDA C++ Programming Guide, throughput of native arithmetic instructions)
_LANES = 64
#: from here on three numbers are compared at a time
_THREE_AT_A_TIME = (9, 0)
#: to keep best, second best, and which group the best is of
_KEEPING = 5


@dataclass(frozen=True)
class Rates:
    """Of a device. bytes: each second, of its memory, measured by a copy. Operations and comparisons each second.

    compared: how many numbers one comparison takes.
    """

    bytes: float
    operations: float
    comparisons: float
    compared: int = 2


@dataclass(frozen=True)
class Floor:
    """Seconds, each for itself; the floor is the longest."""

    bytes_seconds: float
    operations_seconds: float
    comparisons_seconds: float

    @property
    def seconds(self) -> float:
        """The time that no search can be faster than."""
        return max(self.bytes_seconds, self.operations_seconds, self.comparisons_seconds)


def floor_of(
    vectors: int, codes: int, dimension: int, dtype: torch.dtype, rates: Rates, *, places: int = 16, tile: int = 256
) -> Floor:
    """The floor of finding the nearest of so many codes to so many vectors."""
    multiplications = Layout.of(dimension).multiplications(split=dtype != torch.bfloat16)
    group = tile // places
    scores = vectors * codes
    return Floor(
        bytes_seconds=vectors * (dimension * dtype.itemsize + 8) / rates.bytes,
        operations_seconds=2 * scores * multiplications / rates.operations,
        comparisons_seconds=scores * ((group - 1) / (rates.compared - 1) + _KEEPING) / group / rates.comparisons,
    )


def device_rates(device: torch.device) -> Rates | None:
    """Of a GPU whose numbers are known here, else None."""
    if device.type != "cuda":
        return None
    properties = torch.cuda.get_device_properties(device)
    capability = (properties.major, properties.minor)
    per_cycle = _OPERATIONS_PER_CYCLE.get(capability)
    clock = getattr(properties, "clock_rate", None)  # kHz
    if per_cycle is None or not clock:
        return None
    cycles = properties.multi_processor_count * clock * 1e3
    compared = 3 if capability >= _THREE_AT_A_TIME else 2
    return Rates(_copied_bytes_per_second(device), cycles * per_cycle, cycles * _LANES, compared)


def _copied_bytes_per_second(device: torch.device, size: int = 2**30, repeat: int = 5) -> float:
    source = torch.zeros(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    best = float("inf")
    for _ in range(repeat):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        target.copy_(source)
        end.record()
        end.synchronize()
        best = min(best, start.elapsed_time(end) / 1e3)
    return 2 * size / best
