"""Pixels to tokens that do not depend on what else is computed beside them, and the profile of what computes.

On a CPU that is the core in C, whose tokens are the same on every processor, one picture at a time. On torch it is
float32 without TF32, by deterministic algorithms, in batches of one fixed shape that are filled up.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import PIL
from PIL import features

from vqcodec.cards.model_card import ModelCard, ModelFolder
from vqcodec.codec import Codec
from vqcodec.compute.choice import is_cpu
from vqcodec.dataset.errors import DatasetError
from vqcodec.models.core_networks import core_computes
from vqcodec.models.engine import Tokens
from vqcodec.native.library import core
from vqcodec.pictures.arrays import Pixels

#: crops that torch computes at once
_TORCH_BATCH: Final = 32
_DECODERS: Final = ("libjpeg_turbo", "webp", "avif", "littlecms2")


def numeric_profile(model: ModelFolder, device: str, *, fast: bool) -> dict[str, Any]:
    """What decides the last bit: arithmetic, device, and what decodes and resizes pictures. Raises DatasetError.

    device: auto, cpu, cuda, cuda:N or mps. Torch is asked only where the core does not compute.
    """
    decoders = {"pillow": PIL.__version__} | {name: str(features.version(name)) for name in _DECODERS}
    if not fast and core() is not None and core_computes(model.card.autoencoder) and is_cpu(device):
        return {"arithmetic": "native", "decoders": decoders}
    import torch

    from vqcodec.compute.devices import choose_device

    chosen = choose_device(device)
    name = torch.cuda.get_device_name(chosen) if chosen.type == "cuda" else chosen.type
    arithmetic = "bfloat16" if fast else "float32"
    about = {"arithmetic": arithmetic, "device": name, "torch": torch.__version__, "batch": _TORCH_BATCH}
    return about | {"decoders": decoders}


def check_crops(card: ModelCard, size: int | None) -> None:
    """Raises DatasetError for a model whose pictures all have one size, another than `size` pixels a side."""
    side = card.autoencoder.picture_side
    if side and size != side:
        given = "native" if size is None else size
        raise DatasetError(
            f"size {given}: model {card.name} takes pictures of {side} x {side} pixels only; take {side}"
        )


class Tokenizer:
    """One model, ready in this process.

    profile: as `numeric_profile` gives it. size: of all pictures, or None for pictures of any size. Raises DatasetError
    where this process cannot compute so, ModelError.
    """

    def __init__(
        self, model: ModelFolder, levels: int, profile: dict[str, Any], *, size: int | None, device: str = "auto"
    ) -> None:
        self.levels = levels
        self.codebook_sizes = model.card.autoencoder.quantizer.codebook_sizes[:levels]
        if profile["arithmetic"] == "native":
            self._codec = Codec.load(model.path, device="cpu")
        else:
            self._codec = _on_torch(model, profile["arithmetic"], device)
        if self._codec.arithmetic != profile["arithmetic"]:
            raise DatasetError(
                f"these tokens are made by {profile['arithmetic']} arithmetic, which is not to be had here: "
                "`vqcodec doctor` says why"
            )
        self._codec.check_pictures()
        alone = profile["arithmetic"] == "native" or size is None or size % model.card.autoencoder.downsampling_factor
        #: crops that are best given at once
        self.batch = 1 if alone else _TORCH_BATCH

    def tokens(self, pictures: Sequence[Pixels]) -> list[Sequence[Tokens]]:
        """Of pictures (H, W, 3) each the tokens (rows, cols) of each level."""
        if self.batch == 1:
            return [self._codec.tokenize_pixels(picture, levels=self.levels) for picture in pictures]
        from vqcodec.models.network_input import network_input

        made: list[Sequence[Tokens]] = []
        for start in range(0, len(pictures), self.batch):
            part = np.stack(pictures[start : start + self.batch])
            filled = np.zeros((self.batch, *part.shape[1:]), np.uint8)
            filled[: len(part)] = part
            images = network_input(self._codec.card.autoencoder, filled)
            grids = self._codec.tokenize(images.numpy(), levels=self.levels)
            made += [[grid[number] for grid in grids] for number in range(len(part))]
        return made


def _on_torch(model: ModelFolder, arithmetic: str, device: str) -> Codec:
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # deterministic matrix products on CUDA
    import torch

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    return Codec.load(model.path, device=device, dtype=getattr(torch, arithmetic))
