"""The prior: what each prediction depends on, all at once and group by group, conditions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from influence_helpers import influence, random_tokens, randomise
from torch import Tensor

from vqcodec.prior.conditions import NO_CONDITIONS, Conditions
from vqcodec.prior.config import ConditionConfig, PriorConfig
from vqcodec.prior.orders import ORDERS, OrderedGrid
from vqcodec.prior.transformer import LevelPass, Prior

SIZES = (7, 5)


def make_config(order: str = "raster", **changes: Any) -> PriorConfig:
    """Two levels, the finer one of half the tokens' side."""
    values: dict[str, Any] = {"width": 16, "depth": 2, "heads": 2, "token_width": 4, "radius": 2}
    return PriorConfig(SIZES, (32, 16), (order, order), **values | changes)


def make_prior(order: str = "raster", *, seed: int = 0, **changes: Any) -> Prior:
    torch.manual_seed(seed)
    made = Prior(make_config(order, **changes))
    randomise(made, seed=seed)
    return made


def make_tokens(rows: int, cols: int, batch: int = 1, *, seed: int = 0) -> list[Tensor]:
    """Both levels; rows and cols: of the coarser one."""
    return [
        random_tokens(batch, rows << level, cols << level, codes=codes, seed=seed + level)
        for level, codes in enumerate(SIZES)
    ]


@pytest.fixture(autouse=True)
def _no_gradients_and_one_seed() -> Any:
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        yield


every_order = pytest.mark.parametrize("order", ORDERS)
every_level = pytest.mark.parametrize("level", [0, 1])


# ---- what a prediction depends on ----


def reach(grid: OrderedGrid, offsets: tuple[tuple[int, int], ...], depth: int, radius: int) -> Tensor:
    """(N, N) bool in raster order: whether the logits at the second position may depend on the token at the first."""
    count, cols = len(grid.positions), grid.shape[1]
    ranks, rows = torch.tensor(grid.ranks()[grid.places()]), torch.arange(count) // cols
    columns = torch.arange(count) % cols
    is_near = torch.maximum((rows[:, None] - rows).abs(), (columns[:, None] - columns).abs()) <= radius
    attends = is_near & (ranks[None] <= ranks[:, None])
    depends = torch.zeros(count, count, dtype=torch.bool)
    for position, known in enumerate(grid.neighbours(offsets)[grid.places()]):
        depends[position, known[known >= 0]] = True
    for _ in range(depth):
        depends = (attends.float() @ depends.float()) > 0
    return depends.T


@every_order
@every_level
@pytest.mark.parametrize("depth", [1, 2])
def test_logits_depend_on_earlier_groups_within_reach_and_on_nothing_else(order: str, level: int, depth: int) -> None:
    prior = make_prior(order, depth=depth, radius=1)
    rows, cols = (5, 7) if level == 0 else (6, 4)
    coarser = make_tokens(3, 2)[:level]

    def logits(tokens: Tensor) -> Tensor:
        return prior([*(grid.expand(len(tokens), -1, -1) for grid in coarser), tokens], level)

    changes = influence(logits, random_tokens(rows, cols, codes=SIZES[level], seed=3), SIZES[level])
    grid = ORDERS[order](rows, cols)
    ranks = torch.tensor(grid.ranks()[grid.places()])
    assert not (changes & (ranks[:, None] >= ranks[None])).any()  # itself, its group, or a later one
    assert torch.equal(changes, reach(grid, ORDERS[order].offsets, depth, radius=1))


def test_depth_1_reaches_the_radius_and_the_offsets_around_it() -> None:
    radius, far = 2, max(abs(step) for offset in ORDERS["raster"].offsets for step in offset)
    prior = make_prior("raster", depth=1, radius=radius)
    tokens = random_tokens(12, 13, codes=SIZES[0])
    before = prior([tokens[None]], 0)[0]
    for row, col in [(0, 6), (5, 0), (5, 12)]:
        other = tokens.clone()
        other[row, col] = (other[row, col] + 1) % SIZES[0]
        places = (prior([other[None]], 0)[0] != before).any(dim=2).nonzero()
        distance = torch.maximum((places[:, 0] - row).abs(), (places[:, 1] - col).abs())
        assert radius < int(distance.max()) <= radius + far


