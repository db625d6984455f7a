"""What a prior is told of a picture: what it shows, its tokens, and which models can make them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from vqcodec.benchmarks.speed.stages import synthetic_picture
from vqcodec.cards.engines import load_network
from vqcodec.cards.errors import ModelError
from vqcodec.cards.model_card import ModelFolder, load_model_folder
from vqcodec.codec import Codec
from vqcodec.generation.conditions import CONDITIONS, LOW_RESOLUTIONS, Condition, enlarged, like_when_shrunk
from vqcodec.models.config import AutoencoderConfig, CompactConfig, QuantizerConfig
from vqcodec.models.network_input import one_hot
from vqcodec.pictures.image import padded, to_tensor
from vqcodec.pictures.label_maps import LABEL_MAPS
from vqcodec.prior.config import ConditionConfig

PHOTOS = np.stack([synthetic_picture(64, 48, seed=seed) for seed in range(2)])


@pytest.fixture(scope="module")
def codec(tiny_model: Path) -> Codec:
    return Codec.load(tiny_model, device="cpu", dtype=torch.float32)


@pytest.fixture(scope="module")
def edges(edges_model: Path) -> Codec:
    return Codec.load(edges_model, device="cpu", dtype=torch.float32)


def with_quantizer(codec: Codec, quantizer: QuantizerConfig, networks: CompactConfig | None = None) -> Codec:
    """Another model, with random weights."""
    config = AutoencoderConfig(networks or codec.card.autoencoder.networks, quantizer)
    card = dataclasses.replace(codec.card, autoencoder=config, static_frequencies=())
    torch.manual_seed(0)
    return Codec.of_network(ModelFolder(codec.model.path, card), type(codec.network)(config), codec.device, codec.dtype)


def blocks(pictures: np.ndarray, factor: int) -> np.ndarray:
    """The mean of each block of pixels, not rounded."""
    count, height, width, _ = pictures.shape
    fields = pictures.reshape(count, height // factor, factor, width // factor, factor, 3)
    return np.asarray(fields.mean(axis=(2, 4)))


# ---- what it shows ----


@pytest.mark.parametrize("kind", LABEL_MAPS)
def test_a_label_map_is_shown_in_its_colours(kind: str, codec: Codec) -> None:
    shown = Condition(kind, codec).shown(PHOTOS)
    assert np.array_equal(shown, LABEL_MAPS[kind].render(LABEL_MAPS[kind].of_each(PHOTOS)))


@pytest.mark.parametrize("kind", LOW_RESOLUTIONS)
def test_low_resolution_is_shown_as_large_as_before(kind: str, codec: Codec) -> None:
    factor = LOW_RESOLUTIONS[kind]
    shown = Condition(kind, codec).shown(PHOTOS)
    assert (shown.shape, shown.dtype) == (PHOTOS.shape, np.uint8)
    wanted = enlarged(np.rint(blocks(PHOTOS, factor)).astype(np.uint8), factor)
    assert np.abs(shown.astype(int) - wanted).max() <= 2  # means may be rounded either way
    assert np.abs(blocks(shown, factor) - blocks(PHOTOS, factor)).mean() < 4
    assert not np.array_equal(shown, PHOTOS)


@pytest.mark.parametrize("kind", CONDITIONS)
@pytest.mark.parametrize("size", [(1, 1), (13, 2), (30, 21)])
def test_pictures_of_any_size_can_be_shown(kind: str, size: tuple[int, int], codec: Codec) -> None:
    assert Condition(kind, codec).shown(synthetic_picture(*size)[None]).shape == (1, size[1], size[0], 3)


# ---- tokens ----


@pytest.mark.parametrize("kind", CONDITIONS)
def test_the_tokens_are_those_of_what_it_shows(kind: str, codec: Codec) -> None:
    condition = Condition(kind, codec)
    made = condition(PHOTOS)
    assert (made.shape, made.dtype) == ((2, 2, 3, 4), torch.int64)
    for number, shown in enumerate(condition.shown(PHOTOS)):
        assert torch.equal(made[number], torch.cat(codec.tokenize(to_tensor(shown, 16))))
        assert torch.equal(made[number : number + 1], condition.of_map(shown))


def test_a_model_of_gray_pictures_is_shown_their_luma(gray_model: Path) -> None:
    codec = Codec.load(gray_model, device="cpu", dtype=torch.float32)
    condition = Condition("low-2", codec)
    for number, shown in enumerate(condition.shown(PHOTOS)):
        tokens = np.stack(codec.tokenize_pixels(shown))
        assert np.array_equal(condition(PHOTOS[number : number + 1])[0].numpy(), tokens)


def test_a_model_of_label_maps_takes_the_classes(edges: Codec) -> None:
    condition, labels = Condition("", edges), LABEL_MAPS["edges"].of_each(PHOTOS)
    assert condition.kind == "edges"
    made = condition(PHOTOS)
    assert made.shape == (2, 2, 6, 8)
    assert torch.equal(made, torch.stack(edges.tokenize(one_hot(torch.from_numpy(labels), 2)), dim=1))
    assert torch.equal(made[:1], condition.of_map(condition.shown(PHOTOS)[0]))
    assert len(made.unique()) > 1


@pytest.mark.parametrize("size", [(1, 1), (17, 16), (30, 70)])
def test_sizes_are_padded_to_whole_tokens(size: tuple[int, int], codec: Codec, edges: Codec) -> None:
    rgb = synthetic_picture(*size)
    for kind, each, factor in (("low-4", codec, 16), ("edges", edges, 8)):
        condition = Condition(kind, each)
        made = condition(rgb[None])
        assert made.shape == (1, 2, -(-size[1] // factor), -(-size[0] // factor))
        assert made.shape == condition.of_map(rgb).shape
        assert torch.equal(made, condition(padded(rgb, factor)[None]))


@pytest.mark.parametrize("size", [(64, 48), (50, 37), (1, 9)])
def test_tokens_of_coarser_levels_stand_wherever_theirs_are(size: tuple[int, int], codec: Codec) -> None:
    pyramid = with_quantizer(codec, QuantizerConfig((8, 8), 4, level_strides=(4, 1)))
    condition = Condition("low-2", pyramid)
    assert condition.config == ConditionConfig("low-2", (8, 8), 16)
    picture = synthetic_picture(*size)
    made = condition.of_map(picture)
    coarse, fine = pyramid.tokenize(to_tensor(picture, 16))
    assert torch.equal(made[:, 1], fine)
    rows, cols = (torch.arange(count) // 4 for count in fine.shape[1:])
    assert torch.equal(made[:, 0], coarse[:, rows][:, :, cols])


@pytest.mark.parametrize("size", [(4, 4), (12, 20)])
def test_a_model_with_tokens_smaller_than_the_pixels_at_low_resolution(size: tuple[int, int], codec: Codec) -> None:
    networks = CompactConfig(
        patch=4,
        encoder_widths=(8,),
        encoder_depths=(0,),
        encoder_hidden=(1.0,),
        decoder_widths=(8,),
        decoder_depths=(0,),
        decoder_hidden=(1.0,),
        latent_channels=8,
    )
    fine = with_quantizer(codec, QuantizerConfig((8,), 4), networks)
    made = Condition("low-8", fine)(synthetic_picture(*size)[None])
    assert made.shape == (1, 1, size[1] // 4, size[0] // 4)


@pytest.mark.parametrize("kind", CONDITIONS)
def test_pictures_that_must_not_be_written_to(kind: str, codec: Codec) -> None:
    """As Pillow gives them: torch warns of such."""
    fixed, condition = PHOTOS.copy(), Condition(kind, codec)
    fixed.flags.writeable = False
    assert torch.equal(condition(fixed), condition(PHOTOS))
    assert torch.equal(condition.of_map(fixed[0]), condition.of_map(PHOTOS[0]))


def test_what_the_prior_and_its_card_are_told(codec: Codec, edges: Codec) -> None:
    assert Condition("low-2", codec).config == ConditionConfig("low-2", (32, 32), 16)
    assert Condition("edges", edges).config == ConditionConfig("edges", (16, 8), 8)
    assert Condition("edges", edges).model_id == edges.card.model_id.hex()


# ---- models that cannot ----


@pytest.mark.parametrize("kind", ["", "depth", "low-3", "Edges"])
def test_a_model_of_pictures_makes_the_known_kinds(kind: str, codec: Codec) -> None:
    with pytest.raises(ModelError) as caught:
        Condition(kind, codec)
    assert str(caught.value) == (
        f"model tiny makes no tokens of the condition {kind!r}: it does of edges, colours, low-2, low-4, low-8"
    )


@pytest.mark.parametrize("kind", ["colours", "low-4", "depth"])
def test_a_model_of_label_maps_makes_its_own_kind(kind: str, edges: Codec) -> None:
    with pytest.raises(ModelError) as caught:
        Condition(kind, edges)
    assert str(caught.value) == f"model tiny-edges makes no tokens of the condition {kind!r}: it does of edges"


def test_a_model_of_label_maps_codes_no_pictures(edges: Codec) -> None:
    with pytest.raises(ModelError) as caught:
        edges.encode(PHOTOS[0])
    assert str(caught.value) == (
        "model tiny-edges is of edges, as conditions of priors: it does not code pictures; use another --model"
    )
    with pytest.raises(ValueError, match=r"expected \(B, 2, H, W\) with sides that are multiples of 8, got \(1, 3,"):
        edges.tokenize(to_tensor(PHOTOS[0], 8))


def test_a_model_of_label_maps_gives_logits_of_the_classes(edges: Codec, edges_model: Path) -> None:
    maps = one_hot(torch.from_numpy(LABEL_MAPS["edges"].of_each(PHOTOS)), 2)
    made = edges.detokenize(edges.tokenize(maps))
    assert made.shape == (2, 2, 48, 64)
    network = load_network(load_model_folder(edges_model)).eval()
    torch.testing.assert_close(made, network.detokenize(network.tokenize(maps)), rtol=0, atol=1e-4)


# ---- pictures that keep what is known of them ----


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_a_picture_moved_to_be_like_another_when_shrunk(factor: int) -> None:
    low = synthetic_picture(9, 7, seed=1)
    made = synthetic_picture(9 * factor, 7 * factor, seed=2)
    moved = like_when_shrunk(made, low, factor)
    assert (moved.shape, moved.dtype) == (made.shape, np.uint8)
    assert np.abs(blocks(moved[None], factor)[0] - low).mean() < 1
    assert np.abs(blocks(made[None], factor)[0] - low).mean() > 20


def test_a_picture_that_is_like_another_already_stays() -> None:
    low = synthetic_picture(9, 7)
    made = low.repeat(4, axis=0).repeat(4, axis=1)
    assert np.array_equal(like_when_shrunk(made, low, 4), made)
