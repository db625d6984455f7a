"""Fixtures for the tests of the training: a few pictures, and small perceptual networks."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

_REFERENCE = Path(__file__).parents[1] / "benchmarks" / "perceptual_reference.py"


@pytest.fixture(scope="session")
def perceptual_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with random weights for LPIPS and DISTS, with few channels."""
    folder = tmp_path_factory.mktemp("perceptual")
    runpy.run_path(str(_REFERENCE))["write_weights"](folder)
    return folder


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