@every_order
def test_the_first_group_is_predicted_without_any_token(order: str) -> None:
    prior = make_prior(order)
    first = torch.tensor(ORDERS[order](3, 4).groups()[0])
    one, other = (prior([random_tokens(1, 3, 4, codes=SIZES[0], seed=seed)], 0).flatten(1, 2) for seed in (0, 1))
    assert torch.equal(one[:, first], other[:, first])


# ---- levels ----


def test_coarser_levels_matter_where_they_lie_and_finer_ones_do_not() -> None:
    prior = make_prior("raster", depth=1, radius=1)
    coarse, fine = make_tokens(4, 5)

    def logits(tokens: Tensor) -> Tensor:
        return prior([tokens, fine.expand(len(tokens), -1, -1)], 1)

    changes = influence(logits, coarse[0], SIZES[0]).view(4, 5, 8, 10)
    expected = torch.zeros_like(changes)
    for row in range(4):
        for col in range(5):
            # a 3 x 3 convolution, then attention to slots at most one away, but not below or, in its row, to the right
            top, left = 2 * row - 1, 2 * col - 1
            reached = {(r, c) for r in range(top, top + 4) for c in range(left, left + 4) if 0 <= r < 8 and 0 <= c < 10}
            for r, c in reached:
                for down, right in [(0, 0), (0, 1), (1, -1), (1, 0), (1, 1)]:
                    if r + down < 8 and 0 <= c + right < 10:
                        expected[row, col, r + down, c + right] = True
    assert torch.equal(changes, expected)

    first = prior([coarse, fine], 0)
    assert torch.equal(prior([coarse, (fine + 1) % SIZES[1]], 0), first)
    assert torch.equal(prior([coarse], 0), first)


def test_levels_of_one_size_know_that_they_differ() -> None:
    torch.manual_seed(0)
    prior = Prior(PriorConfig((6, 6), (16, 16), ("raster", "raster"), width=8, depth=1, heads=1, token_width=4))
    randomise(prior)
    tokens = [random_tokens(1, 4, 4, codes=6)] * 2
    assert not torch.allclose(prior(tokens, 0), prior(tokens, 1))


def test_a_coarser_grid_may_be_larger_than_needed_but_not_smaller() -> None:
    prior = make_prior()
    coarse = make_tokens(3, 3)[0]
    fine = random_tokens(1, 5, 3, codes=SIZES[1])
    assert torch.equal(prior([coarse, fine], 1), prior([coarse[:, :, :2], fine], 1))
    for smaller in (coarse[:, :2], coarse[:, :, :1]):
        shape = rf"\({smaller.shape[1]}, {smaller.shape[2]}\)"
        with pytest.raises(ValueError, match=rf"a grid of {shape} does not cover one of \(5, 3\)"):
            prior([smaller, fine], 1)
        with pytest.raises(ValueError, match=rf"a grid of {shape} does not cover one of \(5, 3\)"):
            prior.begin([smaller], (5, 3))


def test_tokens_shown_in_place_of_the_levels_own() -> None:
    prior = make_prior()
    coarse, fine = make_tokens(2, 3)
    shown = (fine + 2) % SIZES[1]
    assert torch.equal(prior([coarse, fine], 1, seen=shown), prior([coarse, shown], 1))
    assert torch.equal(prior([coarse, fine], 1, seen=fine), prior([coarse, fine], 1))


# ---- group by group ----


