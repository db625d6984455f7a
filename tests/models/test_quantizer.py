"""Codebooks and residual levels: nearest codes, moving averages, k-means start, straight-through."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vqcodec.kernels import nearest_codes
from vqcodec.models.codebooks import AverageCodebook
from vqcodec.models.config import QuantizerConfig
from vqcodec.models.quantizer import QuantizeResult, ResidualQuantizer, VectorQuantizer


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def unit(count: int, dimension: int, seed: int = 0) -> Tensor:
    return F.normalize(torch.randn(count, dimension, generator=seeded(seed)), dim=1)


def learning_codebook(codes: int, dimension: int, *, decay: float = 0.99, seed: int = 0) -> AverageCodebook:
    codebook = AverageCodebook(codes, dimension, decay=decay)
    codebook.code_vectors.copy_(unit(codes, dimension, seed))
    codebook.begin_learning()
    return codebook


# ---- the codebook ----


def test_update_is_a_moving_average_of_one_hot_counts() -> None:
    codebook = learning_codebook(6, 3, decay=0.9)
    counts, sums = torch.ones(6), codebook.code_vectors.clone()
    for step in range(4):
        vectors = unit(20, 3, seed=step)
        indices = torch.randint(5, (20,), generator=seeded(step))  # code 5 is never chosen
        one_hot = F.one_hot(indices, 6).float()
        counts = 0.9 * counts + 0.1 * one_hot.sum(dim=0)
        sums = 0.9 * sums + 0.1 * one_hot.t() @ vectors
        codebook.update(one_hot.sum(dim=0), one_hot.t() @ vectors)
    torch.testing.assert_close(codebook.average_counts, counts)
    torch.testing.assert_close(codebook.average_sums, sums)
    torch.testing.assert_close(codebook.code_vectors, F.normalize(sums, dim=1))
    torch.testing.assert_close(codebook.code_vectors[5], unit(6, 3)[5])


def test_an_update_without_vectors_leaves_the_codes() -> None:
    codebook = learning_codebook(6, 3)
    codebook.update(torch.zeros(6), torch.zeros(6, 3))
    torch.testing.assert_close(codebook.code_vectors, unit(6, 3))


def test_a_codebook_carries_averages_only_while_it_learns() -> None:
    codebook = AverageCodebook(6, 3)
    assert set(codebook.state_dict()) == {"code_vectors"}
    codebook.begin_learning()
    assert set(codebook.state_dict()) == {"code_vectors", "average_counts", "average_sums"}


def test_k_means_needs_a_vector_for_each_code() -> None:
    with pytest.raises(ValueError, match=r"8 codes.*got 7"):
        learning_codebook(8, 3).start_from(unit(7, 3), seeded())


def clusters(count: int, each: int, dimension: int) -> Tensor:
    centres = unit(count, dimension, seed=5)
    noise = 0.02 * torch.randn(count * each, dimension, generator=seeded(6))
    return F.normalize(centres.repeat_interleave(each, dim=0) + noise, dim=1)


def test_k_means_finds_clusters_with_every_code_used() -> None:
    vectors = clusters(16, 40, 8)
    codebook = learning_codebook(16, 8, decay=0.97)
    codebook.start_from(vectors, seeded(1), iterations=30)
    torch.testing.assert_close(codebook.code_vectors.norm(dim=1), torch.ones(16))
    chosen = nearest_codes(vectors, codebook.code_vectors)
    assert len(chosen.unique()) == 16
    assert codebook.decay == 0.97
    assert codebook.average_counts.tolist() == [1.0] * 16
    assert torch.equal(codebook.average_sums, codebook.code_vectors)


def test_k_means_beats_the_vectors_that_it_started_from() -> None:
    vectors = unit(500, 4, seed=2)
    codebook = learning_codebook(32, 4)

    def similarity() -> float:
        return float((vectors @ codebook.code_vectors.t()).max(dim=1).values.mean())

    codebook.start_from(vectors, seeded(1), iterations=0)
    before = similarity()
    codebook.start_from(vectors, seeded(1))
    assert similarity() > before


def test_k_means_depends_on_the_generator_alone() -> None:
    made = []
    for seed in (3, 3, 4):
        codebook = learning_codebook(16, 4)
        codebook.start_from(unit(300, 4), seeded(seed))
        made.append(codebook.code_vectors)
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])


def test_dead_codes_are_put_onto_vectors() -> None:
    codebook = learning_codebook(8, 3)
    codebook.average_counts.fill_(10.0)
    codebook.average_counts[[2, 5]] = 0.1
    before = codebook.code_vectors.clone()
    vectors = unit(4, 3, seed=9)
    assert codebook.revive_dead_codes(vectors, seeded()) == 2
    for code in range(8):
        if code in (2, 5):
            assert (vectors == codebook.code_vectors[code]).all(dim=1).any()
            assert codebook.average_counts[code] == pytest.approx((6 * 10 + 0.2) / 8)
        else:
            assert torch.equal(codebook.code_vectors[code], before[code])
    assert codebook.revive_dead_codes(vectors, seeded()) == 0


def test_statistics() -> None:
    codebook = learning_codebook(8, 3)
    assert codebook.statistics() == pytest.approx((1.0, 8.0, 0))
    codebook.average_counts.copy_(torch.tensor([5.0, 5.0, 0, 0, 0, 0, 0, 0]))
    assert codebook.statistics() == pytest.approx((0.25, 2.0, 6))


# ---- one level ----


def test_unit_vectors_are_standardised_as_at_the_start() -> None:
    level = learning_level(6, 8, 3).train()
    latent = 5 + 3 * torch.randn(200, 6, generator=seeded())
    level.start_from(latent, seeded(1))
    vectors = level.vectors(latent)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(200))
    flat = vectors[:, :-1] / vectors[:, -1:] * level.lift
    torch.testing.assert_close(flat.mean(dim=0), torch.zeros(2), rtol=0, atol=1e-4)
    assert float(flat.var(dim=0).mean()) == pytest.approx(1, abs=1e-4)
    mean, variance = level.mean.clone(), level.variance.clone()
    level.vectors(2 * latent)
    assert torch.equal(level.mean, mean)
    assert torch.equal(level.variance, variance)


# ---- residual levels ----


def residual(levels: int = 3, *, training: bool = False) -> ResidualQuantizer:
    torch.manual_seed(1)
    made = ResidualQuantizer(6, QuantizerConfig((16, 8, 5)[:levels], 4))
    made.begin_learning()
    return made.train(training)


def latents(batch: int = 3, seed: int = 0) -> Tensor:
    return torch.randn(batch, 6, 5, 7, generator=seeded(seed))


def test_tokens_and_latent_belong_together() -> None:
    made, latent = residual(), latents()
    tokens = made.tokens(latent, 3)
    assert [grid.shape for grid in tokens] == [(3, 5, 7)] * 3
    for grid, codes in zip(tokens, (16, 8, 5), strict=True):
        assert 0 <= int(grid.min()) <= int(grid.max()) < codes
    for count in (1, 2, 3):
        shorter = made.tokens(latent, count)
        assert all(torch.equal(a, b) for a, b in zip(shorter, tokens[:count], strict=True))
    left = latent.clone()
    for number, grid in enumerate(tokens):
        parts = made.each()[number].reconstruct(grid.flatten()).view(3, 5, 7, 6).permute(0, 3, 1, 2)
        left = left - parts
        torch.testing.assert_close(made.latent(tokens[: number + 1]), latent - left)


def test_forward_in_evaluation_is_the_latent_of_the_tokens() -> None:
    made, latent = residual(), latents()
    result = made(latent, torch.tensor([1, 3, 2]))
    assert isinstance(result, QuantizeResult)
    assert [field.name for field in dataclasses.fields(result)] == [
        "quantized",
        "indices",
        "codebook_loss",
        "commitment_loss",
    ]
    tokens = made.tokens(latent, 3)
    assert all(torch.equal(a, b) for a, b in zip(result.indices, tokens, strict=True))
    for picture, levels in enumerate((1, 3, 2)):
        expected = made.latent([grid[picture : picture + 1] for grid in tokens[:levels]])
        torch.testing.assert_close(result.quantized[picture : picture + 1], expected)


def test_gradient_goes_straight_through() -> None:
    made, latent = residual(), latents().requires_grad_()
    made(latent, torch.full((3,), 3)).quantized.square().sum().backward()
    assert latent.grad is not None
    assert float(latent.grad.abs().sum()) > 0
    weights = [level.project_in.weight.grad for level in made.each()]
    assert all(weight is not None and float(weight.abs().sum()) > 0 for weight in weights)


def test_commitment_loss_moves_the_latents_and_codebook_loss_the_way_back() -> None:
    made, latent = residual(), latents().requires_grad_()
    result = made(latent, torch.full((3,), 3))
    wanted = (latent - result.quantized).square().sum() / (105 * 3 * made.each()[0].variance)
    torch.testing.assert_close(result.commitment_loss, wanted)
    torch.testing.assert_close(result.codebook_loss, wanted)
    assert float(wanted.detach()) > 0
    ways_back = [level.project_out.weight for level in made.each()]
    toward_codes = torch.autograd.grad(
        result.commitment_loss, [latent, *ways_back], allow_unused=True, retain_graph=True
    )
    assert toward_codes[0] is not None
    assert toward_codes[1:] == (None, None, None)
    toward_latents = torch.autograd.grad(result.codebook_loss, [latent, *ways_back], allow_unused=True)
    assert toward_latents[0] is None
    assert all(gradient is not None for gradient in toward_latents[1:])


def test_vectors_that_are_not_finite_move_no_code() -> None:
    made = residual(training=True)
    before = [level.codebook.code_vectors.clone() for level in made.each()]
    made(torch.full((1, 6, 2, 2), torch.nan), torch.tensor([3]))
    assert all(torch.equal(a, level.codebook.code_vectors) for a, level in zip(before, made.each(), strict=True))


def test_quantizer_dropout_touches_only_the_pictures_that_use_fewer_levels() -> None:
    made, latent = residual(), latents()
    full = made(latent, torch.tensor([3, 3, 3])).quantized
    some = made(latent, torch.tensor([3, 1, 3])).quantized
    assert torch.equal(full[[0, 2]], some[[0, 2]])
    assert not torch.equal(full[1], some[1])


def test_a_level_that_nobody_uses_learns_nothing() -> None:
    made = residual(training=True)
    before = [level.codebook.code_vectors.clone() for level in made.each()]
    made(latents(), torch.tensor([1, 1, 1]))
    after = [level.codebook.code_vectors for level in made.each()]
    assert not torch.equal(before[0], after[0])
    torch.testing.assert_close(before[1:], after[1:])


def test_evaluation_changes_no_state() -> None:
    made = residual()
    before = {name: value.clone() for name, value in made.state_dict().items()}
    made(latents(), torch.tensor([1, 2, 3]))
    assert all(torch.equal(before[name], value) for name, value in made.state_dict().items())


def test_a_level_keeps_the_distance_from_the_mean() -> None:
    """A dark and a bright flat area differ in nothing else."""
    level = VectorQuantizer(6, 8, QuantizerConfig((8,), 3)).eval().requires_grad_(False)
    ray = level.vectors(torch.arange(1.0, 4)[:, None] * torch.ones(3, 6))
    assert float((ray @ ray.t() - 2 * torch.eye(3)).max()) < 0.999


def test_a_level_starts_as_a_good_quantiser_of_what_it_is_given() -> None:
    level = learning_level(6, 32, 4)
    basis = torch.randn(3, 6, generator=seeded(1))
    latent = 4 + torch.randn(2000, 3, generator=seeded(2)) @ basis  # three of six dimensions are in use
    level.start_from(latent, seeded(3))
    level.eval()
    indices = level.choose(latent)
    assert len(indices.unique()) == 32
    error = (latent - level.reconstruct(indices)).square().sum(dim=1).mean()
    assert error < 0.35 * latent.var(dim=0).sum()


def learning_level(channels: int, codes: int, dimension: int) -> VectorQuantizer:
    torch.manual_seed(4)
    level = VectorQuantizer(channels, codes, QuantizerConfig((codes,), dimension)).requires_grad_(False)
    level.codebook.begin_learning()
    return level


def test_each_level_starts_from_what_the_coarser_ones_leave() -> None:
    made = residual(training=True).requires_grad_(False)
    latent = torch.randn(1, 6, 20, 50, generator=seeded(8))
    vectors = latent.permute(0, 2, 3, 1).reshape(-1, 6)
    made.start_levels(latent, seeded(2))
    made.eval()
    left, errors = vectors, [float(vectors.square().sum())]
    for level in made.each():
        lengths = level.codebook.code_vectors.norm(dim=1)
        torch.testing.assert_close(lengths, torch.ones_like(lengths))
        left = left - level.reconstruct(level.choose(left))
        errors.append(float(left.square().sum()))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.75 * errors[0]


def test_dead_codes_of_every_level_are_revived() -> None:
    made = residual().requires_grad_(False)
    vectors = torch.randn(1, 6, 20, 20, generator=seeded(8))
    assert made.revive_dead_codes(vectors, seeded(2)) == 0
    made.each()[0].codebook.average_counts[3] = 0
    made.each()[2].codebook.average_counts[1] = 0
    assert made.revive_dead_codes(vectors, seeded(2)) == 2


@pytest.mark.parametrize("training", [False, True])
def test_quantising_is_in_float32_whatever_goes_on_around_it(training: bool) -> None:
    latent, levels = latents().to(torch.bfloat16), torch.full((3,), 3)
    expected = residual(training=training)(latent.float(), levels)
    with torch.autocast("cpu", torch.bfloat16):
        result = residual(training=training)(latent, levels)
    assert result.quantized.dtype == torch.float32
    assert torch.equal(result.quantized, expected.quantized)
    assert all(torch.equal(a, b) for a, b in zip(result.indices, expected.indices, strict=True))
