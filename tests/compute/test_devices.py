"""Which device and which type are chosen."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vqcodec.compute import devices
from vqcodec.compute.devices import (
    choose_device,
    cpu_multiplies_bfloat16,
    fast_dtype,
    to_channels_last,
)
from vqcodec.compute.errors import DeviceError


def pretend(monkeypatch: pytest.MonkeyPatch, *, cuda: bool = False, mps: bool = False) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: int(cuda))
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("cuda", "mps", "chosen"),
    [(False, False, "cpu"), (True, False, "cuda"), (False, True, "mps"), (True, True, "cuda")],
)
def test_auto_takes_the_fastest_there_is(cuda: bool, mps: bool, chosen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, cuda=cuda, mps=mps)
    assert choose_device().type == chosen
    assert choose_device(chosen).type == chosen
    assert choose_device("cpu").type == "cpu"


@pytest.mark.parametrize("name", ["cuda", "cuda:1", "mps", "meta", "xpu"])
def test_a_device_that_is_not_there(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch)
    with pytest.raises(DeviceError, match=rf"^{name}: not available here; use --device auto or cpu$"):
        choose_device(name)


def test_a_gpu_number_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, cuda=True)
    assert choose_device("cuda:0").index == 0
    with pytest.raises(DeviceError, match=r"^cuda:1: not available here"):
        choose_device("cuda:1")


@pytest.mark.parametrize("name", ["", "gpu", "cuda:", "cuda:x", "CPU "])
def test_what_is_no_device(name: str) -> None:
    with pytest.raises(DeviceError, match="not a device; use auto, cpu, cuda or mps"):
        choose_device(name)


@pytest.mark.parametrize(("multiplies", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_fast_dtype_of_a_cpu(multiplies: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "cpu_multiplies_bfloat16", lambda: multiplies)
    assert fast_dtype(torch.device("cpu")) == dtype


@pytest.mark.parametrize(("capability", "dtype"), [((7, 5), torch.float32), ((8, 0), torch.bfloat16)])
def test_fast_dtype_of_cuda(capability: tuple[int, int], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert fast_dtype(torch.device("cuda")) == dtype


def test_fast_dtype_of_mps() -> None:
    assert fast_dtype(torch.device("mps")) == torch.float32


def test_a_torch_that_cannot_tell_has_no_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(cpu_multiplies_bfloat16(), bool)
    for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        monkeypatch.delattr(torch.cpu, name, raising=False)
    assert not cpu_multiplies_bfloat16()


def test_channels_last_is_the_same_network() -> None:
    network = nn.Conv2d(3, 4, 3)
    moved = to_channels_last(network, torch.device("cpu"))
    assert moved is network
    assert network.weight.is_contiguous(memory_format=torch.channels_last)
