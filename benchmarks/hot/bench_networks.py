"""The embedded model's Encoder and Decoder, and the nearest code."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from vqcodec.benchmarks.speed.stages import synthetic_picture
from vqcodec.codec import Codec
from vqcodec.kernels import nearest_codes
from vqcodec.pictures.image import to_tensor


@pytest.fixture(scope="module")
def codec() -> Codec:
    return Codec.load(device="cpu", dtype=torch.float32)


@pytest.fixture(scope="module")
def images(codec: Codec) -> Tensor:
    """(1, 3, 256, 256) in [-1, 1]."""
    pixels = synthetic_picture(256, 256)
    tensor = to_tensor(pixels, codec.card.autoencoder.downsampling_factor)
    return tensor.contiguous(memory_format=torch.channels_last)


@pytest.fixture(autouse=True)
def _without_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


def test_encoder(benchmark: BenchmarkFixture, codec: Codec, images: Tensor) -> None:
    analysis = benchmark(codec.network.analyse, images)
    assert analysis.tensors[-1].shape[0] == len(images)


def test_decoder(benchmark: BenchmarkFixture, codec: Codec, images: Tensor) -> None:
    tokens = codec.tokenize(images)
    assert benchmark(codec.network.detokenize, tokens).shape == images.shape


@pytest.mark.parametrize("count", [1536, 24576])
def test_nearest_codes(benchmark: BenchmarkFixture, count: int) -> None:
    """K = 1024 codes of D = 8 dimensions, as in photo-4."""
    generator = torch.Generator().manual_seed(0)
    vectors, codes = (F.normalize(torch.randn(rows, 8, generator=generator), dim=1) for rows in (count, 1024))
    assert benchmark(nearest_codes, vectors, codes).shape == (count,)
