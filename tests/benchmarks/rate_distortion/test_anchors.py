from __future__ import annotations

import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from vqcodec.benchmarks.rate_distortion import anchors as module
from vqcodec.benchmarks.rate_distortion.anchors import FORMATS, SCALES, Anchor, AnchorError, anchors
from vqcodec.benchmarks.speed.stages import synthetic_picture

#: the first bytes of a file, and where they are
MAGIC = {
    "jpeg": (0, b"\xff\xd8\xff"),
    "webp": (8, b"WEBP"),
    "avif": (4, b"ftypavif"),
    "jxl": (0, b"\xff\x0a"),
    "jpeg2000": (0, b"\xff\x4f\xff\x51"),  # a bare codestream: 85 bytes less than a JP2 file
}


def usable(name: str) -> None:
    missing = FORMATS[name].missing()
    if missing:
        pytest.skip(f"{name} needs {missing}")


@pytest.mark.parametrize("name", list(FORMATS))
@pytest.mark.parametrize("scale", SCALES)
def test_an_anchor_gives_back_the_picture_at_its_size(name: str, scale: int) -> None:
    usable(name)
    rgb = synthetic_picture(303, 202)
    codec = Anchor(FORMATS[name], scale)
    assert codec.name == (name if scale == 1 else f"{name}/{scale}")
    sizes, errors = [], []
    for setting in codec.settings:
        data = codec.encode(rgb, setting)
        assert data == codec.encode(rgb, setting)
        at, magic = MAGIC[name]
        assert data[at : at + len(magic)] == magic
        decoded = codec.decode(data, 303, 202)
        assert (decoded.shape, decoded.dtype) == (rgb.shape, np.uint8)
        sizes.append(len(data))
        errors.append(np.square(decoded.astype(int) - rgb).mean())
    assert sizes == sorted(sizes)
    assert errors[-1] <= errors[0]
    assert errors[-1] < 16**2


@pytest.mark.parametrize("name", list(FORMATS))
def test_a_picture_smaller_than_the_reduction_is_coded(name: str) -> None:
    usable(name)
    rgb = np.full((1, 2, 3), 200, dtype=np.uint8)
    codec = Anchor(FORMATS[name], 4)
    decoded = codec.decode(codec.encode(rgb, codec.settings[-1]), 2, 1)
    assert np.abs(decoded.astype(int) - 200).max() < 8


def test_a_larger_scale_takes_the_settings_of_the_largest_known() -> None:
    assert Anchor(FORMATS["webp"], 7).settings == FORMATS["webp"].settings[4]
    with pytest.raises(ValueError, match="at least 1"):
        Anchor(FORMATS["webp"], 0)


def test_all_formats_at_all_scales() -> None:
    usable("avif")
    names = [codec.name for codec in anchors(["webp", "avif"], (1, 3))]
    assert names == ["webp", "webp/3", "avif", "avif/3"]
    assert anchors([]) == []


def test_a_format_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FORMATS, "avif", replace(FORMATS["avif"], missing=lambda: "a Pillow that knows AVIF"))
    with pytest.raises(AnchorError, match=r"avif needs a Pillow that knows AVIF; or leave avif out"):
        anchors(["webp", "avif"])


def test_jpeg_xl_needs_imagecodecs_with_libjxl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    with pytest.raises(AnchorError, match=r"pip install 'vqcodec\[bench\]'"):
        anchors(["jxl"])
    without = SimpleNamespace(JPEGXL=SimpleNamespace(available=False))
    monkeypatch.setitem(sys.modules, "imagecodecs", without)
    with pytest.raises(AnchorError, match="built with libjxl"):
        anchors(["jxl"])


def test_pillow_without_a_format_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.features, "check", lambda feature: feature != "webp")
    with pytest.raises(AnchorError, match="webp needs a Pillow that was built with webp"):
        anchors(["webp"])
