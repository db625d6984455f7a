from __future__ import annotations

from pathlib import Path

import numpy as np

from vqcodec.benchmarks.rate_distortion.codecs import VQ
from vqcodec.benchmarks.rate_distortion.tools import ToolMaker
from vqcodec.benchmarks.speed.stages import synthetic_picture
from vqcodec.codec import Codec


def test_vq_is_the_codec_itself(tiny_model: Path) -> None:
    codec = Codec.load(tiny_model, device="cpu")
    vq = VQ(codec)
    rgb = synthetic_picture(37, 21)
    assert vq.settings == (1, 2)
    assert vq.name == f"vq:tiny:{codec.card.model_id.hex()}:static"
    assert VQ(codec, "uniform").name.endswith(":uniform")
    by_quality = VQ(codec, qualities=(20.0, 50.0))
    assert by_quality.settings == (20.0, 50.0)
    assert by_quality.name == f"{vq.name}, by quality"
    assert by_quality.encode(rgb, 50.0) == codec.encode(rgb, levels=1)
    data = vq.encode(rgb, 1)
    assert data == codec.encode(rgb, levels=1, entropy="static")
    assert np.array_equal(vq.decode(data, 37, 21), np.asarray(codec.decode(data)))


def test_the_anchors_alone_need_no_model() -> None:
    assert [codec.name for codec in ToolMaker(formats=("jpeg",), scales=(1, 4))().codecs] == ["jpeg", "jpeg/4"]


def test_what_is_named_twice_is_measured_once(tiny_model: Path) -> None:
    again = str(tiny_model.parent / "." / tiny_model.name)
    maker = ToolMaker(models=(str(tiny_model), again), levels=(2, 1, 2), qualities=(60, 60.0), device="cpu")
    assert [codec.settings for codec in maker().codecs] == [(1, 2), (60,)]
