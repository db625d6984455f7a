"""Priors on disk: a folder with prior.json and prior.safetensors. Imports no torch.

A model folder may hold one, in `prior/`, which is then its default, and one for each condition, as in `prior-low-4/`.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from vqcodec.cards.errors import ModelError
from vqcodec.cards.model_card import ModelCard, ModelFolder
from vqcodec.cards.reading import CardFile
from vqcodec.prior.config import PriorConfig
from vqcodec.prior.context_config import CONTEXT_KIND, ContextConfig
from vqcodec.prior.sequence_config import SequenceConfig
from vqcodec.whole_files import write_whole

if TYPE_CHECKING:
    from vqcodec.prior.context_network import ContextNetwork
    from vqcodec.prior.sequence import SequencePrior
    from vqcodec.prior.transformer import Prior

PRIOR_CARD_FILE: Final = "prior.json"
PRIOR_WEIGHTS_FILE: Final = "prior.safetensors"
#: in a model folder; a prior that is told a condition lies in a folder of its own, as prior-low-4
PRIOR_FOLDER: Final = "prior"
PRIOR_SCHEMA_VERSION: Final = 1
_CARD: Final = CardFile(PRIOR_CARD_FILE, "prior", PRIOR_SCHEMA_VERSION)


@dataclass(frozen=True)
class PriorCard:
    """What a prior is. model_id, model_name: of the model whose tokens it predicts.

    classes: names of the classes by label, () for a prior without. condition_model_id: of the model that makes the
    tokens of its condition, "" where there is none. training: on what and how, for people.
    """

    name: str
    model_id: str
    model_name: str
    prior: PriorConfig | SequenceConfig | ContextConfig
    weights_sha256: str
    licence: str = ""
    classes: tuple[str, ...] = ()
    condition_model_id: str = ""
    training: dict[str, Any] = field(default_factory=dict)
    schema_version: int = PRIOR_SCHEMA_VERSION

    @property
    def condition(self) -> str:
        """The kind of what it is told, see `vqcodec.generation.conditions`; "" for nothing."""
        return self.prior.condition.kind if self.prior.condition else ""

    @property
    def own_prior(self) -> PriorConfig:
        """Of a transformer that was trained here. Raises ModelError for an imported one, and for a context network."""
        if isinstance(self.prior, SequenceConfig):
            raise ModelError(f"prior {self.name} was imported: it generates, and does nothing else; train one")
        if isinstance(self.prior, ContextConfig):
            raise ModelError(f"prior {self.name} is a context network, and no transformer, which is wanted here")
        return self.prior

    @property
    def generating_prior(self) -> PriorConfig | SequenceConfig | ContextConfig:
        """Of a prior that draws tokens. Raises ModelError for a context network that lacks the first levels."""
        if isinstance(self.prior, ContextConfig) and self.prior.first:
            raise ModelError(f"prior {self.name} has the levels from {self.prior.first + 1} on: it draws no pictures")
        return self.prior

    @property
    def context(self) -> ContextConfig | None:
        """Of a context network; None for other priors."""
        return self.prior if isinstance(self.prior, ContextConfig) else None

    def save(self, folder: Path) -> None:
        """Write folder/prior.json."""
        values = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}
        text = json.dumps(values | {"prior": self.prior.to_dict()}, indent=1)
        write_whole(folder / PRIOR_CARD_FILE, text + "\n")

    def check_model(self, card: ModelCard) -> None:
        """Raises ModelError unless it is for the tokens of this model, or of one whose streams this one reads."""
        if self.model_id not in (card.model_id.hex(), *card.reads):
            raise ModelError(
                f"prior {self.name} is for the tokens of model {self.model_name} ({self.model_id}), "
                f"not of {card.name} ({card.model_id.hex()}); use that model, or train a prior with --model {card.name}"
            )


@dataclass(frozen=True)
class PriorFolder:
    """A prior on disk: where it lies and its card."""

    path: Path
    card: PriorCard

    def load(self) -> Prior | SequencePrior | ContextNetwork:
        """What draws pictures, float32, on the CPU. Raises ModelError for missing, damaged or other weights, and for a
        context network without the first levels."""
        return self._load(self.card.generating_prior)

    def load_context(self) -> ContextNetwork:
        """A context network of any levels. Raises ModelError as `load` does, and for a prior of another kind."""
        from vqcodec.prior.context_network import ContextNetwork

        if self.card.context is None:
            raise ModelError(
                f"prior {self.card.name} is no context network; train one with `vqcodec train stage2 --kind context`"
            )
        network = self._load(self.card.context)
        assert isinstance(network, ContextNetwork)
        return network

    def _load(self, shape: PriorConfig | SequenceConfig | ContextConfig) -> Prior | SequencePrior | ContextNetwork:
        from vqcodec.cards.weight_files import network_from_file
        from vqcodec.prior.context_network import ContextNetwork
        from vqcodec.prior.sequence import SequencePrior
        from vqcodec.prior.transformer import Prior

        def make() -> Prior | SequencePrior | ContextNetwork:
            if isinstance(shape, ContextConfig):
                return ContextNetwork(shape)
            return SequencePrior(shape) if isinstance(shape, SequenceConfig) else Prior(shape)

        path, owner = self.path / PRIOR_WEIGHTS_FILE, f"prior {self.card.name}"
        network = network_from_file(path, self.card.weights_sha256, owner, make)
        return network.eval().requires_grad_(False)

    def load_own(self) -> Prior:
        """The same, of a transformer that was trained here. Raises ModelError for an imported one, too."""
        from vqcodec.prior.transformer import Prior

        network = self._load(self.card.own_prior)
        assert isinstance(network, Prior)
        return network


def find_prior(model: ModelFolder, folder: Path | None = None, *, condition: str = "") -> PriorFolder:
    """The prior in `folder`, or else the model's own, for a kind of condition or for none.

    Raises ModelError, also for another model's, or one without this condition.
    """
    path = folder or model.path / (f"{PRIOR_FOLDER}-{condition}" if condition else PRIOR_FOLDER)
    name = model.card.name
    if folder is None and not path.is_dir():
        raise ModelError(
            f"model {name} has no prior{f' for {condition}' if condition else ''}; train one with `vqcodec train "
            f"stage2 --model {name}{f' --condition {condition}' if condition else ''}` and give its folder with --prior"
        )
    prior = load_prior_folder(path)
    prior.card.check_model(model.card)
    if condition and prior.card.condition != condition:
        kind = prior.card.condition or "nothing"
        remedy = f"; it takes --factor {kind.removeprefix('low-')}" if kind.startswith("low-") else ""
        raise ModelError(f"prior {prior.card.name} is told {kind}, not {condition}{remedy}")
    return prior


def load_prior_folder(path: Path) -> PriorFolder:
    """Read the card of a prior; the weights are not looked at. Raises ModelError."""
    return PriorFolder(path, _CARD.read(path, _card_from_json))


def _card_from_json(values: dict[str, Any]) -> PriorCard:
    changed = {"prior": _shape_from_json(values["prior"]), "classes": tuple(values["classes"])}
    return PriorCard(**values | changed)


def _shape_from_json(shape: dict[str, Any]) -> PriorConfig | SequenceConfig | ContextConfig:
    if "kind" not in shape:
        return PriorConfig.from_dict(shape)
    return ContextConfig.from_dict(shape) if shape["kind"] == CONTEXT_KIND else SequenceConfig.from_dict(shape)
