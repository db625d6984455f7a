"""The files that a model folder may hold, and the same files in a repository of the hub. Imports no torch."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Final

from vqcodec.cards.model_card import CARD_FILE, ENTROPY_FILE, WEIGHTS_FILE
from vqcodec.cards.prior_card import PRIOR_CARD_FILE, PRIOR_FOLDER, PRIOR_WEIGHTS_FILE
from vqcodec.hub.addresses import parse_hub_address
from vqcodec.hub.downloads import download_files
from vqcodec.hub.errors import HubError

#: the discriminator of the run that gave a model, for runs that start from it
DISCRIMINATOR_FILE: Final = "discriminator.safetensors"
#: patterns: of a model, and of the priors in its folder. No other file is copied or downloaded, and none is a pickle.
MODEL_FILES: Final = (
    CARD_FILE,
    WEIGHTS_FILE,
    ENTROPY_FILE,
    DISCRIMINATOR_FILE,
    f"{PRIOR_FOLDER}*/{PRIOR_CARD_FILE}",
    f"{PRIOR_FOLDER}*/{PRIOR_WEIGHTS_FILE}",
)


def remove_other_files(folder: Path, kept: Collection[Path]) -> None:
    """Delete the files that a model had which lay in `folder` before, such as its prior, and folders that this empties.

    kept: those of the model that lies there now, relative to `folder`. Raises OSError.
    """
    found = {path.relative_to(folder) for pattern in MODEL_FILES for path in folder.glob(pattern)}
    for name in found.difference(kept):
        (folder / name).unlink()
        parent = (folder / name).parent
        if parent != folder and not any(parent.iterdir()):
            parent.rmdir()


def model_from_hub(address: str) -> Path:
    """The folder, in the cache, of a model in a repository. Raises HubError, also for one that holds no model."""
    parsed = parse_hub_address(address)
    folder = download_files(parsed, MODEL_FILES)
    if not (folder / CARD_FILE).is_file():
        raise HubError(
            f"{address}: holds no {CARD_FILE} of vqcodec; `vqcodec models import` takes other projects' models"
        )
    return folder
