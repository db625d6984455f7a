"""Guidance by a score: it rises, the tokens are those of the picture, and the codec stays as it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vqcodec.cards.model_card import ModelCard, ModelFolder, load_model_folder
from vqcodec.codec import Codec
from vqcodec.generation.guidance import (
    GuidedPicture,
    Score,
    ScoreError,
    Start,
    _replacements,
    lpips_to,
    optimize_latents,
    optimize_tokens,
)
from vqcodec.generation.picture_scores import _Clamp
from vqcodec.models.config import QuantizerConfig
from vqcodec.models.single_latent import VQAutoencoder
from vqcodec.perceptual.networks import MissingWeightsError
from vqcodec.pictures.image import ImageError, from_tensor, to_tensor, to_unit_range

Optimize = Callable[..., GuidedPicture]
both = pytest.mark.parametrize("optimize", [optimize_latents, optimize_tokens])
#: width, height: no multiples of f = 16
SIZE = (50, 37)


def codec_of(tiny_model: Path, quantizer: QuantizerConfig) -> Codec:
    """The networks of the tiny model at their start: a quantiser of the patches of smooth colours."""
    config = replace(load_model_folder(tiny_model).card.autoencoder, quantizer=quantizer)
    generator = torch.Generator().manual_seed(3)
    smooth = F.interpolate(torch.rand(12, 3, 5, 5, generator=generator) * 2.4 - 1.2, 128, mode="bilinear")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        network = VQAutoencoder(config)
    network.start(smooth, generator)
    folder = ModelFolder(Path("none"), ModelCard("smooth", config, (), ""))
    return Codec.of_network(folder, network, torch.device("cpu"), torch.float32)


@pytest.fixture(scope="module")
def codec(tiny_model: Path) -> Codec:
    return codec_of(tiny_model, QuantizerConfig((32, 32), 6))


def picture(width: int, height: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([127 + 120 * np.sin(x / 9 + k) * np.cos(y / 7 - k) for k in range(3)], axis=2).astype(np.uint8)


def colour(images: Tensor) -> Tensor:
    """Minus the squared distance to an orange that changes from left to right."""
    target = torch.tensor([0.9, 0.5, 0.1])[:, None, None] * torch.linspace(0.5, 1, images.shape[3])
    return -(images - target).square().mean(dim=(1, 2, 3))


def score_of(codec: Codec, tokens: list[Tensor], size: tuple[int, int] = SIZE, score: Score = colour) -> Tensor:
    images = to_unit_range(codec.detokenize(tokens)).clamp(0, 1)
    return score(images[:, :, : size[1], : size[0]])


def assert_equal(first: GuidedPicture, second: GuidedPicture) -> None:
    torch.testing.assert_close(first.scores, second.scores, rtol=0, atol=1e-6)
    assert all(torch.equal(a, b) for a, b in zip(first.tokens, second.tokens, strict=True))


# ---- what comes out ----


@both
@pytest.mark.parametrize("levels", [1, 2, None])
def test_the_score_rises_and_the_result_is_a_stream(codec: Codec, optimize: Optimize, levels: int | None) -> None:
    rgb = picture(*SIZE)
    reported: list[tuple[int, Tensor]] = []
    made = optimize(codec, colour, start=rgb, steps=12, levels=levels, report=lambda *values: reported.append(values))
    first = codec.tokenize(to_tensor(rgb, 16), levels=levels)
    assert made.scores.shape == (13, 1)
    torch.testing.assert_close(made.scores[0], score_of(codec, first))
    assert float(made.scores.max()) > 0.9 * float(made.scores[0])
    assert [step for step, _ in reported] == list(range(13))
    assert torch.equal(torch.stack([scores for _, scores in reported]), made.scores)
    # the tokens are those of the best step, and the picture is theirs
    assert [(grid.shape, grid.dtype) for grid in made.tokens] == [(grid.shape, torch.int64) for grid in first]
    torch.testing.assert_close(score_of(codec, made.tokens), made.scores.max(dim=0).values)
    assert made.size == SIZE
    assert torch.equal(made.images, codec.detokenize(made.tokens)[:, :, : SIZE[1], : SIZE[0]])
    decoded = codec.decode(codec.write(made.tokens, *made.size))
    assert np.array_equal(np.asarray(decoded), from_tensor(made.images, *SIZE))


@both
def test_scores_of_gray_pictures_are_asked_in_colour(gray_model: Path, optimize: Optimize) -> None:
    gray = Codec.load(gray_model, device="cpu", dtype=torch.float32)
    made = optimize(gray, colour, start=picture(*SIZE), steps=2)
    assert made.images.shape == (1, 3, *SIZE[::-1])
    decoded = gray.decode(gray.write(made.tokens, *made.size))
    assert np.array_equal(np.asarray(decoded), from_tensor(made.images, *SIZE))
    start = [torch.tensor(grid.astype(np.int64))[None] for grid in gray.tokenize_pixels(picture(*SIZE))]
    shown = to_unit_range(from_start := gray.detokenize(start)).clamp(0, 1).expand(-1, 3, -1, -1)
    assert from_start.shape[1] == 1
    torch.testing.assert_close(made.scores[0], colour(shown[:, :, : SIZE[1], : SIZE[0]]))


def test_replaced_tokens_never_lower_the_score(codec: Codec) -> None:
    made = optimize_tokens(codec, colour, start=(64, 64), steps=40, candidates=3)
    assert (made.scores.diff(dim=0) >= 0).all()
    assert float(made.scores[-1]) > 0.6 * float(made.scores[0])


def test_a_start_that_cannot_be_bettered_stays(codec: Codec) -> None:
    tokens = codec.tokenize(to_tensor(picture(48, 32), 16))
    wanted = to_unit_range(codec.detokenize(tokens)).clamp(0, 1)

    def score(images: Tensor) -> Tensor:
        return -(images - wanted).square().sum(dim=(1, 2, 3))

    for optimize in (optimize_latents, optimize_tokens):
        made = optimize(codec, score, start=tokens, steps=3)
        assert all(torch.equal(a, b) for a, b in zip(made.tokens, tokens, strict=True))
        assert float(made.scores.max()) == float(made.scores[0])
    assert (made.scores == made.scores[0]).all()


# ---- starts ----


@both
def test_tokens_are_taken_as_they_are(codec: Codec, optimize: Optimize) -> None:
    tokens = codec.tokenize(to_tensor(picture(48, 32), 16))
    for levels in (None, 1):
        made = optimize(codec, colour, start=tokens, steps=1, levels=levels)
        torch.testing.assert_close(made.scores[0], score_of(codec, tokens[:levels], (48, 32)))
        assert (made.size, len(made.tokens)) == ((48, 32), levels or 2)


@both
def test_a_size_gives_random_tokens_by_the_seed(codec: Codec, optimize: Optimize) -> None:
    first, again, other = (optimize(codec, colour, start=SIZE, steps=2, seed=seed) for seed in (1, 1, 2))
    assert_equal(first, again)
    assert not torch.equal(first.scores[0], other.scores[0])
    assert first.size == SIZE
    assert [tuple(grid.shape) for grid in first.tokens] == [(1, 3, 4)] * 2


@both
def test_a_batch_is_its_pictures_one_by_one(codec: Codec, optimize: Optimize) -> None:
    images = torch.cat([to_tensor(picture(48, 32), 16), to_tensor(255 - picture(48, 32), 16)])
    tokens = codec.tokenize(images)
    together = optimize(codec, colour, start=tokens, steps=4)
    for number in range(2):
        alone = optimize(codec, colour, start=[grid[number : number + 1] for grid in tokens], steps=4)
        torch.testing.assert_close(together.scores[:, number], alone.scores[:, 0])
        assert all(torch.equal(a[number], b[0]) for a, b in zip(together.tokens, alone.tokens, strict=True))


# ---- scores ----


@both
def test_a_scalar_score_is_asked_about_one_picture_at_a_time(codec: Codec, optimize: Optimize) -> None:
    def scalar(images: Tensor) -> Tensor:
        return colour(images).sum()

    tokens = codec.tokenize(torch.cat([to_tensor(picture(48, 32), 16)] * 2))
    made, expected = (optimize(codec, score, start=tokens, steps=4) for score in (scalar, colour))
    assert_equal(made, expected)


@both
def test_a_score_sees_clamped_float32_pictures_of_the_size_of_the_start(codec: Codec, optimize: Optimize) -> None:
    seen = []

    def score(images: Tensor) -> Tensor:
        seen.append(images.detach())
        return 100 * images.sum(dim=(1, 2, 3))

    optimize(codec, score, start=picture(*SIZE), steps=5)
    assert len(seen) >= 5
    for images in seen:
        assert (images.shape[1:], images.dtype) == ((3, SIZE[1], SIZE[0]), torch.float32)
        assert 0 <= float(images.min()) <= float(images.max()) <= 1


def test_pixels_out_of_range_get_the_gradient_that_leads_back() -> None:
    for sign, expected in ((1, [1, 1, 0]), (-1, [0, -1, -1])):
        x = torch.tensor([-0.5, 0.5, 1.5], requires_grad=True)
        clamped = _Clamp.apply(x)
        assert clamped.tolist() == [0, 0.5, 1]
        (sign * clamped).sum().backward()
        assert x.grad is not None
        assert x.grad.tolist() == expected


def test_close_to_a_picture_by_lpips(codec: Codec, perceptual_weights: Path) -> None:
    rgb = picture(64, 64)
    score = lpips_to(rgb, perceptual_weights)
    assert float(score(to_unit_range(to_tensor(rgb, 16)))) == pytest.approx(0, abs=1e-6)
    far = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    by_network = [lpips_to(rgb, perceptual_weights, backbones=[name], squared_error=0)(far) for name in ("alex", "vgg")]
    squared = (far - to_unit_range(to_tensor(rgb, 16))).square().mean(dim=(1, 2, 3))
    torch.testing.assert_close(score(far), (by_network[0] + by_network[1]) / 2 - 5 * squared)
    made = optimize_latents(codec, score, start=rgb, steps=10)
    assert float(made.scores.max()) > 0.97 * float(made.scores[0])


# ---- the codec ----


@both
def test_the_codec_stays_as_it_is(tiny_model: Path, optimize: Optimize) -> None:
    codec = Codec.load(tiny_model, device="cpu", dtype=torch.float32)
    trained = codec.network.decoder.requires_grad_(True)
    before = {name: value.clone() for name, value in codec.network.state_dict().items()}
    with torch.inference_mode():
        optimize(codec, colour, start=picture(*SIZE), steps=3)
    assert all(torch.equal(before[name], value) for name, value in codec.network.state_dict().items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in trained.parameters())
    assert not any(parameter.requires_grad for parameter in codec.network.quantizer.parameters())
    assert not codec.network.training


@both
def test_bfloat16(tiny_model: Path, optimize: Optimize) -> None:
    small, full = (Codec.load(tiny_model, device="cpu", dtype=dtype) for dtype in (torch.bfloat16, torch.float32))
    tokens = full.tokenize(to_tensor(picture(48, 32), 16))
    made, expected = (optimize(each, colour, start=tokens, steps=3) for each in (small, full))
    torch.testing.assert_close(made.scores[0], expected.scores[0], rtol=0, atol=1e-4)  # the weights are rounded
    assert torch.equal(made.images, small.detokenize(made.tokens))
    assert {parameter.dtype for parameter in small.network.decoder.parameters()} == {torch.bfloat16}
    rgb = picture(*SIZE)
    started = optimize(small, colour, start=rgb, steps=1).scores[0]
    torch.testing.assert_close(started, score_of(full, small.tokenize(to_tensor(rgb, 16))), rtol=0, atol=1e-4)


@both
@pytest.mark.parametrize("levels", [1, 2, 3])
def test_levels_of_several_strides(tiny_model: Path, optimize: Optimize, levels: int) -> None:
    codec = codec_of(tiny_model, QuantizerConfig((16, 32, 8), 4, level_strides=(4, 2, 1)))
    rgb = picture(75, 50)
    made = optimize(codec, colour, start=rgb, steps=12, levels=levels)
    assert [grid.shape for grid in made.tokens] == [grid.shape for grid in codec.tokenize(to_tensor(rgb, 16))][:levels]
    torch.testing.assert_close(score_of(codec, made.tokens, made.size), made.scores.max(dim=0).values)
    assert float(made.scores.max()) > 0.97 * float(made.scores[0])


@pytest.mark.parametrize("elements", [20, 2**22])
def test_replacements_are_ranked_by_the_gradient(
    tiny_model: Path, elements: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against one replacement after the other: rise by the gradient, over the squared length of the change."""
    monkeypatch.setattr("vqcodec.generation.guidance._RANKING_ELEMENTS", elements)
    network = codec_of(tiny_model, QuantizerConfig((12, 5), 4, level_strides=(2, 1))).network
    generator = torch.Generator().manual_seed(4)
    tokens = [torch.randint(12, (1, 2, 1), generator=generator), torch.randint(5, (1, 4, 2), generator=generator)]
    [before] = network.quantised(tokens)
    gradient = torch.randn(before.shape, generator=generator)
    for number, (merits, codes) in enumerate(_replacements(network, tokens, [gradient])):
        own = tokens[number].flatten()
        assert merits.shape == codes.shape == (len(own), 8)
        for place in range(len(own)):
            expected = []
            for code in range(network.config.quantizer.codebook_sizes[number]):
                changed = [grid.clone() for grid in tokens]
                changed[number].view(-1)[place] = code
                change = network.quantised(changed)[0] - before
                expected.append(float((gradient * change).sum() / change.square().sum().clamp_min(1e-12)))
            best = sorted((max(0.0, value) for value in expected), reverse=True)[:8]
            torch.testing.assert_close(
                merits[place], torch.tensor(best + [0.0] * (8 - len(best))), rtol=1e-3, atol=1e-4
            )
            for merit, code in zip(merits[place].tolist(), codes[place].tolist(), strict=True):
                assert merit == 0 or merit == pytest.approx(expected[code], rel=1e-3)


