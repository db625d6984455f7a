"""How well a prior predicts the tokens of held-out pictures, during training."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vqcodec.codec import Codec
from vqcodec.models.network_input import network_input
from vqcodec.pictures.image import padded
from vqcodec.prior.conditions import NO_CONDITIONS, Conditions
from vqcodec.prior.transformer import Prior
from vqcodec.training.common.json_lines import append_line
from vqcodec.training.data.crops import UNLABELLED
from vqcodec.training.data.types import DataError, Pictures
from vqcodec.training.stage1.validation import spread
from vqcodec.training.stage2.crop_tokens import ConditionMaker, known_labels

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PriorValidationResult:
    """step: how many steps were done. values: by name, see `PriorValidation`."""

    step: int
    values: dict[str, float]


class PriorValidation:
    """Bits per token by level (bits_1 ...), on central crops of held-out pictures, and the share saved.

    saved_1 ... is the share under log2 K, 0..1; bpp_1 ... the bits per pixel of the levels up to this one. Each run
    appends a line to OUT/validation.jsonl. crop_size: side in pixels; smaller pictures are left out, which the log
    says. classes: names of the classes by the prior's label; pictures of other classes count as unlabelled. Raises
    DataError when no picture is large enough.
    """

    def __init__(
        self,
        pictures: Pictures,
        codec: Codec,
        out: Path,
        *,
        levels: int,
        crop_size: int,
        classes: Sequence[str] = (),
        condition: ConditionMaker | None = None,
        at_most: int = 64,
    ) -> None:
        crops, labels = [], []
        label_of = {name: label for label, name in enumerate(classes)}
        for index in spread(len(pictures), at_most):
            pixels, label = pictures.item(index)
            height, width = pixels.shape[:2]
            if min(height, width) >= crop_size:
                top, left = (height - crop_size) // 2, (width - crop_size) // 2
                crops.append(np.ascontiguousarray(pixels[top : top + crop_size, left : left + crop_size]))
                labels.append(UNLABELLED if label is None else label_of.get(pictures.classes[label], UNLABELLED))
        if not crops:
            raise DataError(f"no validation picture has both sides of {crop_size} pixels or more")
        if left_out := min(at_most, len(pictures)) - len(crops):
            _log.warning("%d validation pictures left out: a side under %d pixels", left_out, crop_size)
        stacked, config = np.stack(crops), codec.card.autoencoder
        self.out, self.pixels_per_crop = out, crop_size**2
        self.tokens = codec.tokenize(network_input(config, padded(stacked, config.downsampling_factor)), levels=levels)
        self.labels = torch.tensor(labels)
        self.condition = condition(stacked) if condition else None

    def run(self, model: Prior, step: int) -> PriorValidationResult:
        """Measure `model` and write the line."""
        values = prior_figures(model, self.tokens, self.pixels_per_crop, self._conditions(model))
        self.out.mkdir(parents=True, exist_ok=True)
        append_line(self.out / "validation.jsonl", step, values)
        return PriorValidationResult(step, values)

    def _conditions(self, model: Prior) -> Conditions:
        classes = model.config.classes
        if not classes and self.condition is None:
            return NO_CONDITIONS
        return Conditions(labels=known_labels(self.labels, classes) if classes else None, grid=self.condition)


def prior_figures(
    model: Prior, tokens: Sequence[Tensor], pixels: int, conditions: Conditions = NO_CONDITIONS, batch_size: int = 8
) -> dict[str, float]:
    """bits_L, saved_L and bpp_L, see `PriorValidation`, of tokens (B, h, w) for each level, `pixels` a picture."""
    values: dict[str, float] = {}
    total, device = 0.0, model.levels.weight.device
    for level, grid in enumerate(tokens):
        bits = torch.cat(
            [
                model.bits([each[part].to(device) for each in tokens], level, _some(conditions, part, device)).cpu()
                for part in torch.arange(len(grid)).split(batch_size)
            ]
        )
        mean = float(bits.mean())
        total += mean * grid[0].numel()
        values[f"bits_{level + 1}"] = mean
        values[f"saved_{level + 1}"] = 1 - mean / math.log2(model.config.codebook_sizes[level])
        values[f"bpp_{level + 1}"] = total / pixels
    return values


def _some(conditions: Conditions, part: Tensor, device: torch.device) -> Conditions:
    labels = None if conditions.labels is None else conditions.labels[part].to(device)
    return Conditions(labels, None if conditions.grid is None else conditions.grid[part].to(device))
