"""Triton's kernels run on the GPU where there is one, else in its interpreter. FAIL_WITHOUT_CUDA=1 asks for the GPU."""

from __future__ import annotations

import os

import pytest
import torch

# Triton reads it once, when it is imported
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"


@pytest.fixture(scope="session")
def device() -> torch.device:
    """That of Triton's kernels."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if os.environ.get("FAIL_WITHOUT_CUDA") == "1":
        pytest.fail("FAIL_WITHOUT_CUDA=1, and no GPU is there")
    return torch.device("cpu")


@pytest.fixture(params=["reference", "blocked", "triton"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every path in turn, by the environment variable."""
    if request.param == "triton":
        pytest.importorskip("triton")
    monkeypatch.setenv("VQCODEC_KERNELS", request.param)
    return str(request.param)
