"""The default networks through torch.compile: the same values and gradients."""

from __future__ import annotations

import shutil
from contextlib import AbstractContextManager, nullcontext

import pytest
import torch
from torch._inductor import config

from vqcodec.models.layers import ResidualBlock


def without_a_compiler() -> AbstractContextManager[object]:
    """Everything of torch.compile but the C++ of its kernels, whose operations torch itself computes, in a tenth of
    the time: tracing, gradients, and the check of the strides that each operation was planned with."""
    if hasattr(config, "fallback_by_default"):
        return config.patch(fallback_by_default=True)
    if not (shutil.which("g++") or shutil.which("clang++")):
        pytest.skip("this torch.compile needs a C++ compiler on a CPU")
    return nullcontext()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch, by torch
def test_a_block_trains_compiled_as_it_does_otherwise() -> None:
    torch.manual_seed(0)
    block = ResidualBlock(8, 8, "replicate").to(memory_format=torch.channels_last)
    torch.nn.init.normal_(block.narrow.weight)
    images = torch.randn(2, 8, 6, 5).contiguous(memory_format=torch.channels_last)
    results = []
    with without_a_compiler():
        for call in (block, torch.compile(block)):
            block.zero_grad()
            x = images.clone().requires_grad_()
            made = call(x)
            made.square().sum().backward()
            results.append((made.detach(), x.grad, block.widen.weight.grad.clone()))  # type: ignore[union-attr]
    for plain, compiled in zip(*results, strict=True):
        torch.testing.assert_close(plain, compiled, rtol=1e-3, atol=1e-3)
