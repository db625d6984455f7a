"""The discriminator of a run, kept beside the model that it gave: a run that starts from the model needs no new one.

One on features has .3 million parameters and is kept; a PatchGAN is as large as many a model, and is not.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from vqcodec.cards.model_files import DISCRIMINATOR_FILE
from vqcodec.training.common.loop import TrainingError
from vqcodec.training.stage1.discriminator import Adversary

_KEPT_KIND: Final = "features"


def discriminator_weights(state: dict[str, Any]) -> bytes | None:
    """The file of the discriminator in the state of a checkpoint, float16; None where there is none to be kept."""
    if "adversary" not in state or state["config"]["adversary"]["kind"] != _KEPT_KIND:
        return None
    network = state["adversary"]["network"]
    if not bool((network["scales"] > 0).all()):  # it has seen nothing yet
        return None
    return save({name: value.to(torch.float16).contiguous() for name, value in network.items()})


def has_kept(model: Path) -> bool:
    """Whether a discriminator lies beside the model in a folder."""
    return (model / DISCRIMINATOR_FILE).is_file()


def start_from_kept(adversary: Adversary, model: Path) -> None:
    """Start from the discriminator beside the model in a folder, where there is one that fits.

    Raises TrainingError for a file that cannot be read.
    """
    path = model / DISCRIMINATOR_FILE
    if adversary.config.kind != _KEPT_KIND or not has_kept(model):
        return
    try:
        weights = load_file(path)
    except (SafetensorError, OSError) as error:
        raise TrainingError(f"{path}: cannot be read ({error}); delete it to start from a new discriminator") from error
    shapes = {name: value.shape for name, value in adversary.network.state_dict().items()}
    if {name: value.shape for name, value in weights.items()} != shapes:
        logging.getLogger(__name__).warning(
            "%s: has other shapes than this run's discriminator, which starts from nothing", path
        )
        return
    adversary.network.load_state_dict(weights)
