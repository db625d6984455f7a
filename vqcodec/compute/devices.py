"""Which device to compute on, and in which type."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

from vqcodec.compute.errors import DeviceError

Network = TypeVar("Network", bound=nn.Module)


def choose_device(name: str = "auto") -> torch.device:
    """`auto` is CUDA, then MPS, then the CPU. Raises DeviceError when `name` is not available here."""
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if available[kind]))
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceError(f"{name}: not a device; use auto, cpu, cuda or mps") from error
    count = torch.cuda.device_count() if device.type == "cuda" else 1
    if not available.get(device.type, False) or (device.index or 0) >= count:
        raise DeviceError(f"{name}: not available here; use --device auto or cpu")
    return device


def fast_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the hardware multiplies it (CUDA from sm_80, CPUs with AMX or AVX512-BF16), else float32.

    On other CPUs bfloat16 is emulated and about three times slower than float32.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float32
    if device.type == "cpu" and cpu_multiplies_bfloat16():
        return torch.bfloat16
    return torch.float32


def cpu_multiplies_bfloat16() -> bool:
    """Whether this CPU has AMX or AVX512-BF16, as far as this torch can tell."""
    checks = (getattr(torch.cpu, name, None) for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"))
    return any(bool(check()) for check in checks if check is not None)


def to_channels_last(network: Network, device: torch.device) -> Network:
    """`network` on `device`, with its convolutions' weights in the memory order that is fastest there."""
    # torch's type hints lack memory_format
    moved: Network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return moved