def test_choices_by_logits(tiny_model: Path) -> None:
    codec = codec_of(tiny_model, QuantizerConfig((16,), 4, codebook="gumbel", lookup="euclidean"))
    with pytest.raises(ValueError, match=r"model smooth chooses codes by logits.*optimize_tokens"):
        optimize_latents(codec, colour, start=(32, 32))
    made = optimize_tokens(codec, colour, start=(32, 32), steps=12)
    assert float(made.scores[-1]) > float(made.scores[0])


# ---- errors ----


@both
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps 0: there must be 1 or more"),
        ({"levels": 3}, "levels 3: model smooth has 1 to 2"),
        ({"start": picture(32, 32), "levels": 0}, "levels 0: model smooth has 1 to 2"),
        ({"start": (32, 0)}, r"a size of \(32, 0\)"),
        ({"start": (32, 32, 3)}, r"a size of \(32, 32, 3\)"),
        ({"start": []}, "levels 0: model smooth has 1 to 2"),
        ({"start": [torch.zeros(1, 2, 2, dtype=torch.int64)], "levels": 2}, "the start has tokens of 1 to 1"),
        ({"start": [torch.zeros(1, 2, 2).long(), torch.zeros(1, 2, 3).long()]}, "token grids .* of one picture"),
        ({"start": [torch.zeros(2, 2).long()]}, "token grids .* of one picture"),
        ({"start": [torch.zeros(0, 2, 2).long()]}, "token grids .* of one picture"),
        ({"start": [torch.full((1, 2, 2), 32)]}, "tokens of level 1 are 0 to 31, got 32, 32"),
        ({"start": [torch.full((1, 2, 2), -1)]}, "tokens of level 1 are 0 to 31, got -1, -1"),
    ],
)
def test_arguments_out_of_range(codec: Codec, optimize: Optimize, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        optimize(codec, colour, **({"start": (32, 32)} | options))


def test_a_learning_rate_that_leads_nowhere(codec: Codec) -> None:
    for rate in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match=r"learning_rate .*: there must be more than 0"):
            optimize_latents(codec, colour, start=(32, 32), learning_rate=rate)


