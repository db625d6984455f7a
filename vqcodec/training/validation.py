"""What held-out pictures look like, during training: figures and a contact sheet."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vqcodec.image import scale_pixels, to_unit_range
from vqcodec.models.autoencoder import VQAutoencoder
from vqcodec.perceptual import LPIPS
from vqcodec.training.data import DataError, PictureSet, Pixels


class Validation:
    """PSNR (dB) and LPIPS on central crops of held-out pictures, by level count, appended to OUT/validation.jsonl.

    OUT/previews/STEP.png shows a row a picture: the original, then the reconstructions by 1..L levels.
    """

    def __init__(
        self, pictures: PictureSet, out: Path, lpips: LPIPS, *, crop_size: int = 192, at_most: int = 24, shown: int = 6
    ) -> None:
        crops = [_central_crop(pictures[index], crop_size) for index in range(min(at_most, len(pictures)))]
        same_size = [crop for crop in crops if crop.shape[:2] == (crop_size, crop_size)]
        if not same_size:
            raise DataError(f"no validation picture has both sides of {crop_size} pixels or more")
        self.images = scale_pixels(torch.from_numpy(np.stack(same_size)))
        self.out, self.lpips, self.shown = out, lpips, shown

    @torch.no_grad()
    def run(self, model: VQAutoencoder, step: int) -> dict[str, float]:
        """Measure `model`, write the line and the picture, return the line."""
        device = model.level_embedding.device
        real = to_unit_range(self.images)
        values: dict[str, float] = {"step": step}
        columns = [real[: self.shown]]
        for levels in range(1, model.config.levels + 1):
            made = torch.cat([_reconstruct(model, part.to(device), levels).cpu() for part in self.images.split(8)])
            errors = (made - real).square().mean(dim=(1, 2, 3))
            values[f"psnr_db_{levels}"] = float((-10 * errors.log10()).mean())
            distance = torch.cat(
                [self.lpips(a.to(device), b.to(device)) for a, b in zip(made.split(8), real.split(8), strict=True)]
            )
            values[f"lpips_{levels}"] = float(distance.mean())
            columns.append(made[: self.shown])
        self.out.mkdir(parents=True, exist_ok=True)
        with (self.out / "validation.jsonl").open("a") as log:
            log.write(json.dumps(values) + "\n")
        _save_sheet(columns, self.out / "previews" / f"{step:08d}.png")
        return values


def _reconstruct(model: VQAutoencoder, images: Tensor, levels: int) -> Tensor:
    return to_unit_range(model.detokenize(model.tokenize(images, levels))).clamp(0, 1)


def _central_crop(pixels: Pixels, size: int) -> Pixels:
    height, width = pixels.shape[:2]
    top, left = max(0, (height - size) // 2), max(0, (width - size) // 2)
    return pixels[top : top + size, left : left + size]


def _save_sheet(columns: list[Tensor], path: Path) -> None:
    sheet = torch.cat([torch.cat(list(column), dim=1) for column in columns], dim=2)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((sheet.permute(1, 2, 0) * 255).round().byte().numpy()).save(path)
