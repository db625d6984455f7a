"""What computes a model: the core wherever it can, so that nothing depends on what else a machine has."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from cli_helpers import make_picture, vqcodec

from vqcodec.codec import Codec
from vqcodec.compute import choice, devices
from vqcodec.native.library import core


@pytest.fixture(autouse=True)
def _installed(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VQCODEC_MODELS", str(tiny_model.parent))


needs_core = pytest.mark.skipif(core() is None, reason="the core in C is not there")


@needs_core
def test_a_gpu_that_is_there_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "_may_have_gpu", lambda: True)
    monkeypatch.setattr(devices, "choose_device", lambda name="auto": torch.device("cuda"))
    codec = Codec.load("tiny")
    assert (codec.arithmetic, codec.is_exact, codec.place) == ("native", True, "cpu")
    assert codec.device.type == "cuda"  # for gradients and activations


def test_without_the_core_torch_computes_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VQCODEC_CORE", "torch")
    monkeypatch.setattr(devices, "cpu_multiplies_bfloat16", lambda: True)
    codec = Codec.load("tiny", device="cpu")
    assert (codec.arithmetic, codec.is_exact, codec.place) == ("float32", False, "cpu")


def test_decoding_tells_once_that_pixels_may_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "ab":
        make_picture(tmp_path / "in" / f"{name}.png", 48, 33)
    assert vqcodec("encode", tmp_path / "in", "-o", tmp_path / "vq", "--model", "tiny").exit_code == 0
    monkeypatch.setenv("VQCODEC_CORE", "torch")
    decoded = vqcodec("decode", tmp_path / "vq", "-o", tmp_path / "out", "--json", "--device", "cpu")
    assert [json.loads(line)["arithmetic"] for line in decoded.stdout.splitlines()] == ["float32", "float32"]
    [line] = decoded.stderr.splitlines()
    assert line.startswith("warning: tiny: decoded by torch in float32 on cpu: samples may differ")


@needs_core
def test_decoding_by_the_core_tells_nothing(tmp_path: Path) -> None:
    source, stream = make_picture(tmp_path / "a.png", 48, 33), tmp_path / "a.vq"
    assert vqcodec("encode", source, stream, "--model", "tiny").exit_code == 0
    decoded = vqcodec("decode", stream, tmp_path / "b.png", "--json")
    assert (json.loads(decoded.stdout)["arithmetic"], decoded.stderr) == ("native", "")
