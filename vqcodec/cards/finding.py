"""Models found by name, by path, and by the id that a stream names. Imports no torch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from vqcodec.bitstream import UnknownModelError, WrongModelError
from vqcodec.cards.errors import ModelError
from vqcodec.cards.model_card import CARD_FILE, ModelCard, ModelFolder, load_model_folder
from vqcodec.cards.model_files import model_from_hub
from vqcodec.hub.addresses import is_hub_address

DEFAULT_MODEL: Final = "photo-4"
#: environment variable: folders of model folders, looked through after the embedded models
MODELS_VARIABLE: Final = "VQCODEC_MODELS"
_EMBEDDED: Final = Path(__file__).parent.parent / "pretrained"
_DATA_VARIABLE: Final = "XDG_DATA_HOME"


def user_models_folder() -> Path:
    """Where imported and added models lie: vqcodec/models in XDG_DATA_HOME, which by default is ~/.local/share."""
    data = os.environ.get(_DATA_VARIABLE, "")
    return (Path(data) if data else Path.home() / ".local" / "share") / "vqcodec" / "models"


def installed_models() -> Iterator[ModelFolder]:
    """The embedded models, those in the folders that VQCODEC_MODELS names, those that were imported or added.

    Raises ModelError for a damaged one.

    Examples:
        >>> next(installed_models()).card.name
        'photo-4'
    """
    named = [*map(Path, filter(None, os.environ.get(MODELS_VARIABLE, "").split(os.pathsep)))]
    for folder in [_EMBEDDED, *named, user_models_folder()]:
        if folder in named and not folder.is_dir():
            raise ModelError(f"{folder}: no such folder, but {MODELS_VARIABLE} names it")
        for card_path in sorted(folder.glob(f"*/{CARD_FILE}")):
            yield load_model_folder(card_path.parent)


def find_model(name_or_path: str | Path) -> ModelFolder:
    """A model by name, by the path of its folder, by its id (8 hexadecimal digits), or by `hf://OWNER/REPO@REVISION`.

    Raises ModelError, and HubError for a repository.

    A text that is both the name of an installed model and that of a folder here means the former; ./NAME, the folder.

    Examples:
        >>> model = find_model("photo-4")
        >>> find_model(model.path) == find_model(model.card.model_id.hex()) == model
        True
    """
    text = str(name_or_path)
    if is_hub_address(text):
        return load_model_folder(model_from_hub(text))
    is_path = isinstance(name_or_path, Path) or Path(text).name != text
    if is_path and Path(text).is_dir():
        return load_model_folder(Path(text).resolve())
    models = list(installed_models())
    for model in models:
        if text in (model.card.name, model.card.model_id.hex(), *model.card.reads):
            return model
    if Path(text).is_dir():
        return load_model_folder(Path(text).resolve())
    known = ", ".join(model.card.name for model in models) or "none"
    raise ModelError(f"{text}: no such model folder, and no installed model of that name or id (installed: {known})")


def find_model_by_id(model_id: bytes) -> ModelFolder:
    """The installed model that a stream names, or else one that reads its streams. Raises UnknownModelError."""
    models = list(installed_models())
    for readers in ([model for model in models if model.card.model_id == model_id], models):
        for model in readers:
            if model.card.can_read(model_id):
                return model
    known = ", ".join(f"{model.card.name} ({model.card.model_id.hex()})" for model in models) or "none"
    raise UnknownModelError(
        f"the stream was written with model {model_id.hex()}, which is not installed (installed: {known}); "
        f"put its folder into one that {MODELS_VARIABLE} names, or pass it with --model"
    )


def check_model_id(model_id: bytes, card: ModelCard) -> None:
    """Raises WrongModelError, naming both, unless `card` is of a model that reads streams with this model id."""
    if card.can_read(model_id):
        return
    try:
        writer = f"{find_model_by_id(model_id).card.name} ({model_id.hex()})"
    except UnknownModelError:
        writer = model_id.hex()
    raise WrongModelError(
        f"the stream was written with model {writer}, not with {card.name} ({card.model_id.hex()}); "
        "decode it with the model that it names"
    )
