"""Where and when a result was made: written into every result file."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
from PIL import features

from vqcodec import __version__
from vqcodec.codec import Codec


def describe_run() -> dict[str, Any]:
    """Machine, versions, commit, date and command, ready for JSON. Names neither the host nor the user."""
    return {
        "command": shlex.join(["vqcodec", *sys.argv[1:]]),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": describe_machine(),
        "versions": {
            "vqcodec": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "pillow": PIL.__version__,
            "libavif": features.version("avif"),
            "libwebp": features.version("webp"),
            "libjpeg-turbo": features.version("libjpeg_turbo"),
            "openjpeg": features.version("jpg_2000"),
            "imagecodecs": _package_version("imagecodecs"),
        },
    }


def _package_version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def describe_machine() -> dict[str, Any]:
    """Processor, cores, memory, threads, GPU. `load_average`: runnable processes in the last minute, this one included;
    more than there are cores means that times were taken beside other work."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": _memory_bytes(),
        "torch_threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "load_average": load,
    }


def describe_model(codec: Codec) -> dict[str, Any]:
    """The model of a codec and how it computes."""
    return {
        "name": codec.card.name,
        "fingerprint": codec.card.fingerprint,
        "size_bytes": codec.model.size_bytes,
        "levels": codec.card.autoencoder.levels,
        "device": codec.place,
        "dtype": codec.arithmetic,
    }


def cpu_model() -> str:
    """The processor's own name, as far as the system tells."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def commit() -> str | None:
    """The commit of the checkout that this code runs from, with "-dirty" when it was changed; None outside of one."""
    here = Path(__file__).resolve()
    try:
        _git(here.parent, "ls-files", "--error-unmatch", here.name)
        return _git(here.parent, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None
