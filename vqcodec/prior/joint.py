"""The entropy model of a model's priors: a transformer for the first levels, a context network for those after them.

Imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from vqcodec.bitstream import TokenGrid
from vqcodec.bitstream.entropy_models import (
    PRIOR_ID,
    CodedTokens,
    CodingContext,
    EntropyModel,
    LevelModel,
    WholeLevels,
    entropy_name,
    whole_levels_of,
)
from vqcodec.prior.coding import prior_for_coding
from vqcodec.prior.config import PriorConfig
from vqcodec.prior.context_coding import context_for_coding
from vqcodec.prior.context_config import ContextConfig


class JointPrior:
    """An `EntropyModel` of two: `coarse` has the first levels, `fine` all from `first_fine` on, counted from 0."""

    entropy_id: int = PRIOR_ID
    name: str = entropy_name(PRIOR_ID)

    def __init__(self, coarse: EntropyModel, fine: EntropyModel, first_fine: int) -> None:
        self.coarse, self.fine, self.first_fine = coarse, fine, first_fine

    def begin_level(self, context: CodingContext) -> LevelModel:
        """Start on one level. Raises `ValueError` for one that neither has."""
        return (self.coarse if context.level < self.first_fine else self.fine).begin_level(context)

    def whole_levels(self, shapes: Sequence[tuple[int, int]], codebook_sizes: Sequence[int]) -> WholeLevels | None:
        """Where each of the two codes its levels by itself."""
        first = self.first_fine
        coarse = whole_levels_of(self.coarse, shapes[:first], codebook_sizes[:first])
        if len(shapes) <= first or coarse is None:
            return coarse
        fine = whole_levels_of(self.fine, shapes, codebook_sizes)
        return None if fine is None else JointLevels(coarse, fine, codebook_sizes[:first])


class JointLevels:
    """`WholeLevels` of a `JointPrior`."""

    def __init__(self, coarse: WholeLevels, fine: WholeLevels, coarse_sizes: Sequence[int]) -> None:
        self._coarse, self._fine, self._sizes, self._first_fine = coarse, fine, coarse_sizes, len(coarse_sizes)

    def encode(self, levels: Sequence[TokenGrid], first: int, coded: CodedTokens | None = None) -> Sequence[bytes]:
        """The payloads of the levels from `first` on."""
        between = self._first_fine
        if len(levels) <= between:
            return self._coarse.encode(levels, first, coded)
        coarse = self._coarse.encode(levels[:between], first) if first < between else []
        return [*coarse, *self._fine.encode(levels, max(first, between), coded)]

    def decode(
        self, payloads: Sequence[bytes], coarser: Sequence[TokenGrid], coded: CodedTokens | None = None
    ) -> Sequence[NDArray[Any]] | None:
        """The tokens of the levels after those in `coarser`; None for payloads that no encoder writes."""
        of_coarse = max(0, self._first_fine - len(coarser))
        if len(payloads) <= of_coarse:
            return self._coarse.decode(payloads, coarser, coded)
        made = self._coarse.decode(payloads[:of_coarse], coarser) if of_coarse else []
        if made is None:
            return None
        known = (*coarser, *(TokenGrid(tokens, self._sizes[len(coarser) + n]) for n, tokens in enumerate(made)))
        rest = self._fine.decode(payloads[of_coarse:], known, coded)
        return None if rest is None else [*made, *rest]


def entropy_prior_model(
    prior: PriorConfig | None, context: ContextConfig | None, arrays: Mapping[str, NDArray[Any]]
) -> EntropyModel:
    """The entropy model of what a card states, which goes together, and of the arrays of its file.

    Raises InexactError for arrays whose sums could be rounded, and CoreError.
    """
    if context is None:
        assert prior is not None
        return prior_for_coding(prior, arrays)
    fine = context_for_coding(context, arrays)
    return fine if prior is None else JointPrior(prior_for_coding(prior, arrays), fine, prior.levels)
