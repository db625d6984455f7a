"""From a checkpoint to a folder with a model, or with a prior: a card, and weights as float16."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor

from vqcodec.bitstream import quantise_frequencies
from vqcodec.codec import Codec
from vqcodec.image import padded
from vqcodec.model_card import CARD_FILE, WEIGHTS_FILE, ModelCard, load_model_folder
from vqcodec.network_input import network_input
from vqcodec.prior_card import PRIOR_CARD_FILE, PRIOR_WEIGHTS_FILE, PriorCard
from vqcodec.training.checkpoint import CheckpointError, load_checkpoint, model_config
from vqcodec.training.data import Pictures
from vqcodec.training.stage2 import stage2_recipe_of


def export_model(
    checkpoint: Path,
    folder: Path,
    *,
    name: str,
    pictures: Pictures,
    picture_count: int,
    description: str,
    licence: str,
) -> ModelCard:
    """Write the averaged weights of `checkpoint` as model folder `folder`, with static frequencies from `pictures`.

    Convolutions are stored as float16, the quantizer as float32. Frequencies are counted on the tokens of up to
    `picture_count` pictures, or taken from the model whose Encoder and codebooks were held. Nothing is left in `folder`
    when this fails. Raises CheckpointError when `checkpoint` is not one of stage 1.
    """
    state = load_checkpoint(checkpoint)
    try:
        weights, step = state["average"], state["step"]
        training = {"data": description, "steps": step, "settings": state["config"]}
        origin = Origin(**state["origin"]) if state["origin"] else None
    except (KeyError, IndexError, TypeError) as error:
        raise CheckpointError(f"{checkpoint}: not a checkpoint of stage 1 ({error})") from error
    config = model_config(state)
    raw = save({key: _stored(key, value) for key, value in weights.items()})
    digest = hashlib.sha256(raw).hexdigest()

    def card(frequencies: tuple[tuple[int, ...], ...]) -> ModelCard:
        return ModelCard(name, config, frequencies, digest, licence, origin.reads if origin else (), training)

    with _draft_of(folder, (WEIGHTS_FILE, CARD_FILE)) as draft:
        (draft / WEIGHTS_FILE).write_bytes(raw)
        card(()).save(draft)
        final = card(origin.static_frequencies if origin else _static_frequencies(draft, pictures, picture_count))
        final.save(draft)
    load_model_folder.cache_clear()
    return final


def is_prior(checkpoint: Path) -> bool:
    """Whether a checkpoint is one of stage 2. Raises CheckpointError when it cannot be read."""
    return "prior_config" in load_checkpoint(checkpoint)


def export_prior(checkpoint: Path, folder: Path, *, name: str, description: str, licence: str) -> PriorCard:
    """Write the averaged weights of a checkpoint of stage 2 as float16 into `folder`, with their card.

    Nothing is left in `folder` when this fails. Raises CheckpointError when `checkpoint` is not one of stage 2.
    """
    state = load_checkpoint(checkpoint)
    recipe = stage2_recipe_of(checkpoint, state)
    raw = save({key: value.half().contiguous() for key, value in state["average"].items()})
    about = state["about"]
    card = PriorCard(
        name,
        about["model_id"],
        about["model_name"],
        recipe.model,
        hashlib.sha256(raw).hexdigest(),
        licence,
        tuple(about["classes"]),
        about.get("condition_model_id", ""),
        training={"data": description, "steps": state["step"], "settings": recipe.training.to_dict()},
    )
    with _draft_of(folder, (PRIOR_WEIGHTS_FILE, PRIOR_CARD_FILE)) as draft:
        (draft / PRIOR_WEIGHTS_FILE).write_bytes(raw)
        card.save(draft)
    return card


@contextmanager
def _draft_of(folder: Path, files: tuple[str, ...]) -> Iterator[Path]:
    """A folder to write `files` in, which move to `folder` at the end if all went well."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".vqcodec-", suffix=".partial", dir=folder.parent) as made_in:
        draft = Path(made_in)
        yield draft
        folder.mkdir(exist_ok=True)
        for file in files:
            (draft / file).replace(folder / file)


@dataclass(frozen=True)
class Origin:
    """The model whose Encoder and codebooks a decoder-only run holds: whose streams the result reads.

    reads: model ids in hexadecimal. static_frequencies: as in its card.
    """

    reads: tuple[str, ...]
    static_frequencies: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, card: ModelCard) -> Origin:
        """Of a model that is trained further."""
        return cls((card.model_id.hex(), *card.reads), card.static_frequencies)


def _stored(key: str, value: Tensor) -> Tensor:
    dtype = torch.float32 if key.startswith("quantizer.") else torch.float16
    return value.to(dtype).contiguous()


def _static_frequencies(folder: Path, pictures: Pictures, picture_count: int) -> tuple[tuple[int, ...], ...]:
    load_model_folder.cache_clear()
    codec = Codec.load(folder)
    config = codec.card.autoencoder
    sizes = config.quantizer.codebook_sizes
    counts = [np.zeros(size, dtype=np.int64) for size in sizes]
    for pixels in _spread(pictures, picture_count):
        images = network_input(config, padded(pixels, config.downsampling_factor)[None])
        for total, tokens in zip(counts, codec.tokenize(images), strict=True):
            total += np.bincount(tokens.numpy().ravel(), minlength=len(total))
    tables: list[NDArray[Any]] = [quantise_frequencies(total + 1) for total in counts]
    return tuple(tuple(int(value) for value in table) for table in tables)


def _spread(pictures: Pictures, count: int) -> Iterator[NDArray[np.uint8]]:
    stride = max(1, len(pictures) // count)
    for index in range(0, len(pictures), stride):
        yield pictures[index]
