"""What held-out pictures look like, during training: figures and a sheet of pictures."""

from __future__ import annotations

import logging
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vqcodec.models.autoencoder import Autoencoder
from vqcodec.models.config import AutoencoderConfig
from vqcodec.perceptual.networks import DISTS, LPIPS, MissingWeightsError
from vqcodec.pictures.arrays import Pixels
from vqcodec.pictures.image import scale_pixels, to_unit_range
from vqcodec.training.common.json_lines import append_line
from vqcodec.training.data.types import DataError, Pictures
from vqcodec.training.stage1.faults import chroma_error, flat_error
from vqcodec.training.stage1.losses import JUMP_SIDE, border_jump, repetition
from vqcodec.training.stage1.preview import make_sheet
from vqcodec.whole_files import replacing

DEFAULT_CROP_SIZE = 192
#: side in pixels: smaller pictures leave nothing for AlexNet's last pooling
SMALLEST_LPIPS_CROP = 31
#: pictures that are measured at a time
_BATCH_SIZE = 8
#: mean squared error of the highest PSNR that is shown, 100 dB: a picture without any error has no finite one
_SMALLEST_ERROR = 1e-10

_log = logging.getLogger(__name__)


def suitable_crop_size(config: AutoencoderConfig) -> int:
    """The side in pixels next to 192, not above unless one token is wider, that gives whole tokens at every level."""
    factor = max(config.level_factors)
    return max(1, DEFAULT_CROP_SIZE // factor) * factor


@dataclass(frozen=True)
class ValidationResult:
    """step: how many steps were done. values: by measure and level count, as psnr_db_1. sheet: (H, W, 3) uint8."""

    step: int
    values: dict[str, float]
    sheet: Pixels


class Validation:
    """PSNR (dB), LPIPS, DISTS and visible faults on central crops of held-out pictures, by level count.

    Each run appends a line to OUT/validation.jsonl and writes OUT/previews/STEP.png: a row a picture, the original,
    then the reconstructions by 1..L levels. Without `lpips` or `dists` that measure is left out.

    crop_size: side in pixels, see `suitable_crop_size`. Smaller pictures are left out, which the log says; with `pad`
    their edges are repeated instead, as in training. at_most: pictures that are looked at; shown: of these, the rows of
    the sheet. training: pictures that are trained on, whose figures stand beside the others', as training_psnr_db_1.
    Raises DataError when no picture is large enough, or the crops are too small for LPIPS.
    """

    def __init__(
        self,
        pictures: Pictures,
        out: Path,
        lpips: LPIPS | None = None,
        *,
        dists: DISTS | None = None,
        crop_size: int = DEFAULT_CROP_SIZE,
        pad: bool = False,
        at_most: int = 24,
        shown: int = 6,
        training: Pictures | None = None,
    ) -> None:
        if lpips is not None and crop_size < SMALLEST_LPIPS_CROP:
            raise DataError(f"validation crops of {crop_size} pixels: LPIPS takes {SMALLEST_LPIPS_CROP} or more")
        self.images = self._prepare(np.stack(_central_crops(pictures, crop_size, at_most, pad)))
        self.training_images: Tensor | None = None
        if training is not None:
            try:
                self.training_images = self._prepare(np.stack(_central_crops(training, crop_size, at_most, pad)))
            except DataError:
                _log.warning("no training picture has both sides of %d pixels: their figures are left out", crop_size)
        self.out, self.shown = out, shown
        self.distances = {name: net for name, net in (("lpips", lpips), ("dists", dists)) if net is not None}

    @staticmethod
    def load(
        pictures: Pictures,
        out: Path,
        perceptual_weights: Path | None,
        device: torch.device,
        *,
        crop_size: int = DEFAULT_CROP_SIZE,
        pad: bool = False,
        training: Pictures | None = None,
    ) -> Validation:
        """With the measures whose weights are in the folder: LPIPS and, where it is there, DISTS; none without one.

        Raises PerceptualWeightsError for LPIPS's weights, and what Validation itself raises.
        """
        if perceptual_weights is None:
            return Validation(pictures, out, crop_size=crop_size, pad=pad, training=training)
        lpips, dists = LPIPS(perceptual_weights).to(device), _load_dists(perceptual_weights)
        dists = dists.to(device) if dists else None
        return Validation(pictures, out, lpips, dists=dists, crop_size=crop_size, pad=pad, training=training)

    @torch.no_grad()
    def run(self, model: Autoencoder, step: int) -> ValidationResult:
        """Measure `model`, write the line and the sheet. Raises DataError when the crops do not suit the model."""
        factor, side = max(model.config.level_factors), self.images.shape[-1]
        if side % factor:
            raise DataError(f"validation crops of {side} pixels: not a multiple of {factor}")
        figures: dict[str, list[Tensor]] = defaultdict(list)
        columns: list[list[Tensor]] = [[] for _ in range(1 + model.config.levels)]
        for images in self.images.split(_BATCH_SIZE):
            made = self._measure(model, images, figures)
            for column, pictures in zip(columns, made, strict=True):
                column.append(pictures)
        values = {name: float(torch.cat(parts).mean()) for name, parts in figures.items()}
        values |= self._of_model(model) | self._of_training(model)
        headings = ["original", *(f"{levels} level{'s' * (levels > 1)}" for levels in range(1, len(columns)))]
        sheet = make_sheet([torch.cat(column)[: self.shown] for column in columns], headings)
        self._write(step, values, sheet)
        return ValidationResult(step, values, sheet)

    def _of_model(self, model: Autoencoder) -> dict[str, float]:
        """Figures that no picture is needed for: of flat saturated colours, by level count."""
        counts = range(1, 1 + model.config.levels)
        return {f"flat_error_{levels}": float(flat_error(model, levels).mean()) for levels in counts}

    def _of_training(self, model: Autoencoder) -> dict[str, float]:
        """The figures of the training pictures: where these get better and the others do not, the model over-fits."""
        figures: dict[str, list[Tensor]] = defaultdict(list)
        for images in self.training_images.split(_BATCH_SIZE) if self.training_images is not None else ():
            self._measure(model, images, figures)
        return {f"training_{name}": float(torch.cat(parts).mean()) for name, parts in figures.items()}

    def _prepare(self, crops: Pixels) -> Tensor:
        """What the Encoder takes of crops (B, H, W, 3)."""
        return scale_pixels(torch.from_numpy(crops))

    def _measure(self, model: Autoencoder, images: Tensor, figures: dict[str, list[Tensor]]) -> list[Tensor]:
        """Add the figures of each picture. Returns what is shown, (B, 3, H, W) in [0, 1].

        These are the pictures, then their reconstructions by 1..L levels.
        """
        images = images.to(next(model.parameters()).device)
        real = to_unit_range(images)
        described = {name: network.describe(real) for name, network in self.distances.items()}
        columns = [real.cpu()]
        for levels in range(1, model.config.levels + 1):
            made = to_unit_range(model.detokenize(model.tokenize(images, levels))).clamp(0, 1)
            errors = (made - real).square().mean(dim=(1, 2, 3)).clamp_min(_SMALLEST_ERROR)
            figures[f"psnr_db_{levels}"].append(-10 * errors.log10())
            figures[f"chroma_error_{levels}"].append(chroma_error(made, real))
            figures[f"border_jump_{levels}"].append(border_jump(made))
            figures[f"repetition_{levels}"].append(repetition(made, JUMP_SIDE) - repetition(real, JUMP_SIDE))
            for name, network in self.distances.items():
                figures[f"{name}_{levels}"].append(network.distance(network.describe(made), described[name]))
            columns.append(made.cpu())
        return columns

    def _write(self, step: int, values: dict[str, float], sheet: Pixels) -> None:
        previews = self.out / "previews"
        previews.mkdir(parents=True, exist_ok=True)
        append_line(self.out / "validation.jsonl", step, values)
        with replacing(previews / f"{step:08d}.png") as preview:
            Image.fromarray(sheet).save(preview, "PNG")


def _load_dists(folder: Path) -> DISTS | None:
    try:
        return DISTS(folder)
    except MissingWeightsError as error:
        _log.warning("validation without DISTS: %s", error)
        return None


def _central_crops(pictures: Pictures, size: int, at_most: int, pad: bool) -> list[Pixels]:
    """(size, size, 3) of up to `at_most` pictures. Raises DataError when none is large enough."""
    looked_at = [pictures[index] for index in spread(len(pictures), at_most)]
    crops = [_central_crop(picture, size) for picture in looked_at if pad or min(picture.shape[:2]) >= size]
    if not crops:
        raise DataError(f"no validation picture has both sides of {size} pixels or more")
    if left_out := len(looked_at) - len(crops):
        _log.warning("%d of %d validation pictures left out: a side under %d pixels", left_out, len(looked_at), size)
    return crops


def spread(size: int, at_most: int) -> list[int]:
    """Up to `at_most` of 0..size-1, evenly apart: pictures lie in folders, often of one class each."""
    count = min(size, at_most)
    return [index * size // count for index in range(count)]


def _central_crop(pixels: Pixels, size: int) -> Pixels:
    """(size, size, 3); where a side is shorter, its edges are repeated."""
    missing = [max(0, size - length) for length in pixels.shape[:2]]
    if any(missing):
        pixels = np.pad(pixels, [*((more // 2, more - more // 2) for more in missing), (0, 0)], mode="edge")
    height, width = pixels.shape[:2]
    top, left = (height - size) // 2, (width - size) // 2
    return pixels[top : top + size, left : left + size]
