"""Sampling: what a token is drawn from, and what the tokens of a picture depend on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from prior_helpers import random_prior
from torch import Tensor

from vqcodec.cards.errors import ModelError
from vqcodec.generation.config import SamplingConfig
from vqcodec.generation.drawing import (
    SampledTokens,
    choose,
    count_tokens,
    grid_shapes,
    guided,
    picture_seed,
    restricted,
    sample_tokens,
    token_bits,
)
from vqcodec.prior.conditions import NO_CONDITIONS, Conditions
from vqcodec.prior.config import ConditionConfig
from vqcodec.prior.transformer import Prior

LEVELS: dict[str, Any] = {"codebook_sizes": (11, 7), "factors": (16, 16), "orders": ("wavefront", "wavefront")}
SEEDS = [picture_seed(0, number) for number in range(3)]


@pytest.fixture(scope="module")
def prior() -> Prior:
    return random_prior(**LEVELS, classes=3)


def same(left: SampledTokens, right: SampledTokens) -> bool:
    return all(torch.equal(a, b) for a, b in zip(left.tokens, right.tokens, strict=True))


def pictures(sampled: SampledTokens, rows: slice) -> SampledTokens:
    return SampledTokens([grid[rows] for grid in sampled.tokens], [grid[rows] for grid in sampled.bits])


def logits_of(*probabilities: float) -> Tensor:
    return torch.tensor([[probabilities]], dtype=torch.float64).log()


def drawn(logits: Tensor, uniforms: Sequence[float], **config: Any) -> list[int]:
    """What one distribution (1, 1, K) gives for each number."""
    numbers = torch.tensor([uniforms], dtype=torch.float64)
    return choose(logits.expand(1, len(uniforms), -1), SamplingConfig(**config), numbers)[0].tolist()


def left_in(logits: Tensor, **config: Any) -> set[int]:
    return set(restricted(logits, SamplingConfig(**config))[0, 0].isfinite().nonzero()[:, 0].tolist())


# ---- one token ----


@pytest.mark.parametrize(
    ("config", "tokens"),
    [
        ({}, {0, 1, 2, 3, 4}),
        ({"top_k": 1}, {2}),
        ({"top_k": 2}, {2, 4}),
        ({"top_k": 5}, {0, 1, 2, 3, 4}),
        ({"top_k": 99}, {0, 1, 2, 3, 4}),
        ({"top_p": 1e-9}, {2}),
        ({"top_p": 0.39}, {2}),
        ({"top_p": 0.41}, {2, 4}),
        ({"top_p": 0.69}, {2, 4}),
        ({"top_p": 0.71}, {0, 2, 4}),
        ({"top_p": 0.96}, {0, 1, 2, 3, 4}),
        ({"top_p": 1.0}, {0, 1, 2, 3, 4}),
        ({"top_k": 2, "top_p": 0.5}, {2}),  # 0.4 of 0.7 is enough for a half
        ({"top_k": 2, "top_p": 0.6}, {2, 4}),
    ],
)
def test_top_k_and_top_p_leave_exactly_these(config: dict[str, Any], tokens: set[int]) -> None:
    logits = logits_of(0.2, 0.05, 0.4, 0.05, 0.3)
    assert left_in(logits, **config) == tokens
    many = drawn(logits, torch.linspace(0, 1, 500, dtype=torch.float64)[:-1].tolist(), **config)
    assert set(many) == tokens


def test_tokens_as_probable_as_the_last_one_stay() -> None:
    logits = logits_of(0.1, 0.3, 0.1, 0.3, 0.2)
    assert left_in(logits, top_k=1) == {1, 3}
    assert left_in(logits, top_k=4) == {0, 1, 2, 3, 4}
    assert left_in(logits, top_p=0.1) == {1, 3}


def test_a_token_is_the_first_whose_cumulated_probability_is_above() -> None:
    below_one = math.nextafter(1.0, 0.0)
    logits = logits_of(0.25, 0.0, 0.25, 0.5, 0.0)
    assert drawn(logits, [0.0, 0.2499, 0.2501, 0.4999, 0.5001, below_one]) == [0, 0, 2, 2, 3, 3]
    assert drawn(logits_of(0.0, 1.0, 0.0), [0.0, 0.5, below_one]) == [1, 1, 1]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_are_drawn_as_often_as_the_probabilities_say(temperature: float) -> None:
    logits, count = torch.tensor([[[0.3, -1.2, 2.0, 0.9, -0.4, 1.1]]]), 20_000
    numbers = torch.rand(1, count, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    tokens = choose(logits.expand(1, count, -1), SamplingConfig(temperature), numbers)
    expected = (logits[0, 0].double() / temperature).softmax(0) * count
    chi_square = ((tokens.flatten().bincount(minlength=6) - expected) ** 2 / expected).sum()
    assert chi_square < 20.5  # of 5 degrees of freedom: once in a thousand


def test_temperature_0_takes_the_most_probable_token_and_almost_0_too() -> None:
    logits = torch.randn(2, 9, 30, generator=torch.Generator().manual_seed(2))
    numbers = torch.rand(2, 9, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    for temperature in (0.0, 1e-300, 1e-6):
        for more in ({}, {"top_k": 7}, {"top_p": 0.5}):
            tokens = choose(logits, SamplingConfig(temperature, **more), numbers)
            assert torch.equal(tokens, logits.argmax(2))


def test_guidance_goes_beyond_the_conditions() -> None:
    with_class, without = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([0.0, -1.0, 0.5])
    assert torch.equal(guided(with_class, without, 0.0), with_class)
    assert guided(with_class, without, 2.0).tolist() == [3.0, -4.0, 0.5]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"temperature": -0.1}, "temperature of -0.1"),
        ({"temperature": math.inf}, "temperature of inf"),
        ({"temperature": math.nan}, "temperature of nan"),
        ({"top_k": 0}, "top k of 0"),
        ({"top_p": 0.0}, "top p of 0.0"),
        ({"top_p": 1.01}, "top p of 1.01"),
        ({"top_p": math.nan}, "top p of nan"),
        ({"guidance": -1.0}, "guidance of -1.0"),
        ({"guidance": math.nan}, "guidance of nan"),
    ],
)
def test_a_config_outside_the_ranges(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SamplingConfig(**config)


# ---- a picture ----


def reference(
    prior: Prior, shapes: list[tuple[int, int]], seed: int, config: SamplingConfig, conditions: Conditions
) -> list[Tensor]:
    """All tokens of one picture by whole passes through the network, one for each group."""
    generator, tokens = torch.Generator().manual_seed(seed), []
    for level, shape in enumerate(shapes):
        tokens.append(torch.zeros(1, *shape, dtype=torch.int64))
        uniforms = torch.rand(shape[0] * shape[1], generator=generator, dtype=torch.float64)[None]
        for group in prior.config.order(level)(*shape).groups():
            positions = torch.tensor(group)
            logits = prior(tokens, level, conditions).flatten(1, 2)[:, positions]
            if config.guidance:
                logits = guided(logits, prior(tokens, level).flatten(1, 2)[:, positions], config.guidance)
            tokens[-1].view(1, -1)[:, positions] = choose(logits, config, uniforms[:, positions])
    return tokens


@pytest.mark.parametrize("order", ["wavefront", "quincunx", "raster", "spiral-out"])
@pytest.mark.parametrize("config", [SamplingConfig(), SamplingConfig(1.5, top_k=6, top_p=0.95, guidance=0.5)])
def test_the_cache_gives_what_whole_passes_give(order: str, config: SamplingConfig) -> None:
    prior = random_prior(codebook_sizes=(11, 7), factors=(32, 16), orders=(order, order), classes=3)
    conditions = Conditions(labels=torch.tensor([1]))
    sampled = sample_tokens(prior, (70, 50), seeds=[7], conditions=conditions, config=config)
    wanted = reference(prior, [(2, 3), (4, 5)], 7, config, conditions)
    assert all(torch.equal(a, b) for a, b in zip(sampled.tokens, wanted, strict=True))
    assert len(wanted[1].unique()) > 3


def test_a_picture_is_the_same_whatever_the_batch(prior: Prior) -> None:
    labels = torch.tensor([0, 2, 1])
    together = sample_tokens(prior, (64, 48), seeds=SEEDS, conditions=Conditions(labels))
    for number, seed in enumerate(SEEDS):
        alone = sample_tokens(prior, (64, 48), seeds=[seed], conditions=Conditions(labels[number : number + 1]))
        assert same(alone, pictures(together, slice(number, number + 1)))
    backwards = sample_tokens(prior, (64, 48), seeds=SEEDS[::-1], conditions=Conditions(labels.flip(0)))
    assert same(pictures(together, slice(2, 3)), pictures(backwards, slice(0, 1)))
    assert not torch.equal(together.tokens[0][0], together.tokens[0][1])


def test_seeds_of_a_series_differ_and_depend_on_both_numbers() -> None:
    seeds = {picture_seed(seed, number) for seed in range(20) for number in range(20)}
    assert len(seeds) == 400
    assert picture_seed(3, 5) == picture_seed(3, 5)
    with pytest.raises(ValueError, match="non-negative"):
        picture_seed(-1, 0)


def test_labels_guidance_and_seed_all_matter(prior: Prior) -> None:
    def made(label: int | None = 0, guidance: float = 0.0, seed: int = 1) -> Tensor:
        conditions = NO_CONDITIONS if label is None else Conditions(torch.tensor([label]))
        config = SamplingConfig(guidance=guidance)
        return sample_tokens(prior, (64, 48), seeds=[seed], conditions=conditions, config=config).tokens[0]

    grids = [made(), made(label=1), made(label=None), made(guidance=3.0), made(seed=2)]
    assert all(not torch.equal(a, b) for number, a in enumerate(grids) for b in grids[:number])
    assert torch.equal(made(), made())


def test_a_condition_matters() -> None:
    prior = random_prior(**LEVELS, condition=ConditionConfig("depth", codebook_sizes=(5,), factor=16))
    grid = torch.arange(12).view(1, 1, 3, 4) % 5
    made = [
        sample_tokens(prior, (64, 48), seeds=[1], conditions=conditions, config=SamplingConfig(guidance=guidance))
        for conditions, guidance in ((NO_CONDITIONS, 0.0), (Conditions(grid=grid), 0.0), (Conditions(grid=grid), 2.0))
    ]
    assert not same(made[0], made[1])
    assert not same(made[1], made[2])


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (17, 15), (33, 70)])
def test_the_sizes_of_the_grids(size: tuple[int, int]) -> None:
    prior = random_prior(codebook_sizes=(11, 7, 5), factors=(64, 32, 16), orders=("quincunx", "raster", "wavefront"))
    wanted = [(-(-size[1] // factor), -(-size[0] // factor)) for factor in (64, 32, 16)]
    assert grid_shapes(prior.config, size) == wanted
    sampled = sample_tokens(prior, size, seeds=SEEDS[:2])
    assert [tuple(grid.shape) for grid in sampled.tokens] == [(2, *shape) for shape in wanted]
    assert [grid.shape for grid in sampled.bits] == [grid.shape for grid in sampled.tokens]
    assert count_tokens(prior.config, size, 2) == sum(rows * cols for rows, cols in wanted[:2])
    for grid, codes in zip(sampled.tokens, (11, 7, 5), strict=True):
        assert int(grid.min()) >= 0
        assert int(grid.max()) < codes


def test_fewer_levels_are_the_first_of_all(prior: Prior) -> None:
    everything = sample_tokens(prior, (64, 48), seeds=SEEDS)
    first = sample_tokens(prior, (64, 48), seeds=SEEDS, levels=1)
    assert len(first.tokens) == 1
    assert torch.equal(first.tokens[0], everything.tokens[0])


def test_progress_counts_every_token_of_every_picture(prior: Prior) -> None:
    told: list[int] = []
    sample_tokens(prior, (64, 48), seeds=SEEDS, progress=told.append)
    assert sum(told) == 3 * count_tokens(prior.config, (64, 48))
    assert len(told) == 2 * (2 * 3 + 4 - 2)


def test_bfloat16(prior: Prior) -> None:
    half = random_prior(**LEVELS, classes=3).bfloat16()
    sampled = sample_tokens(half, (64, 48), seeds=SEEDS, conditions=Conditions(torch.tensor([0, 1, 2])))
    exact = token_bits(prior, sampled.tokens, Conditions(torch.tensor([0, 1, 2])))
    for bits, wanted in zip(sampled.bits, exact, strict=True):
        assert bits.dtype == torch.float32
        assert torch.allclose(bits, wanted, atol=0.3)


# ---- parts that are given ----


def random_tokens(*shapes: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(4)
    return [torch.randint(codes, shape, generator=generator) for codes, shape in zip((11, 7, 5), shapes, strict=False)]


@pytest.mark.parametrize("order", ["wavefront", "quincunx"])
def test_tokens_that_are_not_under_the_mask_stay(order: str) -> None:
    prior = random_prior(**LEVELS | {"orders": (order, order)})
    given = random_tokens((1, 3, 4), (1, 3, 4))
    masks = [torch.zeros(3, 4, dtype=torch.bool) for _ in given]
    masks[0][1:, 2:], masks[1][1:, 1:] = True, True
    sampled = sample_tokens(prior, (64, 48), seeds=SEEDS, known=given, masks=masks)
    for tokens, known, mask in zip(sampled.tokens, given, masks, strict=True):
        assert torch.equal(tokens[:, ~mask], known.expand(3, -1, -1)[:, ~mask])
        assert len({tuple(picture[mask].tolist()) for picture in tokens}) > 1


def test_masks_may_differ_by_picture_and_do_not_change_another(prior: Prior) -> None:
    given = random_tokens((3, 3, 4), (3, 3, 4))
    masks = [torch.rand(3, 3, 4, generator=torch.Generator().manual_seed(5)) < 0.4 for _ in given]
    together = sample_tokens(prior, (64, 48), seeds=SEEDS, known=given, masks=masks)
    for number, seed in enumerate(SEEDS):
        part = slice(number, number + 1)
        alone = sample_tokens(
            prior, (64, 48), seeds=[seed], known=[grid[part] for grid in given], masks=[mask[part] for mask in masks]
        )
        assert same(alone, pictures(together, part))
    for tokens, known, mask in zip(together.tokens, given, masks, strict=True):
        assert torch.equal(tokens[~mask], known[~mask])


def test_a_mask_of_everything_is_as_nothing_given_and_none_keeps_all(prior: Prior) -> None:
    given = random_tokens((1, 3, 4), (1, 3, 4))
    free = sample_tokens(prior, (64, 48), seeds=SEEDS)
    everything = [torch.ones(3, 4, dtype=torch.bool)] * 2
    assert same(sample_tokens(prior, (64, 48), seeds=SEEDS, known=given, masks=everything), free)
    kept = sample_tokens(prior, (64, 48), seeds=SEEDS, known=given)
    assert all(torch.equal(a, b.expand(3, -1, -1)) for a, b in zip(kept.tokens, given, strict=True))


def test_levels_that_are_not_given_are_sampled(prior: Prior) -> None:
    free = sample_tokens(prior, (64, 48), seeds=SEEDS)
    assert same(sample_tokens(prior, (64, 48), seeds=SEEDS, known=free.tokens[:1]), free)
    other = sample_tokens(prior, (64, 48), seeds=SEEDS, known=random_tokens((1, 3, 4)))
    assert not torch.equal(other.tokens[1], free.tokens[1])


@pytest.mark.parametrize("order", ["wavefront", "quincunx"])
def test_bits_are_those_of_the_probabilities(order: str) -> None:
    prior = random_prior(codebook_sizes=(11, 7), factors=(32, 16), orders=(order, order), classes=3)
    tokens, conditions = random_tokens((2, 2, 3), (2, 4, 6)), Conditions(torch.tensor([2, 0]))
    bits = token_bits(prior, tokens, conditions)
    for level, grid in enumerate(tokens):
        nats = -prior(tokens, level, conditions).log_softmax(3).gather(3, grid[..., None])[..., 0]
        assert torch.allclose(bits[level], nats / math.log(2), atol=1e-4)
    sampled = sample_tokens(prior, (96, 64), seeds=[1, 2], conditions=conditions, config=SamplingConfig(0.5, top_k=3))
    for told, wanted in zip(sampled.bits, token_bits(prior, sampled.tokens, conditions), strict=True):
        assert torch.allclose(told, wanted, atol=1e-4)


# ---- what is refused ----


GRID = torch.zeros(1, 3, 4, dtype=torch.int64)
MASK = torch.zeros(3, 4, dtype=torch.bool)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"levels": 0}, "levels 0: there are 1 to 2"),
        ({"levels": 3}, "levels 3: there are 1 to 2"),
        ({"size": (0, 5)}, "a picture of 0 x 5 has no pixels"),
        ({"config": SamplingConfig(guidance=1.0)}, "give one, or a guidance of 0"),
        ({"known": [GRID[:, :2]]}, r"level 1 is \(3, 3, 4\) for this picture, but tokens \(1, 2, 4\) were given"),
        ({"known": [GRID[0]]}, "level 1 is"),
        ({"known": [GRID.expand(2, -1, -1)]}, "level 1 is"),
        ({"known": [GRID, GRID + 7]}, "tokens of level 2 are 0 to 6, not 7 to 7"),
        ({"known": [GRID - 1]}, "tokens of level 1 are 0 to 10, not -1 to -1"),
        ({"masks": [MASK]}, "a mask for each level known: 1 for 0"),
        ({"known": [GRID, GRID], "masks": [MASK]}, "a mask for each level known: 1 for 2"),
        ({"known": [GRID], "masks": [MASK[:, :2]]}, r"the mask of level 1 is bool \(3, 4\), not bool \(3, 2\)"),
        ({"known": [GRID], "masks": [MASK.long()]}, r"not int64 \(3, 4\)"),
    ],
)
def test_arguments_that_do_not_go_together(prior: Prior, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sample_tokens(prior, **{"size": (64, 48), "seeds": SEEDS} | arguments)


def test_bits_of_too_many_levels_or_none(prior: Prior) -> None:
    with pytest.raises(ValueError, match="levels 0: there are 1 to 2"):
        token_bits(prior, [])
    with pytest.raises(ValueError, match="levels 3: there are 1 to 2"):
        token_bits(prior, [GRID] * 3)
    with pytest.raises(ValueError, match="level 1 is"):
        token_bits(prior, [GRID[:, :2], GRID])


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_predictions_that_are_not_numbers(temperature: float) -> None:
    prior = random_prior(**LEVELS)
    prior.norm.weight[3] = math.nan
    with pytest.raises(ModelError, match="predictions are not numbers"):
        sample_tokens(prior, (64, 48), seeds=SEEDS, config=SamplingConfig(temperature))
