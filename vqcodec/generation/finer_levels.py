"""Levels that a prior does not have, drawn from the integer prior that codes their streams.

So a transformer of the coarse levels, which says what is there, is enough to make whole pictures: the context network
(`vqcodec.prior.context`) knows how the fine ones go with them.

Shapes: B batch, h w rows and columns of a level's grid, N = h w, n tokens of one group, K codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from vqcodec.bitstream import TokenGrid
from vqcodec.bitstream.entropy_models import CodingContext, EntropyModel
from vqcodec.generation.config import DrawnLevels
from vqcodec.prior.conditions import NO_CONDITIONS, Conditions
from vqcodec.prior.context_network import ContextNetwork, ContextPass
from vqcodec.prior.sequence import SequencePass, SequencePrior
from vqcodec.prior.transformer import LevelPass, Prior

#: what is trained to draw the first levels, and what it predicts one with
GeneratingPrior: TypeAlias = Prior | SequencePrior | ContextNetwork
Pass: TypeAlias = LevelPass | SequencePass | ContextPass


class PriorWithFinerLevels(nn.Module):
    """A prior for the first levels, and an entropy model for those after them; it predicts as a prior does.

    The finer levels are told the tokens of the coarser ones and nothing of classes and conditions. The entropy model's
    groups must not depend on tokens: those of transformers and context networks do not.
    """

    def __init__(self, prior: GeneratingPrior, entropy_model: EntropyModel, config: DrawnLevels) -> None:
        super().__init__()
        self.prior, self.entropy_model, self.config = prior, entropy_model, config

    def begin(
        self,
        coarser: Sequence[Tensor],
        shape: tuple[int, int],
        *,
        batch: int = 1,
        conditions: Conditions = NO_CONDITIONS,
    ) -> Pass | CodedPass:
        """Predict the level after `coarser`, (B, h, w) int64 each, group by group. shape: (rows, cols) of its grid.

        Raises ValueError for grids that do not go together.
        """
        if len(coarser) < self.prior.config.levels:
            return self.prior.begin(coarser, shape, batch=batch, conditions=conditions)
        device = next(self.prior.parameters()).device
        return CodedPass(self.entropy_model, self.config.codebook_sizes, coarser, shape, batch, device)


class CodedPass:
    """One level of a batch, predicted group by group as its streams are coded.

    groups: the positions (n,) of each group, int64, which must be asked for one after the other.
    """

    def __init__(
        self,
        model: EntropyModel,
        codebook_sizes: Sequence[int],
        coarser: Sequence[Tensor],
        shape: tuple[int, int],
        batch: int,
        device: torch.device,
    ) -> None:
        self._known, size = np.full((batch, *shape), -1, np.int32), codebook_sizes[len(coarser)]
        grids = list(zip((grid.cpu().numpy() for grid in coarser), codebook_sizes, strict=False))
        self._pictures = [
            model.begin_level(
                CodingContext(
                    level=len(coarser),
                    shape=shape,
                    codebook_size=size,
                    coarser=tuple(TokenGrid(tokens[number], codes) for tokens, codes in grids),
                    known=self._known[number],
                )
            )
            for number in range(batch)
        ]
        self._positions = [np.array(group) for group in self._pictures[0].groups()]
        self.groups = [torch.from_numpy(group).long().to(device) for group in self._positions]
        self._next = 0

    def logits(self, known: Tensor) -> Tensor:
        """(B, n, K) float32 of the next of the groups: logarithms of the frequencies that it is coded with.

        known: as of `vqcodec.prior.transformer.LevelPass`.
        """
        positions = self._positions[self._next]
        self._next += 1
        self._known[:] = known.view(self._known.shape).cpu().numpy()
        frequencies = np.stack([picture.frequencies(positions) for picture in self._pictures])
        return torch.from_numpy(np.log(frequencies).astype(np.float32)).to(known.device)
