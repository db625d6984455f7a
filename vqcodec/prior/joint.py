"""The entropy model of a model's priors: a transformer for the first levels, a context network for those after them.

Imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from vqcodec.bitstream.entropy_models import (
    PRIOR_ID,
    CodesWholeLevels,
    CodingContext,
    EntropyModel,
    LevelModel,
    WholeLevels,
    entropy_name,
)
from vqcodec.prior.coding import prior_for_coding
from vqcodec.prior.config import PriorConfig
from vqcodec.prior.context import ContextModel
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
        """For the first levels, where `coarse` codes these by itself."""
        if len(shapes) > self.first_fine or not isinstance(self.coarse, CodesWholeLevels):
            return None
        return self.coarse.whole_levels(shapes, codebook_sizes)


def entropy_prior_model(
    prior: PriorConfig | None, context: ContextConfig | None, arrays: Mapping[str, NDArray[Any]]
) -> EntropyModel:
    """The entropy model of what a card states, which goes together, and of the arrays of its file.

    Raises InexactError for arrays whose sums could be rounded, and CoreError.
    """
    if context is None:
        assert prior is not None
        return prior_for_coding(prior, arrays)
    fine = ContextModel(context, arrays)
    return fine if prior is None else JointPrior(prior_for_coding(prior, arrays), fine, prior.levels)
