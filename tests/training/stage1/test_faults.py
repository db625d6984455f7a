"""Figures of visible faults."""

from __future__ import annotations

import pytest
import torch

from vqcodec.models.building import build_autoencoder
from vqcodec.models.config import AutoencoderConfig, CompactConfig, QuantizerConfig
from vqcodec.training.stage1.faults import FLAT_COLOURS, chroma_error, flat_error


def test_chroma_errors_are_of_colour_alone() -> None:
    torch.manual_seed(0)
    picture = torch.rand(2, 3, 32, 32) / 2
    gray = picture + 0.2
    assert float(chroma_error(gray, picture).max()) < 0.05
    redder = picture.clone()
    redder[1, 0] += 0.2
    errors = chroma_error(redder, picture)
    assert float(errors[0]) == 0
    assert float(errors[1]) == pytest.approx(255 * 0.2 * (0.1687 + 0.5) / 2, rel=1e-3)


def test_flat_errors_are_of_the_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    network = build_autoencoder(AutoencoderConfig(CompactConfig(), QuantizerConfig((4, 4), 4))).eval()
    seen: list[torch.Tensor] = []
    monkeypatch.setattr(network, "tokenize", lambda pictures, levels: seen.append(pictures) or [])

    def decoded(tokens: object) -> torch.Tensor:
        made = seen[-1].clone()
        made[0, 1] += 0.2  # red with some green
        made[1, :, :20] = 0  # a frame, which counts nothing
        made[3] += 5  # beyond white
        return made

    monkeypatch.setattr(network, "detokenize", decoded)
    assert flat_error(network, 2).tolist() == pytest.approx([255 * 0.1, 0, 0, 255], abs=1e-3)
    torch.testing.assert_close(seen[0][:, :, 5, 7], 2 * torch.tensor(FLAT_COLOURS) - 1)
