"""Memory that is freed and kept."""

from __future__ import annotations

import subprocess
import sys

import pytest

from vqcodec.compute import memory
from vqcodec.compute.memory import keep_freed_memory


def test_freed_memory_is_kept_where_glibc_is() -> None:
    """In a process of its own: after some rounds a block is made of pages that were freed, not of fresh ones."""
    program = """
import platform, resource
from vqcodec.compute.memory import keep_freed_memory
import torch
kept = keep_freed_memory()
for _ in range(40):
    torch.ones(2**24)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
torch.ones(2**24)
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(platform.libc_ver()[0], kept, faults)
"""
    if sys.platform != "linux":
        assert not keep_freed_memory()
        return
    command = [sys.executable, "-c", program]
    library, kept, faults = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert kept == str(library == "glibc")
    assert library != "glibc" or int(faults) < 2**24 * 4 / 4096 / 10


def test_another_c_library_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    assert not keep_freed_memory()
