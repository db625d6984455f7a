"""Tokens from the prior: level by level, group by group, all of them or those under a mask.

Each picture has a seed and each position of each level a number of it, so that a picture does not depend on the others
of its batch, nor a token's draw on the order of the tokens or on the mask. What the networks compute may differ in the
last bit between batches of several sizes, between devices and between number types; where a draw lies that close to a
boundary, the picture goes another way from there on.

Shapes: B batch, h w rows and columns of a level's grid, N = h w, n tokens of one group, K codes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from vqcodec.cards.errors import ModelError
from vqcodec.generation.config import DrawnLevels, SamplingConfig
from vqcodec.generation.finer_levels import CodedPass, GeneratingPrior, Pass, PriorWithFinerLevels
from vqcodec.prior.conditions import NO_CONDITIONS, Conditions
from vqcodec.prior.config import PriorConfig
from vqcodec.prior.context_config import ContextConfig
from vqcodec.prior.sequence_config import SequenceConfig

__all__ = [
    "SampledTokens",
    "choose",
    "count_tokens",
    "grid_shapes",
    "guided",
    "picture_seed",
    "restricted",
    "sample_tokens",
    "token_bits",
]


@dataclass(frozen=True)
class SampledTokens:
    """tokens: (B, h, w) int64 of each level. bits: (B, h, w) float32, see `token_bits`. Both on the CPU."""

    tokens: list[Tensor]
    bits: list[Tensor]


def picture_seed(seed: int, number: int) -> int:
    """The seed of a picture of a series: of these two numbers, 0 or more each, and nothing else."""
    return int(np.random.SeedSequence((seed, number)).generate_state(1, np.uint32)[0])


#: what tokens are drawn from, and the shape of its levels
Predictor: TypeAlias = GeneratingPrior | PriorWithFinerLevels
Levels: TypeAlias = PriorConfig | SequenceConfig | ContextConfig | DrawnLevels


def grid_shapes(config: Levels, size: tuple[int, int], levels: int | None = None) -> list[tuple[int, int]]:
    """(rows, cols) of the first levels, all by default, for a picture of size (width, height) in pixels.

    Raises ValueError for a picture without pixels, or levels that the prior has not.
    """
    count = config.levels if levels is None else levels
    if not 1 <= count <= config.levels:
        raise ValueError(f"levels {count}: there are 1 to {config.levels}")
    width, height = size
    if min(size) < 1:
        raise ValueError(f"a picture of {width} x {height} has no pixels")
    return [(-(-height // factor), -(-width // factor)) for factor in config.factors[:count]]


def count_tokens(config: Levels, size: tuple[int, int], levels: int | None = None) -> int:
    """How many tokens the first levels have together, for a picture of size (width, height) in pixels.

    Raises what `grid_shapes` raises.
    """
    return sum(rows * cols for rows, cols in grid_shapes(config, size, levels))


@torch.inference_mode()
def sample_tokens(
    prior: Predictor,
    size: tuple[int, int],
    *,
    seeds: Sequence[int],
    conditions: Conditions = NO_CONDITIONS,
    config: SamplingConfig | None = None,
    levels: int | None = None,
    known: Sequence[Tensor] = (),
    masks: Sequence[Tensor] | None = None,
    progress: Callable[[int], object] | None = None,
) -> SampledTokens:
    """One picture of size (width, height) in pixels for each seed. B is how many seeds there are.

    conditions: of each picture. levels: the first so many; all by default. known: tokens that are known, (B, h, w) or
    (1, h, w) for all alike, of the first levels. masks: of each level known bool (h, w) or (B, h, w), True where a
    token is to be filled all the same; by default nowhere. progress: is called after each group with how many tokens,
    of all pictures, were done in it.

    Tokens under a mask know all that is coarser, but of their own level only what comes before in the prior's order.
    Raises ValueError for arguments that do not go together, ModelError for a prior whose predictions are not numbers.
    """
    shapes = grid_shapes(prior.config, size, levels)
    config = config or SamplingConfig()
    if config.guidance and conditions.labels is None and conditions.grid is None:
        raise ValueError("guidance leads towards a class or a condition: give one, or a guidance of 0")
    if masks is not None and len(masks) != len(known):
        raise ValueError(f"there must be a mask for each level known: {len(masks)} for {len(known)}")
    batch, device = len(seeds), next(prior.parameters()).device
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    conditions = _moved(conditions, device)
    others = [replace(conditions, labels=None, grid=None)] if config.guidance else []
    tokens: list[Tensor] = []
    bits: list[Tensor] = []
    for number, (rows, cols) in enumerate(shapes):
        start, fill = _start(prior.config, number, (batch, rows, cols), known, masks)
        uniforms = [torch.rand(rows * cols, generator=each, dtype=torch.float64) for each in generators]
        is_coded = isinstance(prior, PriorWithFinerLevels) and number >= prior.prior.config.levels
        told = (conditions, *([] if is_coded else others))
        passes = [prior.begin(tokens, (rows, cols), batch=batch, conditions=each) for each in told]
        level = _Level(passes, start.flatten(1).to(device), fill.flatten(1), torch.stack(uniforms))
        bits.append(_fill(level, config, progress).view(batch, rows, cols).cpu())
        tokens.append(level.known.view(batch, rows, cols))
        if bool(bits[-1].isnan().any()):
            raise ModelError("the prior's predictions are not numbers: its weights are damaged, or its training failed")
    return SampledTokens([grid.cpu() for grid in tokens], bits)


def token_bits(prior: Predictor, tokens: Sequence[Tensor], conditions: Conditions = NO_CONDITIONS) -> list[Tensor]:
    """-log2 of the probability of each token given those before it, (B, h, w) float32 for each level, on the CPU.

    tokens: (B, h, w) int64 of the first levels. Their sum is what an ideal coder would need. Raises ValueError for
    grids that do not go together.
    """
    rows, cols = tokens[-1].shape[1:] if tokens else (0, 0)
    factor = prior.config.factors[min(len(tokens), prior.config.levels) - 1]
    seeds = [0] * len(tokens[-1]) if tokens else []
    return sample_tokens(
        prior, (cols * factor, rows * factor), seeds=seeds, conditions=conditions, levels=len(tokens), known=tokens
    ).bits


@dataclass(frozen=True)
class _Level:
    """passes: of the conditions, and for guidance of none. known: (B, N) int64, is written to.

    fill: (B, N) bool; uniforms: (B, N) float64 in [0, 1); both on the CPU. All in raster order.
    """

    passes: Sequence[Pass | CodedPass]
    known: Tensor
    fill: Tensor
    uniforms: Tensor


def _fill(level: _Level, config: SamplingConfig, progress: Callable[[int], object] | None) -> Tensor:
    """Choose the tokens where `fill` says so, into `known`. Returns the bits of all tokens, (B, N)."""
    known, groups = level.known, level.passes[0].groups
    bits = torch.zeros(known.shape, device=known.device)
    on_cpu = torch.cat(groups).cpu().split([len(group) for group in groups])
    for positions, here in zip(groups, on_cpu, strict=True):
        logits = [each.logits(known).float() for each in level.passes]
        fill = level.fill[:, here]
        if bool(fill.any()):
            wanted = guided(logits[0], logits[1], config.guidance) if len(logits) > 1 else logits[0]
            chosen = choose(wanted, config, level.uniforms[:, here])
            known[:, positions] = torch.where(fill.to(known.device), chosen, known[:, positions])
        nats = -logits[0].log_softmax(2).gather(2, known[:, positions][..., None])[..., 0]
        bits[:, positions] = nats / math.log(2)
        if progress is not None:
            progress(fill.numel())
    return bits


def guided(conditional: Tensor, unconditional: Tensor, guidance: float) -> Tensor:
    """Logits (B, n, K) of classifier-free guidance, see `SamplingConfig`, of logits of the same shape."""
    return unconditional + (1 + guidance) * (conditional - unconditional)


def choose(logits: Tensor, config: SamplingConfig, uniforms: Tensor) -> Tensor:
    """Logits (B, n, K) -> tokens (B, n) int64.

    uniforms: (B, n) float64 in [0, 1), what each token is drawn with: the first whose cumulated probability is above.
    """
    if config.temperature == 0:
        return logits.argmax(2)
    if logits.device.type == "mps":  # it has no float64
        return choose(logits.cpu(), config, uniforms).to(logits.device)
    logits = logits.double()
    logits = (logits - logits.amax(2, keepdim=True)) / config.temperature
    cumulated = restricted(logits, config).softmax(2).cumsum(2)
    drawn = uniforms[..., None].to(logits.device) * cumulated[..., -1:]
    chosen = torch.searchsorted(cumulated, drawn, right=True)[..., 0]
    return chosen.clamp_max(logits.shape[2] - 1)  # beyond it only where a logit is not a number


def restricted(logits: Tensor, config: SamplingConfig) -> Tensor:
    """Logits (..., K) with -inf for the tokens that top_k and top_p leave out.

    Tokens that are as probable as the last one in stay in, too.
    """
    size = logits.shape[-1]
    count, top_p = min(config.top_k or size, size), config.top_p or 1.0
    if count == size and top_p == 1:
        return logits
    ranked = logits.topk(count).values
    last = torch.full_like(ranked[..., :1], count - 1, dtype=torch.int64)
    if top_p < 1:
        probabilities = ranked.softmax(-1)
        before = probabilities.cumsum(-1) - probabilities
        last = (before < top_p).sum(-1, keepdim=True) - 1
    return logits.masked_fill(logits < ranked.gather(-1, last), -torch.inf)


def _start(
    config: Levels,
    level: int,
    shape: tuple[int, int, int],
    known: Sequence[Tensor],
    masks: Sequence[Tensor] | None,
) -> tuple[Tensor, Tensor]:
    """(B, h, w) tokens and where they are to be filled. Raises ValueError."""
    if level >= len(known):
        return torch.zeros(shape, dtype=torch.int64), torch.ones(shape, dtype=torch.bool)
    start, size = known[level].cpu(), config.codebook_sizes[level]
    if start.shape[1:] != shape[1:] or len(start) not in (1, shape[0]):
        raise ValueError(f"level {level + 1} is {shape} for this picture, but tokens {tuple(start.shape)} were given")
    if int(start.min()) < 0 or int(start.max()) >= size:
        raise ValueError(f"tokens of level {level + 1} are 0 to {size - 1}, not {start.min()} to {start.max()}")
    if masks is None:
        return start.expand(shape).clone(), torch.zeros(shape, dtype=torch.bool)
    mask = masks[level].cpu()
    if mask.dtype != torch.bool or tuple(mask.shape) not in (shape, shape[1:]):
        raise ValueError(
            f"the mask of level {level + 1} is bool {shape[1:]}, not {str(mask.dtype).removeprefix('torch.')} "
            f"{tuple(mask.shape)}"
        )
    return start.expand(shape).clone(), mask.expand(shape)


def _moved(conditions: Conditions, device: torch.device) -> Conditions:
    labels, grid = conditions.labels, conditions.grid
    return replace(
        conditions,
        labels=None if labels is None else labels.to(device),
        grid=None if grid is None else grid.to(device),
    )
