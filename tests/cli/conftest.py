"""What the tests of the commands share."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_helpers import make_picture, make_stream


@pytest.fixture
def installed(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny model is one of those that are found by name and id."""
    monkeypatch.setenv("VQCODEC_MODELS", str(tiny_model.parent))


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    return make_picture(tmp_path / "photo.png")


@pytest.fixture
def stream(tmp_path: Path, tiny_model: Path) -> Path:
    return make_stream(tmp_path / "photo.vq", tiny_model)
