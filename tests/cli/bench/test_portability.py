from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_helpers import vqcodec

from vqcodec.native import library


def test_without_the_core_in_c_pixels_are_not_compared(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VQCODEC_CORE", "torch")
    library._loaded.cache_clear()
    out = tmp_path / "found.json"
    words = ("--model", tiny_model, "--streams", 0, "--pictures", 1, "--out", out)
    result = vqcodec("bench", "portability", *words)
    library._loaded.cache_clear()
    assert result.exit_code == 0, result.output
    assert result.stdout == "pixels: not compared, for there is no core in C here, which is what makes them the same\n"
    assert "pixels" not in json.loads(out.read_text())
