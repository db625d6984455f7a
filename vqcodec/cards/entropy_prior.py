"""The integer prior in the folder of a model: what its card says of it, and reading it when a stream needs it.

Imports no torch; the prior itself, and what reads its file, are imported with the first stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from vqcodec.bitstream.entropy_models import (
    PRIOR_ID,
    CodesWholeLevels,
    CodingContext,
    EntropyModel,
    LevelModel,
    WholeLevels,
    entropy_name,
)
from vqcodec.cards.errors import ModelError
from vqcodec.cards.reading import read_named_file
from vqcodec.prior.config import PriorConfig


@dataclass(frozen=True)
class EntropyPrior:
    """The integer prior of a model: the shape of its transformer, and the sha256 of its file."""

    prior: PriorConfig
    sha256: str

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {"prior": self.prior.to_dict(), "sha256": self.sha256}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> EntropyPrior:
        """From `to_dict`. Raises TypeError or KeyError."""
        return cls(**values | {"prior": PriorConfig.from_dict(values["prior"])})


class StoredPrior:
    """The integer prior in the folder of a model, read when it is first needed. stated: what the model's card says."""

    entropy_id: int = PRIOR_ID
    name: str = entropy_name(PRIOR_ID)

    def __init__(self, path: Path, stated: EntropyPrior, model_name: str) -> None:
        self._path, self._stated, self._model_name = path, stated, model_name

    def begin_level(self, context: CodingContext) -> LevelModel:
        """As `IntegerPrior.begin_level`. Raises ModelError for a missing or damaged file."""
        return self._loaded.begin_level(context)

    def whole_levels(self, shapes: Sequence[tuple[int, int]], codebook_sizes: Sequence[int]) -> WholeLevels | None:
        """Where the core in C computes the prior. Raises as `begin_level` does."""
        prior = self._loaded
        return prior.whole_levels(shapes, codebook_sizes) if isinstance(prior, CodesWholeLevels) else None

    @cached_property
    def _loaded(self) -> EntropyModel:
        from safetensors import SafetensorError
        from safetensors.numpy import load

        from vqcodec.prior.arithmetic import InexactError
        from vqcodec.prior.coding import prior_for_coding

        raw = read_named_file(self._path, self._stated.sha256, "integer prior", f"model {self._model_name}")
        try:
            return prior_for_coding(self._stated.prior, load(raw))
        except (InexactError, SafetensorError, KeyError) as error:  # KeyError: of a type that numpy has not
            raise ModelError(f"{self._path}: no integer prior of this card ({error}); get the model again") from error
