"""Crops that are cut on the device that trains."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vqcodec.training.data.crops import CropBatches, CropConfig
from vqcodec.training.data.device_crops import DeviceCrops
from vqcodec.training.data.pictures import ArrayPictures
from vqcodec.training.data.types import DataError

CPU = torch.device("cpu")


@pytest.fixture
def pictures() -> ArrayPictures:
    rows, cols = np.mgrid[:70, :90]
    waves = [np.sin(rows / (3 + n)) * 60 + np.cos(cols / (5 + n)) * 60 + 128 for n in range(5)]
    return ArrayPictures(np.stack([np.stack([wave, wave / 2, 255 - wave], 2) for wave in waves]).astype(np.uint8))


@pytest.mark.parametrize(
    "config", [CropConfig(32, resized=0.0), CropConfig(24, resized=1.0), CropConfig(20, flip=False)]
)
def test_they_are_those_of_the_host_but_for_rounding(pictures: ArrayPictures, config: CropConfig) -> None:
    host = CropBatches(pictures, batch_size=6, crop=config, seed=3, workers=1)
    device = DeviceCrops(pictures, batch_size=6, crop=config, seed=3, device=CPU)
    for step, batch in device.ahead(4, 7):
        expected = torch.from_numpy(host(step).copy()).permute(0, 3, 1, 2) / 127.5 - 1
        assert batch.shape == (6, 3, config.size, config.size)
        assert batch.is_contiguous(memory_format=torch.channels_last)
        exact = 0 if not config.resized else 1.01 / 127.5
        torch.testing.assert_close(batch, expected, atol=exact + 1e-6, rtol=0)
        assert float((batch != expected).float().mean()) < (0.25 if config.resized else 1e-9)


def test_several_processes_share_a_batch(pictures: ArrayPictures) -> None:
    settings = {"batch_size": 5, "crop": lambda step: CropConfig(16 if step < 2 else 32), "seed": 1, "device": CPU}
    whole = DeviceCrops(pictures, **settings)
    parts = [DeviceCrops(pictures, share=slice(rank, None, 2), **settings) for rank in range(2)]
    for step in (1, 2):
        batch = whole(step)
        assert torch.equal(parts[0](step), batch[0::2])
        assert torch.equal(parts[1](step), batch[1::2])


def test_padded_crops_are_refused(pictures: ArrayPictures) -> None:
    with pytest.raises(DataError, match="padded crops are cut by the host"):
        DeviceCrops(pictures, batch_size=1, crop=CropConfig(16, pad=True), seed=0, device=CPU)