def all_steps(prior: Prior, tokens: list[Tensor], level: int, conditions: Conditions = NO_CONDITIONS) -> Tensor:
    """(B, h, w, K) of all groups in turn; what is not known yet when it is asked for is wrong on purpose."""
    batch, rows, cols = tokens[level].shape
    codes = SIZES[level]
    level_pass = prior.begin(tokens[:level], (rows, cols), batch=batch, conditions=conditions)
    known = random_tokens(batch, rows * cols, codes=codes, seed=99)
    logits = torch.full((batch, rows * cols, codes), torch.nan)
    for group in level_pass.groups:
        logits[:, group] = level_pass.logits(known)
        known[:, group] = tokens[level].flatten(1)[:, group]
    return logits.view(batch, rows, cols, codes)


@every_order
@every_level
@pytest.mark.parametrize("shape", [(3, 7), (6, 1), (1, 1), (5, 4)])
def test_group_by_group_is_the_same_as_all_at_once(order: str, level: int, shape: tuple[int, int]) -> None:
    prior = make_prior(order, radius=2)
    tokens = make_tokens(*shape, batch=2)
    expected = prior(tokens, level)
    assert expected.shape == (*tokens[level].shape, SIZES[level])
    torch.testing.assert_close(all_steps(prior, tokens, level), expected, atol=1e-5, rtol=1e-5)


@every_order
def test_a_pass_takes_grids_much_larger_than_the_radius(order: str) -> None:
    prior = make_prior(order, radius=1, depth=3)
    tokens = make_tokens(17, 11)
    torch.testing.assert_close(all_steps(prior, tokens, 0), prior(tokens, 0), atol=1e-5, rtol=1e-5)


def test_a_pass_has_the_groups_of_the_levels_order() -> None:
    prior = Prior(PriorConfig((4, 4), (32, 16), ("raster", "quincunx"), width=8, heads=1))
    first = prior.begin([], (2, 3))
    second = prior.begin([random_tokens(3, 2, 3, codes=4)], (4, 6), batch=3)
    assert isinstance(second, LevelPass)
    for level_pass, order, shape in [(first, "raster", (2, 3)), (second, "quincunx", (4, 6))]:
        assert level_pass.grid is ORDERS[order](*shape)
        groups = [group.tolist() for group in level_pass.groups]
        assert groups == [group.tolist() for group in level_pass.grid.groups()]
        assert level_pass.groups[0].dtype == torch.int64
    assert second.logits(torch.zeros(3, 24, dtype=torch.int64)).shape == (3, 1, 4)
    with pytest.raises(ValueError, match="0 x 3"):
        prior.begin([], (0, 3))


# ---- grids of any size ----


