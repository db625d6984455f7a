"""The integer priors in the folder of a model: what its card says of them, and reading them when a stream needs them.

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
    CodingContext,
    EntropyModel,
    LevelModel,
    WholeLevels,
    entropy_name,
    whole_levels_of,
)
from vqcodec.cards.errors import ModelError
from vqcodec.cards.reading import read_named_file
from vqcodec.prior.config import PriorConfig
from vqcodec.prior.context_config import ContextConfig, check_together


@dataclass(frozen=True)
class EntropyPrior:
    """The integer priors of a model: the shapes of the transformer, which has the first levels, and of the context
    network, which has those after them, and the sha256 of their file. One of the two may be None.

    Raises ValueError for two that do not go together.
    """

    prior: PriorConfig | None
    sha256: str
    context: ContextConfig | None = None

    def __post_init__(self) -> None:
        check_together(self.prior, self.context)

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it. What is not there is left out: it is part of the fingerprint."""
        parts = {"prior": self.prior, "context": self.context}
        return {name: part.to_dict() for name, part in parts.items() if part is not None} | {"sha256": self.sha256}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> EntropyPrior:
        """From `to_dict`. Raises TypeError, ValueError or KeyError."""
        prior = PriorConfig.from_dict(values["prior"]) if "prior" in values else None
        context = ContextConfig.from_dict(values["context"]) if "context" in values else None
        return cls(**values | {"prior": prior, "context": context})


class StoredPrior:
    """The integer prior in the folder of a model, read when it is first needed. stated: what the model's card says."""

    entropy_id: int = PRIOR_ID
    name: str = entropy_name(PRIOR_ID)

    def __init__(self, path: Path, stated: EntropyPrior, model_name: str) -> None:
        self._path, self._stated, self._model_name = path, stated, model_name

    def begin_level(self, context: CodingContext) -> LevelModel:
        """As those of the priors themselves. Raises ModelError for a missing or damaged file."""
        return self._loaded.begin_level(context)

    def whole_levels(self, shapes: Sequence[tuple[int, int]], codebook_sizes: Sequence[int]) -> WholeLevels | None:
        """Where the core in C computes the prior. Raises as `begin_level` does."""
        return whole_levels_of(self._loaded, shapes, codebook_sizes)

    @cached_property
    def _loaded(self) -> EntropyModel:
        from safetensors import SafetensorError
        from safetensors.numpy import load

        from vqcodec.prior.arithmetic import InexactError
        from vqcodec.prior.joint import entropy_prior_model

        raw = read_named_file(self._path, self._stated.sha256, "integer prior", f"model {self._model_name}")
        try:
            return entropy_prior_model(self._stated.prior, self._stated.context, load(raw))
        except (InexactError, SafetensorError, KeyError) as error:  # KeyError: of a type that numpy has not
            raise ModelError(f"{self._path}: no integer prior of this card ({error}); get the model again") from error
