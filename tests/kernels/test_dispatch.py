"""Which path is chosen, and what is said of it."""

from __future__ import annotations

import pytest
import torch

from vqcodec.kernels import KernelError, Path, dispatch, path_for

CPU, CUDA, MPS = torch.device("cpu"), torch.device("cuda"), torch.device("mps")


@pytest.fixture
def without_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "_has_triton", lambda: False)


def test_auto_is_triton_on_a_gpu_and_blocks_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    monkeypatch.delenv("VQCODEC_KERNELS", raising=False)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    assert path_for(CUDA) == (Path.TRITON, "on a GPU, from 2^26 scores on; blocked below")
    assert path_for(CUDA, 2**26 - 1) == (Path.BLOCKED, "too few scores for Triton's kernel")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert path_for(CUDA) == (Path.BLOCKED, "the kernel needs compute capability 8.0, this GPU has 7.5")
    assert path_for(CPU) == path_for(MPS) == (Path.BLOCKED, "Triton's kernel is for CUDA")


@pytest.mark.usefixtures("without_triton")
def test_without_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VQCODEC_KERNELS", "auto")
    path, reason = path_for(CUDA)
    assert path is Path.BLOCKED
    assert "pip install vqcodec[gpu]" in reason
    monkeypatch.setenv("VQCODEC_KERNELS", "triton")
    with pytest.raises(KernelError, match=r"VQCODEC_KERNELS=triton: Triton is not installed"):
        path_for(CUDA)


def test_a_path_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("reference", "blocked"):
        monkeypatch.setenv("VQCODEC_KERNELS", name)
        assert path_for(CPU) == (Path(name), f"VQCODEC_KERNELS={name}")


def test_cuda_is_for_those_who_name_it(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    monkeypatch.setenv("VQCODEC_KERNELS", "cuda")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    assert path_for(CUDA) == (Path.CUDA, "VQCODEC_KERNELS=cuda")
    for device in (CPU, MPS):
        with pytest.raises(
            KernelError, match=f"VQCODEC_KERNELS=cuda: there is no CUDA C\\+\\+ on {device.type}; use auto"
        ):
            path_for(device)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    with pytest.raises(KernelError, match=r"VQCODEC_KERNELS=cuda: the kernel needs compute capability 8.0"):
        path_for(CUDA)
