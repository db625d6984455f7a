"""What becomes of held-out label maps, during training."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from vqcodec.models.autoencoder import Autoencoder
from vqcodec.models.config import AutoencoderConfig
from vqcodec.models.network_input import network_input
from vqcodec.pictures.arrays import Pixels
from vqcodec.pictures.label_maps import LABEL_MAPS
from vqcodec.training.data.types import Pictures
from vqcodec.training.stage1.validation import Validation


class MapValidation(Validation):
    """accuracy_L, the share of pixels whose class comes back right (0..1) by level count, and sheets as Validation's.

    config: of the model. crop_size: side in pixels. Raises DataError when no picture is large enough.
    """

    def __init__(self, pictures: Pictures, out: Path, config: AutoencoderConfig, *, crop_size: int) -> None:
        self._config = config
        super().__init__(pictures, out, crop_size=crop_size)

    def _prepare(self, crops: Pixels) -> Tensor:
        return network_input(self._config, crops)

    def _measure(self, model: Autoencoder, images: Tensor, figures: dict[str, list[Tensor]]) -> list[Tensor]:
        images = images.to(next(model.parameters()).device)
        labels = images.argmax(dim=1)
        columns = [self._render(labels)]
        for levels in range(1, model.config.levels + 1):
            made = model.detokenize(model.tokenize(images, levels)).argmax(dim=1)
            figures[f"accuracy_{levels}"].append((made == labels).float().mean(dim=(1, 2)))
            columns.append(self._render(made))
        return columns

    def _of_model(self, model: Autoencoder) -> dict[str, float]:
        return {}

    def _render(self, labels: Tensor) -> Tensor:
        colours = LABEL_MAPS[self._config.label_map].render(labels.byte().cpu().numpy())
        return torch.from_numpy(colours).permute(0, 3, 1, 2) / 255
