"""From a checkpoint to a model folder: card.json and float16 weights."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
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
from vqcodec.image import to_tensor
from vqcodec.model_card import CARD_FILE, WEIGHTS_FILE, ModelCard, load_model_folder
from vqcodec.training.checkpoint import CheckpointError, load_checkpoint, model_config
from vqcodec.training.data import Pictures


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

    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".vqcodec-", suffix=".partial", dir=folder.parent) as made_in:
        draft = Path(made_in)
        (draft / WEIGHTS_FILE).write_bytes(raw)
        card(()).save(draft)
        final = card(origin.static_frequencies if origin else _static_frequencies(draft, pictures, picture_count))
        final.save(draft)
        folder.mkdir(exist_ok=True)
        for file in (WEIGHTS_FILE, CARD_FILE):
            (draft / file).replace(folder / file)
    load_model_folder.cache_clear()
    return final


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
    sizes = codec.card.autoencoder.quantizer.codebook_sizes
    counts = [np.zeros(size, dtype=np.int64) for size in sizes]
    for pixels in _spread(pictures, picture_count):
        images = to_tensor(np.ascontiguousarray(pixels), codec.card.autoencoder.downsampling_factor)
        for total, tokens in zip(counts, codec.tokenize(images), strict=True):
            total += np.bincount(tokens.numpy().ravel(), minlength=len(total))
    tables: list[NDArray[Any]] = [quantise_frequencies(total + 1) for total in counts]
    return tuple(tuple(int(value) for value in table) for table in tables)


def _spread(pictures: Pictures, count: int) -> Iterator[NDArray[np.uint8]]:
    stride = max(1, len(pictures) // count)
    for index in range(0, len(pictures), stride):
        yield pictures[index]
