"""Models on disk: a folder with card.json, stage1.safetensors and maybe entropy.safetensors. Imports no torch.

The fingerprint is the sha256 of everything that decides what a stream means: the networks' configuration, the static
frequencies, and the sha256 of the weights and of the integer prior. Its first four bytes are the model id in a stream.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Final

from vqcodec.bitstream import (
    MODEL_ID_BYTES,
    STATIC_ID,
    UNIFORM_ID,
    EntropyModel,
    GridSpec,
    StaticModel,
    StreamModel,
    UniformModel,
)
from vqcodec.cards.entropy_prior import EntropyPrior, StoredPrior
from vqcodec.cards.errors import ModelError
from vqcodec.cards.reading import CardFile
from vqcodec.models.config import AutoencoderConfig
from vqcodec.whole_files import write_whole

SCHEMA_VERSION: Final = 1
CARD_FILE: Final = "card.json"
_CARD: Final = CardFile(CARD_FILE, "model", SCHEMA_VERSION)
WEIGHTS_FILE: Final = "stage1.safetensors"
#: the integer prior that codes the streams of a model
ENTROPY_FILE: Final = "entropy.safetensors"


@dataclass(frozen=True)
class ModelCard:
    """What a model is. `static_frequencies`: for each level K integers that sum to 2**24, or () when there are none.

    `entropy_prior`: what codes its streams when asked for; None for a model without.

    `reads`: ids, in hexadecimal, of other models whose streams this one decodes too, by a Decoder of its own: it has
    their codebooks and frequencies. Priors that name one of these ids fit it.
    `training` says on what, how long and with what it was trained, for people; neither enters the fingerprint.
    `precision`: "float32" for a model whose tokens change in less, "" for the fastest type that a device has.
    `origin`: where an imported model comes from, for people (`vqcodec.checkpoints.importing`). Neither does.

    Examples:
        >>> from vqcodec import find_model
        >>> card = find_model("photo-5").card
        >>> card.autoencoder.downsampling_factor, card.autoencoder.quantizer.codebook_sizes
        (8, (1024, 1024, 32, 64, 256, 256))
        >>> card.can_read(card.model_id)
        True
    """

    name: str
    autoencoder: AutoencoderConfig
    static_frequencies: tuple[tuple[int, ...], ...]
    weights_sha256: str
    licence: str = ""
    reads: tuple[str, ...] = ()
    entropy_prior: EntropyPrior | None = None
    training: dict[str, Any] = field(default_factory=dict)
    precision: str = ""
    origin: dict[str, Any] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    @cached_property
    def fingerprint(self) -> str:
        """sha256, hexadecimal, of the canonical JSON of what decides the meaning of a stream."""
        meaning = {
            "autoencoder": self.autoencoder.to_dict(),
            "static_frequencies": self.static_frequencies,
            "weights_sha256": self.weights_sha256,
        } | ({"entropy_prior": self.entropy_prior.to_dict()} if self.entropy_prior else {})
        return hashlib.sha256(json.dumps(meaning, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    @property
    def model_id(self) -> bytes:
        """The first bytes of the fingerprint, as they stand in a stream."""
        return bytes.fromhex(self.fingerprint)[:MODEL_ID_BYTES]

    def can_read(self, model_id: bytes) -> bool:
        """Whether streams that name this model id can be decoded."""
        return model_id == self.model_id or model_id.hex() in self.reads

    @cached_property
    def stream_model(self) -> StreamModel:
        """What the container must know of this model, but for the integer prior, which `ModelFolder` adds.

        Raises ValueError for frequencies that are not those of its levels, and for levels outside the format.
        """
        entropy_models: dict[int, EntropyModel] = {UNIFORM_ID: UniformModel()}
        shape = self.autoencoder
        if self.static_frequencies:
            sizes = tuple(map(len, self.static_frequencies))
            if sizes != shape.quantizer.codebook_sizes:
                raise ValueError(f"frequencies of {sizes} codes for levels of {shape.quantizer.codebook_sizes}")
            entropy_models[STATIC_ID] = StaticModel(self.static_frequencies)
        grids = tuple(map(GridSpec, shape.level_factors, shape.quantizer.codebook_sizes))
        return StreamModel(self.model_id, self.name, grids, entropy_models)

    def save(self, folder: Path) -> None:
        """Write folder/card.json."""
        fields = {name.name: getattr(self, name.name) for name in dataclasses.fields(self)}
        values = {"fingerprint": self.fingerprint} | fields | {"autoencoder": self.autoencoder.to_dict()}
        values["entropy_prior"] = self.entropy_prior.to_dict() if self.entropy_prior else None
        values = {key: value for key, value in values.items() if value or key not in ("precision", "origin")}
        write_whole(folder / CARD_FILE, _to_json(values))


@dataclass(frozen=True)
class ModelFolder:
    """A model on disk: where it lies and its card."""

    path: Path
    card: ModelCard

    @property
    def weights_path(self) -> Path:
        return self.path / WEIGHTS_FILE

    @property
    def size_bytes(self) -> int:
        """Bytes of the card, the weights and the integer prior. Raises ModelError where one of them is missing."""
        files = (CARD_FILE, WEIGHTS_FILE, *([ENTROPY_FILE] if self.card.entropy_prior else []))
        try:
            return sum((self.path / name).stat().st_size for name in files)
        except OSError as error:
            raise ModelError(f"{error.filename}: cannot be read ({error.strerror}); get the model again") from error

    @cached_property
    def stream_model(self) -> StreamModel:
        """What the container must know of this model. The integer prior is read when a stream needs it."""
        model, entropy_prior = self.card.stream_model, self.card.entropy_prior
        if entropy_prior is None:
            return model
        stored = StoredPrior(self.path / ENTROPY_FILE, entropy_prior, self.card.name)
        return replace(model, entropy_models={**model.entropy_models, stored.entropy_id: stored})


@lru_cache(maxsize=16)
def load_model_folder(path: Path) -> ModelFolder:
    """Read the card of a model folder; the weights are not looked at. Raises ModelError."""
    stated = _CARD.read(path, _card_from_json)
    if stated.card.fingerprint != stated.fingerprint:
        raise ModelError(f"{path / CARD_FILE}: its fingerprint does not match its content; get the model again")
    try:
        _ = stated.card.stream_model
    except ValueError as error:
        raise ModelError(f"{path / CARD_FILE}: not a valid model card ({error})") from error
    return ModelFolder(path, stated.card)


@dataclass(frozen=True)
class _StatedCard:
    """A card, and the fingerprint that its file states."""

    card: ModelCard
    fingerprint: str


def _card_from_json(values: dict[str, Any]) -> _StatedCard:
    fields = {key: value for key, value in values.items() if key != "fingerprint"}
    fields["autoencoder"] = AutoencoderConfig.from_dict(fields["autoencoder"])
    fields["reads"] = _tuple(fields["reads"])
    if entropy_prior := fields.get("entropy_prior"):
        fields["entropy_prior"] = EntropyPrior.from_dict(entropy_prior)
    fields["static_frequencies"] = tuple(_tuple(table) for table in _tuple(fields["static_frequencies"]))
    return _StatedCard(ModelCard(**fields), values["fingerprint"])


def _tuple(value: Any) -> tuple[Any, ...]:
    """Of a list: a text would become its letters."""
    if not isinstance(value, list):
        raise TypeError(f"{type(value).__name__} in the place of a list")
    return tuple(value)


def _to_json(values: dict[str, Any]) -> str:
    """Indented JSON, but for the long tables, which take a line each."""
    tables = values["static_frequencies"]
    marks = {f'"@{number}"': json.dumps(table, separators=(",", ":")) for number, table in enumerate(tables)}
    text = json.dumps(values | {"static_frequencies": [f"@{number}" for number in range(len(tables))]}, indent=1)
    for mark, table in marks.items():
        text = text.replace(mark, table, 1)
    return text + "\n"
