"""Tokens to train a prior on, from a dataset that `vqcodec tokenize` made."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from vqcodec.dataset.reader import TokenDataset
from vqcodec.training.data.types import DataError
from vqcodec.training.stage2.crop_tokens import TokenBatch


class DatasetTokens:
    """Batches of random rows of a dataset of tokens; batch number `step` is a function of (seed, step) alone.

    share: of several processes, the part of each batch that is this one's. Raises DatasetError for a dataset that is
    not complete or has fewer levels, DataError for tokens of another model.
    """

    def __init__(
        self, out: str, *, model_id: str, levels: int, batch_size: int, seed: int, share: slice = slice(None)
    ) -> None:
        data = TokenDataset(out, levels=levels)
        found = data.plan.model
        if found["model_id"] != model_id:
            raise DataError(f"{out}: tokens of model {found['name']} ({found['model_id']}), not of {model_id}")
        self.classes = data.classes
        self._batches = data.batches(seed, batch_size, share=share)

    def __call__(self, step: int) -> TokenBatch:
        batch = self._batches(step)
        return TokenBatch([torch.from_numpy(level) for level in batch.levels], torch.from_numpy(batch.labels))

    def ahead(self, first: int, last: int) -> Iterator[tuple[int, TokenBatch]]:
        """(step, batch) for the steps first..last-1."""
        for step in range(first, last):
            yield step, self(step)
