"""The reconstruction losses of stage 1."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from vqcodec.perceptual.networks import DISTS, LPIPS, PerceptualWeightsError
from vqcodec.training.stage1.losses import (
    Compared,
    LossWeights,
    MapLoss,
    ReconstructionLoss,
    border_jump,
    by_level,
    chroma,
    repetition,
)
from vqcodec.training.stage1.trainer import SMALLEST_LPIPS_CROP


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(seed: int, size: int = 48) -> Tensor:
    return torch.rand(3, 3, size, size, generator=seeded(seed)) * 2 - 1


def terms_of(loss: nn.Module, real: Tensor, made: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
    compared: Compared = loss(real, made, torch.ones(len(real), dtype=torch.int64), generator)
    return compared.terms


@pytest.mark.parametrize(
    ("weights", "names"),
    [
        (LossWeights(), {"l1", "colour", "lpips_alex", "lpips_vgg"}),
        (LossWeights(lpips_alex=0), {"l1", "colour", "lpips_vgg"}),
        (LossWeights(lpips_vgg=0, colour=0), {"l1", "lpips_alex"}),
        (LossWeights(l2=1).without_networks(), {"l1", "l2", "colour"}),
        (LossWeights(chroma=1).without_networks(), {"l1", "colour", "chroma"}),
        (LossWeights(dists=1), {"l1", "colour", "lpips_alex", "lpips_vgg", "dists"}),
        (replace(LossWeights().without_networks(), dists=1), {"l1", "colour", "dists"}),
    ],
)
def test_terms_that_weigh_nothing_are_not_computed(
    weights: LossWeights, names: set[str], perceptual_weights: Path
) -> None:
    loss = ReconstructionLoss(perceptual_weights, weights)
    terms = terms_of(loss, images(0), images(1), seeded())
    assert set(terms) == names
    assert all(float(term) > 0 and term.shape == () for term in terms.values())
    assert [float(term) for term in terms_of(loss, images(0), images(0), seeded()).values()] == [0.0] * len(names)


def test_terms_are_what_they_say(perceptual_weights: Path) -> None:
    """The generator draws the shift first: all windows are then of the size of the picture."""
    real, made = images(0), images(1)
    loss = ReconstructionLoss(perceptual_weights, LossWeights(vgg_crops=3, vgg_crop_size=48))
    terms = terms_of(loss, real, made, seeded(7))
    top, left = torch.randint(4, (2,), generator=seeded(7)).tolist()
    unit_real, unit_made = (real + 1) / 2, (made + 1) / 2
    alex, vgg = LPIPS(perceptual_weights, "alex"), LPIPS(perceptual_weights, "vgg")
    torch.testing.assert_close(terms["l1"], (real - made).abs().mean())
    shifted = alex(unit_made[:, :, top:, left:], unit_real[:, :, top:, left:])
    torch.testing.assert_close(terms["lpips_alex"], shifted.mean())
    torch.testing.assert_close(terms["lpips_vgg"], vgg(unit_made, unit_real).mean())
    whole = terms_of(ReconstructionLoss(perceptual_weights, LossWeights(vgg_crops=0)), real, made, seeded(7))
    torch.testing.assert_close(whole["lpips_vgg"], terms["lpips_vgg"])
    difference = (real - made).unfold(2, 8, 8).unfold(3, 8, 8).mean(dim=(4, 5))
    torch.testing.assert_close(terms["colour"], difference.abs().mean())


def test_dists_is_that_of_random_pictures(perceptual_weights: Path) -> None:
    real, made = images(0), images(1)
    expected = DISTS(perceptual_weights)((made + 1) / 2, (real + 1) / 2)
    for count in (0, 1, len(real), len(real) + 1):
        weights = replace(LossWeights().without_networks(), dists=1, dists_pictures=count)
        term = terms_of(ReconstructionLoss(perceptual_weights, weights), real, made, seeded(3))["dists"]
        if count == 1:
            assert min(abs(float(term) - float(one)) for one in expected) < 1e-5
        else:
            torch.testing.assert_close(term, expected.mean())


def test_the_generator_decides_alone(perceptual_weights: Path) -> None:
    loss = ReconstructionLoss(perceptual_weights, LossWeights(vgg_crops=1, vgg_crop_size=16))
    runs = [terms_of(loss, images(0), images(1), seeded(seed)) for seed in (1, 1, 2)]
    assert all(torch.equal(runs[0][name], runs[1][name]) for name in runs[0])
    assert float(runs[0]["lpips_vgg"]) != float(runs[2]["lpips_vgg"])


def test_the_gradient_reaches_the_reconstruction_and_no_weights(perceptual_weights: Path) -> None:
    loss = ReconstructionLoss(perceptual_weights, LossWeights(dists=1))
    assert list(loss.parameters()) == []
    for name in ("l1", "colour", "lpips_alex", "lpips_vgg", "dists"):
        made = images(1).requires_grad_()
        terms_of(loss, images(0), made, seeded())[name].backward()
        assert made.grad is not None
        assert torch.isfinite(made.grad).all()
        assert float(made.grad.abs().sum()) > 0


@pytest.mark.parametrize("seed", range(8))
def test_the_smallest_crops_survive_every_shift(perceptual_weights: Path, seed: int) -> None:
    loss = ReconstructionLoss(perceptual_weights, LossWeights())
    terms = terms_of(loss, images(0, SMALLEST_LPIPS_CROP), images(1, SMALLEST_LPIPS_CROP), seeded(seed))
    assert all(torch.isfinite(term) for term in terms.values())


def test_missing_perceptual_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(PerceptualWeightsError, match=r"alexnet_conv_fp16\.safetensors: no such file"):
        ReconstructionLoss(tmp_path, LossWeights())
    with pytest.raises(ValueError, match="give --no-perceptual to train without"):
        ReconstructionLoss(None, LossWeights())
    assert ReconstructionLoss(None, LossWeights().without_networks()).alex is None


def test_distortion_weighs_by_the_number_of_levels() -> None:
    weights = LossWeights(l2=1, distortion_by_level=(0.5, 2.0)).without_networks()
    real, made = images(0), images(1)
    terms = ReconstructionLoss(None, weights)(real, made, torch.tensor([1, 2, 2]), seeded()).terms
    errors = (real - made).abs().mean(dim=(1, 2, 3))
    torch.testing.assert_close(terms["l1"], (0.5 * errors[0] + 2 * errors[1] + 2 * errors[2]) / 3)
    squares = (real - made).square().mean(dim=(1, 2, 3))
    torch.testing.assert_close(terms["l2"], (0.5 * squares[0] + 2 * squares[1] + 2 * squares[2]) / 3)
    assert by_level((), torch.tensor([3, 1])).tolist() == [1, 1]


def test_chroma_is_that_of_jfif() -> None:
    rgb = torch.tensor([[1.0, 1, 1], [1, 0, 0], [0, 0, 1]])[:, :, None, None]
    expected = torch.tensor([[0, 0], [-0.1687, 0.5], [0.5, -0.0813]])
    torch.testing.assert_close(chroma(rgb)[:, :, 0, 0], expected, atol=1e-4, rtol=0)


def test_the_jump_across_borders_is_one_without_blocks() -> None:
    noise = torch.rand(3, 3, 256, 320, generator=seeded(0))
    assert border_jump(noise).shape == (3,)
    torch.testing.assert_close(border_jump(noise), torch.ones(3), atol=0.05, rtol=0)
    ramp = torch.linspace(0, 1, 64).expand(1, 3, 64, 64)
    assert float(border_jump((ramp + ramp.transpose(2, 3)) / 2)) == pytest.approx(1, abs=1e-3)
    blocks = torch.rand(1, 3, 8, 8, generator=seeded(1)).repeat_interleave(16, 2).repeat_interleave(16, 3)
    assert float(border_jump(blocks)) > 100
    assert float(border_jump(blocks.roll((8, 8), (2, 3)))) < 0.1


def test_the_jump_of_the_loss_is_against_that_of_the_original() -> None:
    weights = LossWeights(l1=0, colour=0, border_jump=1).without_networks()
    loss, levels = ReconstructionLoss(None, weights), torch.tensor([1])
    smooth = torch.rand(1, 3, 64, 64, generator=seeded(0)) / 2
    blocks = smooth + torch.rand(1, 3, 4, 4, generator=seeded(1)).repeat_interleave(16, 2).repeat_interleave(16, 3)
    assert float(loss(smooth, smooth, levels, seeded()).terms["border_jump"]) == 0
    made = loss(smooth, blocks, levels, seeded()).terms["border_jump"]
    floor = 2 / 255
    expected = (border_jump(blocks, floor=floor) / border_jump(smooth, floor=floor)).log()
    torch.testing.assert_close(made, expected.mean())
    torch.testing.assert_close(loss(blocks, smooth, levels, seeded()).terms["border_jump"], made)
    flat = torch.zeros(1, 3, 64, 64)
    nearly = (1e-5 * smooth).requires_grad_()
    loss(flat, nearly, levels, seeded()).terms["border_jump"].backward()
    assert nearly.grad is not None
    assert float(nearly.grad.abs().sum()) < 4 / floor


def test_textures_that_repeat_themselves() -> None:
    noise = torch.rand(2, 3, 128, 96, generator=seeded(0))
    tile = torch.rand(2, 3, 16, 16, generator=seeded(1)).repeat(1, 1, 8, 6)
    assert repetition(noise, 16).abs().max() < 0.05
    torch.testing.assert_close(repetition(tile, 16), torch.ones(2), atol=0.05, rtol=0)
    assert repetition(tile, 8).abs().max() < 0.3
    bright = noise + torch.linspace(0, 5, 96)
    torch.testing.assert_close(repetition(bright, 16), repetition(noise, 16), atol=0.05, rtol=0)
    assert repetition(torch.zeros(1, 3, 40, 40), 16).tolist() == [0]


def test_the_repetition_of_the_loss_is_against_that_of_the_original() -> None:
    loss = ReconstructionLoss(None, LossWeights(l1=0, colour=0, repetition=1).without_networks())
    noise = torch.rand(1, 3, 64, 64, generator=seeded(0)) - 0.5
    tile = torch.rand(1, 3, 16, 16, generator=seeded(1)).repeat(1, 1, 4, 4) - 0.5
    level = torch.tensor([1])
    assert float(loss(tile, tile, level, seeded()).terms["repetition"]) == 0
    for side, lags in ((64, (8, 16, 32)), (32, (8, 16))):  # crops are compared after what lies within them
        made, real = tile[..., :side, :side], noise[..., :side, :side]
        expected = sum(abs(float(repetition(made, lag) - repetition(real, lag))) for lag in lags) / len(lags)
        assert float(loss(real, made, level, seeded()).terms["repetition"]) == pytest.approx(expected, rel=1e-4)
        assert expected > 0.4


def test_features_are_of_the_windows_of_both(perceptual_weights: Path) -> None:
    """For a discriminator, with no weight for LPIPS itself; levels are those of the pictures that windows are in."""
    weights = LossWeights(vgg_crops=2, vgg_crop_size=16).without_networks()
    loss = ReconstructionLoss(perceptual_weights, weights, needs_features=True)
    real, levels = images(0), torch.tensor([1, 2, 3])
    compared = loss(real, real.flip(0), levels, seeded(3))
    assert len(compared.levels) == len(compared.real[0]) == len(compared.made[0]) == 2
    assert set(compared.levels.tolist()) < {1, 2, 3}
    same = loss(real, real, levels, seeded(3))
    assert all(map(torch.equal, same.real, same.made))
    assert all(map(torch.equal, same.real, compared.real))
    assert not compared.real[0].requires_grad


# ---- label maps ----


@pytest.mark.parametrize("scale", [1.0, 6.0])
def test_the_loss_of_maps_is_the_cross_entropy_of_the_right_classes(scale: float) -> None:
    logits = torch.randn(2, 4, 3, 5, generator=seeded(1))
    labels = torch.randint(4, (2, 3, 5), generator=seeded(2))
    maps = scale * torch.nn.functional.one_hot(labels, 4).permute(0, 3, 1, 2)
    (value,) = (terms := terms_of(MapLoss(), maps, logits, seeded())).values()
    assert list(terms) == ["cross_entropy"]
    chances = logits.softmax(dim=1)
    right = [float(chances[b, labels[b, y, x], y, x]) for b in range(2) for y in range(3) for x in range(5)]
    torch.testing.assert_close(value, -torch.tensor(right).log().mean())


def test_which_weights_are_of_pictures() -> None:
    none = LossWeights(l1=0, colour=0, cross_entropy=1).without_networks()
    assert not none.of_pictures
    for name in ("l1", "l2", "colour", "chroma", "border_jump", "repetition", "lpips_alex", "lpips_vgg", "dists"):
        assert replace(none, **{name: 0.1}).of_pictures
