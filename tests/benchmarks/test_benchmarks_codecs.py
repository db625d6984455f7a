from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import features

from vqcodec.benchmarks.codecs import VQ, Pixels, ScaledAvif, Setting, avif_anchors, nearest_bytes
from vqcodec.benchmarks.speed import synthetic_picture
from vqcodec.codec import Codec

needs_avif = pytest.mark.skipif(not features.check("avif"), reason="this Pillow was built without AVIF")


class Sizes:
    """A codec whose files have the given sizes."""

    name = "sizes"

    def __init__(self, sizes: Sequence[int]) -> None:
        self.sizes = sizes
        self.settings: tuple[Setting, ...] = tuple(range(10, 10 + len(sizes)))
        self.encoded = 0

    def encode(self, rgb: Pixels, setting: Setting) -> bytes:
        self.encoded += 1
        return bytes(self.sizes[int(setting) - 10])

    def decode(self, data: bytes, width: int, height: int) -> Pixels:
        return np.zeros((height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("target", "setting"),
    [(1, 10), (5, 10), (6, 11), (7, 11), (8, 13), (9, 13), (30, 14), (31, 14), (1000, 14)],
)
def test_the_anchor_has_the_fewest_bytes_that_are_not_below_ours(target: int, setting: int) -> None:
    codec = Sizes([5, 7, 7, 9, 30])
    found, data = nearest_bytes(codec, np.zeros((1, 1, 3), dtype=np.uint8), target)
    assert (found, len(data)) == (setting, codec.sizes[setting - 10])


def test_the_search_is_a_bisection_and_encodes_nothing_twice() -> None:
    codec = Sizes(range(1, 102))
    tried: dict[Setting, bytes] = {}
    for target in (40, 41, 40, 3):
        setting, _ = nearest_bytes(codec, np.zeros((1, 1, 3), dtype=np.uint8), target, tried=tried)
        assert setting == 10 + target - 1
    assert codec.encoded == len(tried) < 25


def test_vq_is_the_codec_itself(tiny_model: Path) -> None:
    codec = Codec.load(tiny_model, device="cpu")
    vq = VQ(codec)
    rgb = synthetic_picture(37, 21)
    assert vq.settings == (1, 2)
    assert vq.name == f"vq:tiny:{codec.card.model_id.hex()}:static"
    assert VQ(codec, "uniform").name.endswith(":uniform")
    data = vq.encode(rgb, 1)
    assert data == codec.encode(rgb, levels=1, entropy="static")
    assert np.array_equal(vq.decode(data, 37, 21), np.asarray(codec.decode(data)))


@needs_avif
def test_avif_is_reduced_and_enlarged_to_the_true_size() -> None:
    rgb = synthetic_picture(101, 66)
    sizes = []
    for codec in avif_anchors():
        data = codec.encode(rgb, 60)
        decoded = codec.decode(data, 101, 66)
        assert (decoded.shape, decoded.dtype) == (rgb.shape, np.uint8)
        assert np.abs(decoded.astype(int) - rgb).mean() < 12
        sizes.append(len(data))
    assert sizes == sorted(sizes, reverse=True)
    assert [codec.name for codec in avif_anchors()] == ["avif", "avif/2", "avif/3", "avif/4"]


@needs_avif
def test_a_picture_smaller_than_the_reduction_is_coded() -> None:
    rgb = np.full((1, 2, 3), 200, dtype=np.uint8)
    codec = ScaledAvif(4)
    assert np.abs(codec.decode(codec.encode(rgb, 100), 2, 1).astype(int) - 200).max() < 8


def test_a_scale_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        ScaledAvif(0)
