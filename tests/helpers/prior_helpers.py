"""A tiny prior with random weights, for the tests of what is done with priors."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from vqcodec.cards.model_card import ModelFolder, load_model_folder
from vqcodec.cards.prior_card import PRIOR_WEIGHTS_FILE, PriorCard
from vqcodec.prior.config import ConditionConfig, PriorConfig
from vqcodec.prior.transformer import Prior

CLASSES = ("cat", "dog", "7", "frog")
_SHAPE: dict[str, Any] = {"width": 16, "depth": 2, "heads": 2, "token_width": 8, "radius": 3}


def random_prior(seed: int = 3, *, sharpness: float = 1.2, **fields: Any) -> Prior:
    """A prior whose every part matters: random weights, also of the heads. sharpness: of what it predicts."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        prior = Prior(PriorConfig(**_SHAPE | fields))
        for name, weight in prior.named_parameters():
            if name.startswith("heads.") and name.endswith("weight"):
                torch.nn.init.normal_(weight, std=sharpness / weight.shape[1] ** 0.5)
            elif name.startswith(("labels", "levels", "spacings", "relative")):
                torch.nn.init.normal_(weight)
    return prior.eval().requires_grad_(False)


def write_prior(folder: Path, model: Path | ModelFolder, **fields: Any) -> Path:
    """A folder with a random prior for a model, by default of all its levels and with the classes `CLASSES`.

    condition: a kind that it is told, in the tokens of the model in the folder condition_model, by default the same.
    """
    card = (model if isinstance(model, ModelFolder) else load_model_folder(model)).card
    kind, maker = fields.pop("condition", ""), fields.pop("condition_model", None)
    told = load_model_folder(maker).card if maker else card
    shape_told = told.autoencoder.quantizer.codebook_sizes, told.autoencoder.downsampling_factor
    count, classes = fields.pop("levels", card.autoencoder.levels), fields.pop("classes", CLASSES)
    shape = {
        "codebook_sizes": card.autoencoder.quantizer.codebook_sizes[:count],
        "factors": card.autoencoder.level_factors[:count],
        "orders": (fields.pop("order", "wavefront"),) * count,
        "classes": len(classes),
        "condition": ConditionConfig(kind, *shape_told) if kind else None,
    }
    prior = random_prior(**shape | fields)
    raw = save({name: weight.contiguous() for name, weight in prior.state_dict().items()})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PRIOR_WEIGHTS_FILE).write_bytes(raw)
    PriorCard(
        name="random",
        model_id=card.model_id.hex(),
        model_name=card.name,
        prior=prior.config,
        weights_sha256=hashlib.sha256(raw).hexdigest(),
        classes=classes,
        condition_model_id=told.model_id.hex() if kind else "",
    ).save(folder)
    return folder
