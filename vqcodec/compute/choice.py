"""Whether a device is the CPU, without asking torch where that can be known. Imports torch only where it must."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Final

#: what the drivers of GPUs put there
_DRIVERS: Final = (Path("/dev/nvidiactl"), Path("/dev/dxg"), Path("/dev/kfd"))


def is_cpu(device: str) -> bool:
    """Whether `vqcodec.compute.devices.choose_device` would give the CPU. Raises DeviceError for what is not there."""
    if device == "cpu" or (device == "auto" and not _may_have_gpu()):
        return True
    from vqcodec.compute.devices import choose_device

    return choose_device(device).type == "cpu"


def _may_have_gpu() -> bool:
    """False only where torch would surely find no GPU: no driver is there, and this is no Mac."""
    if sys.platform == "linux":
        return any(path.exists() for path in _DRIVERS)
    return sys.platform == "darwin" or shutil.which("nvidia-smi") is not None