@pytest.mark.parametrize(("order", "shift"), [("raster", (1, 2)), ("wavefront", (3, 1)), ("quincunx", (8, 8))])
def test_far_from_the_border_only_the_tokens_around_count(order: str, shift: tuple[int, int]) -> None:
    depth, radius = (1, 2) if order == "raster" else (2, 1)
    prior = make_prior(order, depth=depth, radius=radius)
    down, right = shift
    large = random_tokens(1, 30, 31, codes=SIZES[0])
    window = large[:, down : down + 22, right : right + 22]
    whole, part = prior([large], 0)[:, down : down + 22, right : right + 22], prior([window], 0)
    far = 8 if order == "quincunx" else 2  # offsets of up to two tokens, there in steps of up to four
    inner = slice(depth * radius + far, 22 - depth * radius - far)
    torch.testing.assert_close(part[:, inner, inner], whole[:, inner, inner], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(part[:, :2, :2], whole[:, :2, :2], atol=1e-2)  # the border is seen


@every_order
def test_logits_of_a_batch_are_those_of_each_picture(order: str) -> None:
    prior = make_prior(order)
    tokens = make_tokens(3, 3, batch=3)
    for level in (0, 1):
        alone = torch.cat([prior([grid[[number]] for grid in tokens], level) for number in range(3)])
        torch.testing.assert_close(prior(tokens, level), alone, atol=1e-5, rtol=1e-5)


# ---- the start ----


@every_order
@every_level
def test_untrained_all_codes_are_equally_likely(order: str, level: int) -> None:
    torch.manual_seed(1)
    assert not Prior(make_config(order))(make_tokens(2, 3), level).any()


def test_dropout_is_for_training_only() -> None:
    torch.manual_seed(1)
    prior = Prior(make_config(dropout=0.5))
    randomise(prior)
    tokens = make_tokens(2, 3)
    assert torch.equal(prior(tokens, 0), prior(tokens, 0))
    prior.train()
    assert not torch.equal(prior(tokens, 0), prior(tokens, 0))


def test_one_step_of_training_moves_every_weight_of_the_level() -> None:
    torch.manual_seed(1)
    condition = ConditionConfig("depth", (4,), 32)
    prior = Prior(make_config(classes=3, condition=condition, coordinates=True))
    randomise(prior)
    prior.requires_grad_(True)
    tokens = make_tokens(3, 3, batch=2)
    given = Conditions(labels=torch.tensor([0, 3]), grid=random_tokens(2, 3, 3, codes=4)[:, None])
    with torch.enable_grad():
        sum(prior(tokens, level, given).square().mean() for level in (0, 1)).backward()
    # the start token of the finest level alone stands for what is not known of it
    assert [name for name, weight in prior.named_parameters() if weight.grad is None] == []
    assert all(weight.grad.isfinite().all() and weight.grad.any() for weight in prior.parameters())


def test_a_grid_may_be_measured_before_it_is_trained_on() -> None:
    prior = make_prior("quincunx", classes=2, coordinates=True)
    tokens = [random_tokens(1, 5, 23, codes=SIZES[0])]  # a grid of no other test
    prior.bits(tokens, 0)
    prior.requires_grad_(True)
    with torch.enable_grad():
        prior(tokens, 0).square().mean().backward()
    assert prior.spacings.weight.grad is not None


# ---- bits ----


@every_level
def test_bits_of_tokens(level: int) -> None:
    prior, tokens = make_prior("quincunx", classes=3), make_tokens(3, 4, batch=2)
    given = Conditions(labels=torch.tensor([1, 2]))
    bits = prior.bits(tokens, level, given)
    assert (bits.shape, bits.dtype) == (tokens[level].shape, torch.float32)
    pmf = prior(tokens, level, given).softmax(dim=3)
    expected = -pmf.gather(3, tokens[level][..., None])[..., 0].log2()
    torch.testing.assert_close(bits, expected, atol=1e-4, rtol=1e-4)
    untrained = Prior(make_config()).bits(tokens, level)
    torch.testing.assert_close(untrained, torch.full_like(untrained, float(np.log2(SIZES[level]))))


# ---- conditions ----


def test_labels() -> None:
    prior = make_prior(classes=3)
    tokens = make_tokens(2, 2, batch=4)
    logits = [prior(tokens, 0, Conditions(labels=torch.full((4,), label))) for label in range(4)]
    for label in range(3):
        assert not torch.allclose(logits[label], logits[label + 1])
    assert torch.equal(logits[3], prior(tokens, 0))
    mixed = prior(tokens, 0, Conditions(labels=torch.arange(4)))
    for label in range(4):
        torch.testing.assert_close(mixed[label], logits[label][label], atol=1e-5, rtol=1e-5)
    given = Conditions(labels=torch.arange(4))
    torch.testing.assert_close(all_steps(prior, tokens, 1, given), prior(tokens, 1, given), atol=1e-5, rtol=1e-5)


def test_a_prior_without_classes_takes_no_labels() -> None:
    with pytest.raises(ValueError, match="this prior knows no classes"):
        make_prior()(make_tokens(2, 2), 0, Conditions(labels=torch.tensor([0])))


#: pixels for a token of the condition -> side of its grid beside tokens (4, 6) of 32 pixels
CONDITION_SIZES = {16: (8, 12), 32: (4, 6), 64: (2, 3)}


@pytest.mark.parametrize("factor", CONDITION_SIZES)
@every_level
def test_a_grid_as_condition(factor: int, level: int) -> None:
    prior = make_prior("wavefront", depth=1, radius=1, condition=ConditionConfig("depth", (4, 3), factor))
    tokens = make_tokens(4, 6, batch=2)
    shape = CONDITION_SIZES[factor]
    grid = torch.stack([random_tokens(2, *shape, codes=codes, seed=codes) for codes in (4, 3)], dim=1)
    given = Conditions(grid=grid)
    logits = prior(tokens, level, given)
    torch.testing.assert_close(all_steps(prior, tokens, level, given), logits, atol=1e-5, rtol=1e-5)

    unknown = torch.full_like(grid, -1)
    nothing = prior(tokens, level)
    torch.testing.assert_close(prior(tokens, level, Conditions(grid=unknown)), nothing, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(logits, nothing)

    other = grid.clone()
    other[0, 1, 0, 0] = -1
    changed = (prior(tokens, level, Conditions(grid=other)) != logits).any(dim=3)
    own = prior.config.factors[level]
    # its own pixels, one token around by the convolution, and one by attention
    reached = -(-factor // own) + 2
    assert changed[0, 0, 0]
    assert changed[0, reached - 1].any()
    assert not changed[0, reached:].any()
    assert not changed[0, :, reached:].any()
    assert not changed[1].any()


def test_a_condition_that_does_not_cover_the_grid_is_refused() -> None:
    prior = make_prior(condition=ConditionConfig("depth", (4,), 32))
    grid = random_tokens(1, 2, 1, codes=4)[:, None]
    with pytest.raises(ValueError, match=r"a grid of \(2, 1\) does not cover one of \(2, 2\)"):
        prior(make_tokens(2, 2), 0, Conditions(grid=grid))


@pytest.mark.parametrize("shape", [(1, 2, 2), (1, 1, 2, 2), (1, 3, 2, 2)])
def test_a_condition_of_other_levels_is_refused(shape: tuple[int, ...]) -> None:
    prior = make_prior(condition=ConditionConfig("depth", (4, 3), 32))
    with pytest.raises(ValueError, match="the condition has 2 levels"):
        prior(make_tokens(2, 2), 0, Conditions(grid=torch.zeros(shape, dtype=torch.int64)))


def test_a_prior_without_condition_takes_no_grid() -> None:
    with pytest.raises(ValueError, match="this prior takes no grid as condition"):
        make_prior()(make_tokens(2, 2), 0, Conditions(grid=random_tokens(1, 2, 2, codes=4)[:, None]))


def test_coordinates_are_those_in_the_whole_picture() -> None:
    prior = make_prior("raster", depth=1, radius=1, coordinates=True)
    large = random_tokens(1, 14, 15, codes=SIZES[0])
    window = large[:, 3:13, 4:14]
    whole = prior([large], 0)[:, 3:13, 4:14]
    part = prior([window], 0, Conditions(origin=((3, 4), (14, 15))))
    inner = slice(3, -3)
    torch.testing.assert_close(part[:, inner, inner], whole[:, inner, inner], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(prior([window], 0)[:, inner, inner], whole[:, inner, inner], atol=1e-3)
    given = Conditions(origin=((3, 4), (14, 15)))
    torch.testing.assert_close(all_steps(prior, [window], 0, given), part, atol=1e-5, rtol=1e-5)
    assert prior([large[:, :1, :1]], 0).isfinite().all()


def test_without_coordinates_the_origin_does_not_matter() -> None:
    prior, tokens = make_prior(), make_tokens(2, 2)
    assert torch.equal(prior(tokens, 0, Conditions(origin=((3, 4), (14, 15)))), prior(tokens, 0))
