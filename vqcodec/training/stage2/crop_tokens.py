"""Tokens to train a prior on: of crops, made on the way, or of crops made before and kept in a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vqcodec.codec import Codec
from vqcodec.dataset.spec import token_type
from vqcodec.models.network_input import network_input
from vqcodec.pictures.arrays import Pixels
from vqcodec.training.data.crops import UNLABELLED, CropBatches, CropConfig
from vqcodec.training.data.types import DataError, Labels, Pictures
from vqcodec.whole_files import replacing

#: makes the tokens of a condition, (B, C, h', w') int64, of crops (B, H, W, 3) uint8
ConditionMaker = Callable[[Pixels], Tensor]
_FILE_VERSION: Final = 1


@dataclass(frozen=True)
class TokenBatch:
    """levels: (B, h, w) int64 for each level. labels: (B,) int64, UNLABELLED where there is none.

    condition: (B, C, h', w') int64, the tokens of the condition's C levels.
    """

    levels: list[Tensor]
    labels: Tensor
    condition: Tensor | None = None


class TokenSource(Protocol):
    """Batch number `step` of tokens, a function of (seed, step) alone."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, by label; empty without labels."""

    def ahead(self, first: int, last: int) -> Iterator[tuple[int, TokenBatch]]:
        """(step, batch) for the steps first..last-1."""


class PictureTokens:
    """The tokens of random crops of pictures.

    share: of several processes, the part of each batch that is this one's.

    Examples:
        >>> from vqcodec import Codec
        >>> from vqcodec.training import ArrayPictures
        >>> pictures = ArrayPictures(np.zeros((2, 64, 64, 3), np.uint8))
        >>> source = PictureTokens(pictures, Codec.load(), levels=2, batch_size=3, crop=CropConfig(size=32), seed=0)
        >>> [grid.shape for grid in source(0).levels]
        [torch.Size([3, 2, 2]), torch.Size([3, 2, 2])]
    """

    def __init__(
        self,
        pictures: Pictures,
        codec: Codec,
        *,
        levels: int,
        batch_size: int,
        crop: CropConfig,
        seed: int,
        share: slice = slice(None),
        condition: ConditionMaker | None = None,
    ) -> None:
        """Raises DataError for crops that do not suit the model."""
        factor = max(codec.card.autoencoder.level_factors[:levels])
        if crop.size % factor:
            raise DataError(f"crops of {crop.size} pixels: take a multiple of {factor}")
        self.codec, self.levels, self.batch_size, self.condition = codec, levels, batch_size, condition
        self.classes = pictures.classes
        self._crops = CropBatches(pictures, batch_size=batch_size, crop=crop, seed=seed, share=share)

    def __call__(self, step: int) -> TokenBatch:
        return self._tokens(*self._crops.with_labels(step))

    def ahead(self, first: int, last: int) -> Iterator[tuple[int, TokenBatch]]:
        """(step, batch) for the steps first..last-1."""
        for step, (crops, labels) in self._crops.ahead_with_labels(first, last):
            yield step, self._tokens(crops, labels)

    def _tokens(self, crops: Pixels, labels: Labels) -> TokenBatch:
        levels = self.codec.tokenize(network_input(self.codec.card.autoencoder, crops), levels=self.levels)
        return TokenBatch(levels, torch.from_numpy(labels), self.condition(crops) if self.condition else None)


class StoredTokens:
    """Batches of the tokens in a file that `write_tokens` made.

    Raises DataError for other files, and for tokens of another model or of fewer levels.
    """

    def __init__(
        self, path: Path, *, model_id: str, levels: int, batch_size: int, seed: int, share: slice = slice(None)
    ) -> None:
        values = _read(path)
        if values["model_id"] != model_id:
            raise DataError(f"{path}: tokens of model {values['model_id']}, not of {model_id}; make them anew")
        if len(values["levels"]) < levels:
            raise DataError(f"{path}: tokens of {len(values['levels'])} levels; the prior has {levels}")
        self.classes: tuple[str, ...] = values["classes"]
        self._levels, self._labels = values["levels"][:levels], values["labels"]
        self._batch_size, self._seed, self._share = batch_size, seed, share

    def __call__(self, step: int) -> TokenBatch:
        rng = np.random.default_rng((self._seed, step))
        chosen = rng.integers(len(self._labels), size=self._batch_size)[self._share]
        levels = [torch.from_numpy(level[chosen].astype(np.int64)) for level in self._levels]
        return TokenBatch(levels, torch.from_numpy(self._labels[chosen]))

    def ahead(self, first: int, last: int) -> Iterator[tuple[int, TokenBatch]]:
        """(step, batch) for the steps first..last-1."""
        for step in range(first, last):
            yield step, self(step)


def write_tokens(path: Path, source: PictureTokens, crops: int) -> None:
    """Write the tokens of the first `crops` of `source` as a .npz file."""
    batches = [batch for _, batch in source.ahead(0, -(-crops // source.batch_size))]
    sizes = source.codec.card.autoencoder.quantizer.codebook_sizes
    grids = [torch.cat(level)[:crops].numpy() for level in zip(*(batch.levels for batch in batches), strict=True)]
    levels: dict[str, NDArray[Any]] = {
        f"level_{number}": grid.astype(token_type(sizes[number - 1])) for number, grid in enumerate(grids, start=1)
    }
    labels = torch.cat([batch.labels for batch in batches])[:crops].numpy()
    about: dict[str, Any] = {
        "version": _FILE_VERSION,
        "model_id": source.codec.card.model_id.hex(),
        "labels": labels,
        "classes": np.array(source.classes, dtype=str),
    }
    with replacing(path, durable=True) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **about, **levels)


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            if int(file["version"]) != _FILE_VERSION:
                raise DataError(f"{path}: version {file['version']} of token files, this vqcodec reads {_FILE_VERSION}")
            count = sum(name.startswith("level_") for name in file.files)
            levels = [file[f"level_{number}"] for number in range(1, count + 1)]
            labels = file["labels"]
            values = {"model_id": str(file["model_id"]), "classes": tuple(map(str, file["classes"]))}
    except DataError:
        raise
    except Exception as error:  # numpy and zipfile raise nearly everything on damaged files
        raise DataError(f"{path}: not a file of tokens; make one with `vqcodec train tokens` ({error})") from error
    if not levels or not labels.size or any(level.ndim != 3 or labels.shape != level.shape[:1] for level in levels):
        raise DataError(f"{path}: not a file of tokens; make one with `vqcodec train tokens`")
    return values | {"levels": levels, "labels": labels}


def known_labels(labels: Tensor, classes: int) -> Tensor:
    """UNLABELLED as the prior has it: `classes`."""
    return torch.where(labels == UNLABELLED, classes, labels)
