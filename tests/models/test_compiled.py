"""The default networks through torch.compile: the same values and gradients."""

from __future__ import annotations

import shutil

import pytest
import torch

from vqcodec.models.layers import ResidualBlock

needs_a_compiler = pytest.mark.skipif(
    not (shutil.which("g++") or shutil.which("clang++")), reason="torch.compile needs a C++ compiler on a CPU"
)


@needs_a_compiler
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch, by torch
def test_a_block_trains_compiled_as_it_does_otherwise() -> None:
    torch.manual_seed(0)
    block = ResidualBlock(8, 8, "replicate").to(memory_format=torch.channels_last)
    torch.nn.init.normal_(block.narrow.weight)
    images = torch.randn(2, 8, 6, 5).contiguous(memory_format=torch.channels_last)
    results = []
    for call in (block, torch.compile(block)):
        block.zero_grad()
        x = images.clone().requires_grad_()
        made = call(x)
        made.square().sum().backward()
        results.append((made.detach(), x.grad, block.widen.weight.grad.clone()))  # type: ignore[union-attr]
    for plain, compiled in zip(*results, strict=True):
        torch.testing.assert_close(plain, compiled, rtol=1e-3, atol=1e-3)
