"""Small context networks with random weights, of three levels of two resolutions, for the tests of them."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from integer_helpers import draw
from safetensors.torch import save

from vqcodec.bitstream import TokenGrid
from vqcodec.cards.model_card import load_model_folder
from vqcodec.cards.prior_card import PRIOR_WEIGHTS_FILE, PriorCard
from vqcodec.prior.config import ConditionConfig
from vqcodec.prior.context import ContextModel
from vqcodec.prior.context_config import ContextConfig, context_config
from vqcodec.prior.context_network import ContextNetwork
from vqcodec.training.stage2.context_export import context_arrays

SIZES, FACTORS = (20, 12, 9), (16, 8, 8)
SMALL: dict[str, Any] = {"channels": 12, "token_width": 4, "hidden": 10}


def random_network(config: ContextConfig, seed: int = 3) -> ContextNetwork:
    """Whose every part matters: no layer starts at zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = ContextNetwork(config)
        for name, weight in network.named_parameters():
            if name.endswith(("point.weight", "codes.weight")):
                torch.nn.init.normal_(weight, std=1 / weight.shape[1] ** 0.5)
            elif name.endswith("bias"):
                torch.nn.init.normal_(weight, std=0.3)
    return network.eval().requires_grad_(False)


@lru_cache
def context_models(first: int = 0, **fields: Any) -> tuple[ContextNetwork, ContextModel]:
    """The same in torch and in numpy."""
    network = random_network(ContextConfig(SIZES, FACTORS, first, **SMALL | fields))
    return network, ContextModel(network.config, context_arrays(network))


def grids(
    size: tuple[int, int], seed: int = 0, sizes: tuple[int, ...] = SIZES, factors: tuple[int, ...] = FACTORS
) -> tuple[TokenGrid, ...]:
    """Random tokens of a picture of (height, width) pixels."""
    shapes = [(-(-size[0] // factor), -(-size[1] // factor)) for factor in factors]
    return tuple(TokenGrid(draw(k, shape, seed + k), k) for k, shape in zip(sizes, shapes, strict=True))


def tensors(pyramid: tuple[TokenGrid, ...]) -> list[torch.Tensor]:
    """(1, h, w) int64 of each level."""
    return [torch.from_numpy(grid.indices[None].astype(np.int64)) for grid in pyramid]


def write_context(folder: Path, model: Path, *, first: int = 0, levels: int | None = None, condition: str = "") -> Path:
    """A folder with a random context network for the model in another.

    condition: a kind that it is told, in the tokens of the model itself.
    """
    card = load_model_folder(model).card
    sizes, factor = card.autoencoder.quantizer.codebook_sizes, min(card.autoencoder.level_factors)
    told = ConditionConfig(condition, sizes, factor) if condition else None
    config = context_config(card.autoencoder, first=first, levels=levels, condition=told, **SMALL)
    raw = save({name: weight.contiguous() for name, weight in random_network(config).state_dict().items()})
    folder.mkdir(parents=True)
    (folder / PRIOR_WEIGHTS_FILE).write_bytes(raw)
    sha256 = hashlib.sha256(raw).hexdigest()
    maker = card.model_id.hex() if condition else ""
    PriorCard("random", card.model_id.hex(), card.name, config, sha256, condition_model_id=maker).save(folder)
    return folder