def test_no_candidates(codec: Codec) -> None:
    with pytest.raises(ValueError, match="candidates 0: there must be 1 or more"):
        optimize_tokens(codec, colour, start=(32, 32), candidates=0)


@both
def test_a_picture_that_is_not_there(codec: Codec, optimize: Optimize, tmp_path: Path) -> None:
    start: Start = tmp_path / "none.png"
    with pytest.raises(ImageError, match="no such file"):
        optimize(codec, colour, start=start)


@both
@pytest.mark.parametrize(
    ("score", "message"),
    [
        (lambda images: images.mean(dim=1), r"must be a tensor \(1,\), got \(1, 32, 32\)"),
        (lambda images: 1.0, r"must be a tensor \(1,\), got float"),
        (lambda images: colour(images) / 0, "not a finite number"),
        (lambda images: colour(images.detach()), "no finite gradient"),
        (lambda images: torch.ones(len(images), requires_grad=True), "no finite gradient"),
        (lambda images: (images - images).sum(dim=(1, 2, 3)).sqrt(), "no finite gradient"),
    ],
)
def test_scores_that_are_none(codec: Codec, optimize: Optimize, score: Score, message: str) -> None:
    with pytest.raises(ScoreError, match=message):
        optimize(codec, score, start=(32, 32), steps=2)


def test_lpips_without_weights(tmp_path: Path) -> None:
    with pytest.raises(MissingWeightsError, match="no such file"):
        lpips_to(picture(64, 64), tmp_path)


def test_lpips_to_a_picture_of_another_size(codec: Codec, perceptual_weights: Path) -> None:
    score = lpips_to(picture(64, 64), perceptual_weights)
    with pytest.raises(ValueError, match=r"pictures of \(64, 80\) pixels, the target has \(64, 64\)"):
        optimize_latents(codec, score, start=(80, 64))
