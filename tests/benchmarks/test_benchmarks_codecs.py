from __future__ import annotations

from pathlib import Path

import numpy as np

from vqcodec.benchmarks.codecs import VQ
from vqcodec.benchmarks.speed import synthetic_picture
from vqcodec.codec import Codec


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
