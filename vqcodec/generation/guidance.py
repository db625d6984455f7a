"""Guidance by a score: tokens whose decoded picture a differentiable score likes better.

Sources: VQGAN-CLIP (Crowson et al., 2022, "VQGAN-CLIP: Open Domain Image Generation and Editing with Natural Language
Guidance") for `optimize_latents`: Adam on the latents, which are quantised at every step with a straight-through
gradient. HotFlip (Ebrahimi et al., 2018, §3) for `optimize_tokens`: replacements ranked by the gradient.

A score takes pictures (B, 3, H, W) in [0, 1], as large as the start without its padding, and returns (B,), higher is
better: see `vqcodec.generation.picture_scores`. `optimize_tokens` asks about several versions of one picture at a time.

The optimisation is in float32 whatever the codec's convolutions are in: where these are bfloat16 the Decoder is copied,
and `Codec.detokenize` of the result scores a little differently. Nothing of the codec is changed, and no gradient
reaches its weights. A picture goes through the Decoder whole, not in tiles.

Shapes: B batch, H W pixels, h w rows and columns of a latent or of a token grid, C latent channels, K codes, N tokens
of a picture, s the stride of a level. Models of two resolutions have two latents, which are moved together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from vqcodec.codec import Codec
from vqcodec.generation.picture_scores import Judge, Score, ScoreError, lpips_to
from vqcodec.models.autoencoder import Autoencoder
from vqcodec.models.network_input import in_colour, picture_input
from vqcodec.pictures.any_image import ImageLike, as_loaded
from vqcodec.pictures.image import DEFAULT_MAX_PIXELS

__all__ = ["GuidedPicture", "Report", "Score", "ScoreError", "Start", "lpips_to", "optimize_latents", "optimize_tokens"]

#: a picture, token grids (B, h, w) of the first levels, or (width, height) in pixels for random tokens
Start: TypeAlias = "ImageLike | Sequence[Tensor] | tuple[int, int]"
#: gets the number of the step, 0 for the start, and its scores (B,)
Report: TypeAlias = Callable[[int, Tensor], None]

DEFAULT_LEARNING_RATE: Final = 0.05
#: small beside any gradient, so that a score and a thousandth of it lead the same way
_ADAM_EPS: Final = 1e-16
#: replacements that are kept in mind for each token, the most promising ones
_REPLACEMENTS: Final = 8
#: how many times more tokens are changed together after a change that was kept; half as many after none was
_GROWTH: Final = 1.5
#: elements of the matrix of tokens and codes that are held at a time
_RANKING_ELEMENTS: Final = 2**22


@dataclass(frozen=True)
class GuidedPicture:
    """The best that was found, for each picture by itself.

    tokens: (B, h, w) int64 of each level, for `Codec.write`. latents: (B, C, h, w) float32 of each latent in use, of
    which these are the nearest codes, or what they stand for where tokens were searched. images: (B, 3, H, W) float32,
    about in [-1, 1]: what `Codec.detokenize` makes of them, in colour, cut to the size of the start. scores: (steps +
    1, B) float32, of the start and of each step; the tokens are those of the highest. All on the CPU.
    """

    tokens: list[Tensor]
    latents: list[Tensor]
    images: Tensor
    scores: Tensor

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.images.shape[3], self.images.shape[2]


def optimize_latents(
    codec: Codec,
    score: Score,
    *,
    start: Start,
    steps: int = 100,
    learning_rate: float = DEFAULT_LEARNING_RATE,
    levels: int | None = None,
    seed: int = 0,
    report: Report = lambda step, scores: None,
) -> GuidedPicture:
    """Climb from a picture's latents (or those of tokens) by Adam, quantising at each step; the best step counts.

    learning_rate: what Adam moves each channel by at the first step, in standard deviations of the latents at the start
    (of all channels together); falls linearly to 0. levels: the first so many, of an image or a size; all by default,
    of tokens all that are given. seed: of random tokens, and of nothing else. Each step decodes once, forward and
    backward, and asks the score once. Scores may fall from step to step, the result is never below the start.

    Raises ValueError for arguments out of range and for models that choose codes by logits, through which no gradient
    passes; ScoreError; ImageError for a picture that cannot be read.
    """
    if not learning_rate > 0:
        raise ValueError(f"learning_rate {learning_rate}: there must be more than 0")
    if codec.card.autoencoder.quantizer.codebook == "gumbel":
        raise ValueError(f"model {codec.card.name} chooses codes by logits, without a gradient: take optimize_tokens")
    with torch.inference_mode(False), torch.enable_grad():
        network, begin = _guided_network(codec), _started(codec, start, steps, levels, seed)
        judge, first = Judge(codec, score, (begin.width, begin.height)), _latents(codec, network, begin)
        scales = [latent.std(dim=(1, 2, 3), keepdim=True) for latent in first]
        offsets = [torch.zeros_like(latent, requires_grad=True) for latent in first]
        optimizer = torch.optim.Adam(offsets, learning_rate, eps=_ADAM_EPS)
        tokens, latents, history = begin.tokens, first, []
        best = torch.full_like(first[0][:, 0, 0, 0], -torch.inf)
        for step in range(steps + 1):
            moved = [latent + scale * offset for latent, scale, offset in zip(first, scales, offsets, strict=True)]
            quantised, nearest = _quantise(network, moved, len(tokens))
            tried = nearest if step else begin.tokens
            scores, gradients = judge.gradient(network.quantised(tried), len(tried))
            better = (scores > best)[:, None, None]
            tokens = [torch.where(better, new, old) for new, old in zip(tried, tokens, strict=True)]
            latents = [torch.where(better[:, None], new, old).detach() for new, old in zip(moved, latents, strict=True)]
            best = torch.maximum(best, scores)
            history.append(scores)
            report(step, scores)
            for offset, made, gradient in zip(offsets, quantised, gradients, strict=True):
                # of level strides the last tokens may reach beyond the latent
                (offset.grad,) = torch.autograd.grad(made, offset, -gradient[:, :, : made.shape[2], : made.shape[3]])
            optimizer.param_groups[0]["lr"] = learning_rate * (1 - step / steps)
            optimizer.step()
    return _result(codec, tokens, latents, history, begin)


def optimize_tokens(
    codec: Codec,
    score: Score,
    *,
    start: Start,
    steps: int = 100,
    candidates: int = 8,
    levels: int | None = None,
    seed: int = 0,
    report: Report = lambda step, scores: None,
) -> GuidedPicture:
    """Climb by replacing tokens, and keep a replacement only where the score rises: scores never fall.

    Each step takes `candidates` disjoint sets of tokens, at random but rather those that promise more, and replaces
    those of each set by the most promising codes. These pictures, and the one with all sets that raise the score, are
    tried, and the best is kept if it beats what there is. The sets grow after a success and shrink after a failure,
    down to single tokens. A replacement of code vector r by r' under the gradient g of the score with respect to the
    quantised latents promises g.(r' - r) / |r' - r|^2: to first order (HotFlip) the score rises by g.(r' - r), and
    while its curvature is below twice this quotient it does rise.

    Cost of a step: `candidates` + 1 pictures decoded and scored (in batches of `candidates`, held in memory together),
    and one more, forward and backward, after a replacement. A picture for which no replacement is left stays as it is.
    levels: as in `optimize_latents`. seed: of random tokens and of the sets, which are those of each picture alone.

    Raises ValueError for arguments out of range; ScoreError; ImageError for a picture that cannot be read.
    """
    if candidates < 1:
        raise ValueError(f"candidates {candidates}: there must be 1 or more")
    with torch.inference_mode(False), torch.enable_grad():
        network, begin = _guided_network(codec), _started(codec, start, steps, levels, seed)
        judge = Judge(codec, score, (begin.width, begin.height))
        searches = [
            _Search(network, judge, [grid[number : number + 1] for grid in begin.tokens], candidates, seed)
            for number in range(len(begin.tokens[0]))
        ]
        history = [torch.stack([search.score for search in searches])]
        report(0, history[0])
        for step in range(1, steps + 1):
            for search in searches:
                search.step()
            history.append(torch.stack([search.score for search in searches]))
            report(step, history[-1])
    grids = [torch.cat(grids) for grids in zip(*(search.tokens for search in searches), strict=True)]
    return _result(codec, grids, network.quantised(grids), history, begin)


# ---- the start ----


@dataclass(frozen=True)
class _Start:
    """tokens: (B, h, w) of each level, on the codec's device. images: (1, C, H', W') where there is one, as the Encoder
    takes it.

    width, height: of the pictures to be scored, in pixels.
    """

    tokens: list[Tensor]
    images: Tensor | None
    width: int
    height: int


def _started(codec: Codec, start: Start, steps: int, levels: int | None, seed: int) -> _Start:
    if steps < 1:
        raise ValueError(f"steps {steps}: there must be 1 or more")
    if isinstance(start, (list, tuple)):
        if start and all(isinstance(side, int) for side in start):
            return _from_size(codec, cast("tuple[int, int]", start), levels, seed)
        return _from_tokens(codec, cast("Sequence[Tensor]", start), levels)
    rgb = as_loaded(cast("ImageLike", start), DEFAULT_MAX_PIXELS).rgb
    images = picture_input(codec.card.autoencoder, rgb)
    # cloned: autograd takes no tensors that were made in inference mode
    tokens = [grid.clone().to(codec.device) for grid in codec.tokenize(images, levels=levels)]
    return _Start(tokens, images, width=rgb.shape[1], height=rgb.shape[0])


def _from_size(codec: Codec, size: tuple[int, int], levels: int | None, seed: int) -> _Start:
    """Tokens of a picture of size (width, height) in pixels, every one as likely as any other."""
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f"a size of {size}: give (width, height) in pixels, 1 or more each")
    count = _check_levels(codec, codec.card.autoencoder.levels if levels is None else levels)
    generator = torch.Generator().manual_seed(seed)
    codes = codec.card.autoencoder.quantizer.codebook_sizes[:count]
    tokens = [
        torch.randint(most, (1, *shape), generator=generator).to(codec.device)
        for most, shape in zip(codes, _grid_shapes(codec, size), strict=False)
    ]
    return _Start(tokens, None, *size)


def _from_tokens(codec: Codec, tokens: Sequence[Tensor], levels: int | None) -> _Start:
    """Tokens of whole positions: the pictures are as large as the finest grid makes them."""
    _check_levels(codec, len(tokens))
    if levels is not None and not 1 <= levels <= len(tokens):
        raise ValueError(f"levels {levels}: the start has tokens of 1 to {len(tokens)}")
    tokens = tokens[:levels]
    factor = codec.card.autoencoder.level_factors[len(tokens) - 1]
    height, width = (side * factor for side in tokens[-1].shape[-2:])
    shapes = [tuple(grid.shape) for grid in tokens]
    expected = [(len(tokens[-1]), *shape) for shape in _grid_shapes(codec, (width, height))[: len(tokens)]]
    if shapes != expected or 0 in shapes[-1]:
        raise ValueError(f"expected token grids (B, h, w) of one picture, got {shapes}")
    for number, (grid, codes) in enumerate(
        zip(tokens, codec.card.autoencoder.quantizer.codebook_sizes, strict=False), start=1
    ):
        if not 0 <= int(grid.min()) <= int(grid.max()) < codes:
            raise ValueError(f"tokens of level {number} are 0 to {codes - 1}, got {int(grid.min())}, {int(grid.max())}")
    return _Start([grid.long().clone().to(codec.device) for grid in tokens], None, width, height)


def _grid_shapes(codec: Codec, size: tuple[int, int]) -> list[tuple[int, int]]:
    """(rows, cols) of every level for a picture of size (width, height) in pixels."""
    return [(-(-size[1] // factor), -(-size[0] // factor)) for factor in codec.card.autoencoder.level_factors]


def _check_levels(codec: Codec, levels: int) -> int:
    if not 1 <= levels <= codec.card.autoencoder.levels:
        raise ValueError(f"levels {levels}: model {codec.card.name} has 1 to {codec.card.autoencoder.levels}")
    return levels


@torch.no_grad()
def _latents(codec: Codec, network: Autoencoder, begin: _Start) -> list[Tensor]:
    """(B, C, h, w) float32 each: what the Encoder makes of the picture, or the quantised latents of the tokens."""
    if begin.images is None:
        return network.quantised(begin.tokens)
    images = begin.images.to(codec.device, codec.dtype).contiguous(memory_format=torch.channels_last)
    return network.latents(images, begin.tokens)


def _guided_network(codec: Codec) -> Autoencoder:
    """The codec's network, whose latents are moved. Raises ValueError for one with grids of one size."""
    if codec.card.autoencoder.picture_side:
        raise ValueError(f"model {codec.card.name} has levels with grids of one size: it cannot be guided yet")
    return codec.network


def _quantise(network: Autoencoder, latents: Sequence[Tensor], levels: int) -> tuple[list[Tensor], list[Tensor]]:
    """The quantised latents (B, C, h, w), with the gradient that the Encoder would get, and the tokens."""
    quantised: list[Tensor] = []
    tokens: list[Tensor] = []
    for quantizer, latent, count in zip(network.quantizers, latents, network.levels_of_latents(levels), strict=False):
        result = quantizer(latent, torch.full((len(latent),), count, device=latent.device))
        quantised.append(result.quantized)
        tokens += result.indices[:count]
    return quantised, tokens


def _result(
    codec: Codec, tokens: list[Tensor], latents: list[Tensor], history: list[Tensor], begin: _Start
) -> GuidedPicture:
    on_cpu = [grid.cpu() for grid in tokens]
    images = in_colour(codec.detokenize(on_cpu))[:, :, : begin.height, : begin.width].clone()
    return GuidedPicture(on_cpu, [latent.cpu() for latent in latents], images, torch.stack(history).cpu())


# ---- search in the tokens ----


class _Search:
    """The tokens of one picture, a list of (1, h, w), and `score`, a scalar. All tokens in one row: (N,)."""

    def __init__(self, network: Autoencoder, judge: Judge, tokens: list[Tensor], candidates: int, seed: int) -> None:
        self._network, self._judge, self._candidates = network, judge, candidates
        self._generator = torch.Generator().manual_seed(seed)
        self._shapes = [grid.shape for grid in tokens]
        self._row = torch.cat([grid.flatten() for grid in tokens])
        self._together = max(1.0, len(self._row) / (2 * candidates))
        self.score = torch.full((), -torch.inf, device=self._row.device)
        self._keep(self._row)

    @property
    def tokens(self) -> list[Tensor]:
        return self._grids(self._row[None])

    def step(self) -> None:
        """Try replacements in disjoint sets of tokens; keep the best if it raises the score."""
        merit, choice = self._merits.max(dim=1)
        available = int((merit > 0).sum())
        if not available:
            return
        together = max(1, min(int(self._together), available // self._candidates))
        sets = min(self._candidates, available // together)
        drawn = self._draw(merit, sets * together).view(sets, together)
        chosen = torch.zeros(sets, len(merit), dtype=torch.bool, device=merit.device).scatter_(1, drawn, True)
        replaced = self._codes.gather(1, choice[:, None])[:, 0]
        rows, scores = self._try(chosen, replaced)
        if bool(scores.max() > self.score) and self._keep(rows[scores.argmax()]):
            self._together = min(_GROWTH * self._together, max(1.0, len(merit) / self._candidates))
            return
        self._together = max(1.0, together / 2)
        if together == 1:  # these are known not to help
            self._merits[drawn[:, 0], choice[drawn[:, 0]]] = 0

    def _draw(self, merit: Tensor, count: int) -> Tensor:
        """So many of the tokens with a merit (N,) above 0, with chances in proportion to it."""
        chances = torch.where(merit > 0, (merit / merit.max()).clamp_min(1e-12), 0)
        return torch.multinomial(chances.cpu(), count, generator=self._generator).to(merit.device)

    def _try(self, chosen: Tensor, replaced: Tensor) -> tuple[Tensor, Tensor]:
        """Rows of tokens (n, N) and their scores (n,): each set `chosen` (m, N), and those that help together."""
        rows = torch.where(chosen, replaced, self._row)
        scores = self._scores(rows)
        helpful = scores > self.score
        if int(helpful.sum()) > 1:
            merged = torch.where(chosen[helpful].any(dim=0), replaced, self._row)[None]
            rows, scores = torch.cat([rows, merged]), torch.cat([scores, self._scores(merged)])
        return rows, scores

    @torch.no_grad()
    def _scores(self, rows: Tensor) -> Tensor:
        grids = self._grids(rows)
        return self._judge(self._network.quantised(grids), len(grids))

    def _keep(self, row: Tensor) -> bool:
        """Go on from these tokens (N,), unless their score, of this picture alone, is no higher after all."""
        grids = self._grids(row[None])
        scores, gradients = self._judge.gradient(self._network.quantised(grids), len(grids))
        if not bool(scores[0] > self.score):
            return False
        self._row, self.score = row, scores[0]
        by_level = _replacements(self._network, self.tokens, gradients)
        self._merits, self._codes = (torch.cat(parts) for parts in zip(*by_level, strict=True))
        return True

    def _grids(self, rows: Tensor) -> list[Tensor]:
        """(n, N) -> (n, h, w) of each level."""
        parts = rows.split([shape.numel() for shape in self._shapes], dim=1)
        return [part.unflatten(1, shape[1:]) for part, shape in zip(parts, self._shapes, strict=True)]


@torch.no_grad()
def _replacements(
    network: Autoencoder, tokens: list[Tensor], gradients: Sequence[Tensor]
) -> Iterator[tuple[Tensor, Tensor]]:
    """For each level the merits (n, R) and codes (n, R) of the best replacements of its n tokens, best first.

    gradients: (1, C, h, w), of the score with respect to each quantised latent. A merit is the promise that
    `optimize_tokens` speaks of, for all positions together that the token gives something to; 0 where it is not above.
    """
    levels = [
        (level, stride, gradient)
        for quantizer, gradient in zip(network.quantizers, gradients, strict=False)
        for level, stride in zip(quantizer.each(), quantizer.config.strides, strict=True)
    ]
    for (level, stride, gradient), grid in zip(levels, tokens, strict=False):
        # a token gives the same to stride x stride positions, so their gradients add up
        pooled = F.avg_pool2d(gradient, stride, ceil_mode=True, divisor_override=1)
        slopes = pooled[0].flatten(1).T
        candidates = level.reconstruct(torch.arange(len(level.codebook.codes()), device=grid.device))
        rows = max(1, _RANKING_ELEMENTS // len(candidates))
        best = []
        for current, slope in zip(grid.flatten().split(rows), slopes.split(rows), strict=True):
            before = candidates[current]
            squared = stride**2 * torch.cdist(before, candidates).square()
            rise = slope @ candidates.T - (slope * before).sum(dim=1, keepdim=True)
            merit = (rise / squared.clamp_min(1e-3 * squared.mean())).scatter_(1, current[:, None], 0)
            best.append(merit.clamp_min(0).topk(min(_REPLACEMENTS, len(candidates)), dim=1))
        missing = (0, _REPLACEMENTS - best[0].values.shape[1])  # of a level with fewer codes
        yield (
            F.pad(torch.cat([top.values for top in best]), missing),
            F.pad(torch.cat([top.indices for top in best]), missing),
        )
