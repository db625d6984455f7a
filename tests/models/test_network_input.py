"""What the Encoder takes: pictures as ever, or one-hot maps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vqcodec.benchmarks.speed.stages import synthetic_picture
from vqcodec.models.config import AutoencoderConfig
from vqcodec.models.network_input import ONE_HOT, in_colour, maps_input, network_input, one_hot, picture_input
from vqcodec.models.taming_config import TamingConfig
from vqcodec.pictures.image import ImageError, padded, to_tensor
from vqcodec.pictures.label_maps import LABEL_MAPS

PICTURES = np.stack([synthetic_picture(32, 16, seed=seed) for seed in range(2)])


def test_one_hot_maps_by_hand() -> None:
    maps = one_hot(torch.tensor([[[0, 2], [1, 1]]], dtype=torch.uint8), 3)
    assert maps.dtype == torch.float32
    wanted = [[[1, 0], [0, 0]], [[0, 0], [1, 1]], [[0, 1], [0, 0]]]
    assert maps.tolist() == [[[[ONE_HOT * value for value in row] for row in plane] for plane in wanted]]


@pytest.mark.parametrize("name", LABEL_MAPS)
def test_the_maps_of_pictures(name: str) -> None:
    config = AutoencoderConfig(label_map=name)
    made = network_input(config, PICTURES)
    labels = LABEL_MAPS[name].of_each(PICTURES)
    assert made.shape == (2, LABEL_MAPS[name].classes, 16, 32) == (2, config.channels, 16, 32)
    assert np.array_equal(made.argmax(dim=1).numpy(), labels)
    assert torch.equal(made, maps_input(config, labels))


def test_pictures_are_as_before_there_were_maps() -> None:
    made = network_input(AutoencoderConfig(), PICTURES)
    for number, rgb in enumerate(PICTURES):
        assert torch.equal(made[number : number + 1], to_tensor(rgb, 16))


def test_a_model_of_one_channel_takes_the_luma_and_gives_gray() -> None:
    config = AutoencoderConfig(
        TamingConfig(channel_multipliers=(1, 1, 1), attention_resolutions=(), picture_channels=1)
    )
    made = network_input(config, PICTURES)
    luma = (PICTURES / 127.5 - 1) @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(made[:, 0].numpy(), luma, rtol=0, atol=1e-6)
    assert made.shape == (2, 1, 16, 32)
    odd = PICTURES[0, :15, :30]
    assert torch.equal(picture_input(config, odd), network_input(config, padded(odd, 4)[None]))
    assert torch.equal(in_colour(made), torch.cat([made, made, made], dim=1))
    assert in_colour(images := to_tensor(odd, 1)) is images


def test_pictures_that_lie_in_memory_in_another_order() -> None:
    turned = PICTURES[:, ::-1].transpose(0, 2, 1, 3)
    assert torch.equal(
        network_input(AutoencoderConfig(), turned), network_input(AutoencoderConfig(), np.ascontiguousarray(turned))
    )


def test_pictures_that_must_not_be_written_to() -> None:
    """As Pillow gives them: torch warns of such."""
    fixed = PICTURES.copy()
    fixed.flags.writeable = False
    for name in ("", *LABEL_MAPS):
        config = AutoencoderConfig(label_map=name)
        assert torch.equal(network_input(config, fixed), network_input(config, PICTURES))


# ---- padding ----


@pytest.mark.parametrize("size", [(1, 1), (7, 33), (16, 32), (17, 5)])
def test_pictures_of_a_batch_are_padded_like_each_alone(size: tuple[int, int]) -> None:
    pictures = np.stack([synthetic_picture(*size, seed=seed) for seed in range(2)])
    made = padded(pictures, 8)
    assert made.shape == (2, -(-size[1] // 8) * 8, -(-size[0] // 8) * 8, 3)
    for whole, rgb in zip(made, pictures, strict=True):
        assert np.array_equal(whole, padded(rgb, 8))
        assert np.array_equal(whole[: size[1], : size[0]], rgb)


def test_the_padding_is_a_reflection_or_the_edge() -> None:
    row = np.repeat(np.arange(6, dtype=np.uint8)[None, :, None], 3, axis=2)
    made = padded(row, 4)
    assert made.shape == (4, 8, 3)
    assert (made[:, :, 0] == [0, 1, 2, 3, 4, 5, 4, 3]).all()


def test_what_cannot_be_padded() -> None:
    with pytest.raises(ImageError, match="sizes must be at least 1"):
        padded(np.zeros((2, 0, 4, 3), np.uint8), 8)
    with pytest.raises(ImageError, match="multiple 0"):
        padded(PICTURES, 0)
