"""Fixtures for the tests of the training: a few pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of four generated pictures, 96 x 80."""
    folder = tmp_path_factory.mktemp("pictures")
    y, x = np.mgrid[:80, :96]
    for number in range(4):
        waves = [np.sin(x / (5 + number + k)) + np.cos(y / (9 - number + k) + k) for k in range(3)]
        Image.fromarray((128 + 60 * np.stack(waves, axis=2)).clip(0, 255).astype(np.uint8)).save(
            folder / f"{number}.png"
        )
    return folder
