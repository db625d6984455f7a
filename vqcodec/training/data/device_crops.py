"""Batches of crops cut on the device that trains: a GPU takes them faster than the threads of its host can make them.

All pictures lie decoded in the memory of the device. Batches depend on (seed, step) alone, and are those of
`vqcodec.training.data.crops`, but for how a resized pixel is rounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import torch
import torch.nn.functional as F
from torch import Tensor

from vqcodec.training.data.crops import CropConfig, chosen_pictures, draw_crop
from vqcodec.training.data.types import DataError, Pictures

#: threads that decode the pictures
_THREADS = 16


class DeviceCrops:
    """Batch number `step`: (B, 3, size, size) float32 in [-1, 1] on the device, channels last.

    pictures: all of them are decoded and copied at once. The other arguments are those of `CropBatches`. Raises
    DataError for crops that are padded, and for pictures that cannot be read.
    """

    def __init__(
        self,
        pictures: Pictures,
        *,
        batch_size: int,
        crop: CropConfig | Callable[[int], CropConfig],
        seed: int,
        device: torch.device,
        share: slice = slice(None),
    ) -> None:
        if device.type == "cuda" and device.index is None:  # which CUDA device is current is a matter of the thread
            device = torch.device("cuda", torch.cuda.current_device())
        self.pictures, self.batch_size, self.seed, self.share, self.device = pictures, batch_size, seed, share, device
        self._crop_at: Callable[[int], CropConfig] = crop if callable(crop) else lambda step: crop
        if self._crop_at(0).pad:
            raise DataError("padded crops are cut by the host: leave --device-crops out")
        with ThreadPoolExecutor(_THREADS) as threads:
            self._pictures = list(threads.map(self._load, range(len(pictures))))

    def _load(self, index: int) -> Tensor:
        """(3, H, W) uint8."""
        return torch.from_numpy(self.pictures[index].copy()).to(self.device).permute(2, 0, 1)

    def __call__(self, step: int) -> Tensor:
        config = self._crop_at(step)
        chosen = chosen_pictures(len(self._pictures), self.batch_size, self.seed, step, self.share)
        batch = torch.empty((len(chosen), 3, config.size, config.size), device=self.device)
        for target, (index, rng) in zip(batch, chosen, strict=True):
            picture = self._pictures[index]
            top, left, side, mirrored = draw_crop(picture.shape[1], picture.shape[2], config, rng)
            crop = picture[None, :, top : top + side, left : left + side].float()
            if side != config.size:
                crop = F.interpolate(crop, size=(config.size, config.size), mode="bicubic", antialias=True)
            target.copy_(crop[0].flip(2) if mirrored else crop[0])
        scaled = batch.clamp_(0, 255).round_() / 127.5 - 1
        return scaled.contiguous(memory_format=torch.channels_last)

    def ahead(self, first: int, last: int) -> Iterator[tuple[int, Tensor]]:
        """(step, batch) for the steps first..last-1."""
        for step in range(first, last):
            yield step, self(step)
