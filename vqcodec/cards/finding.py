"""Models found by name, by path, and by the id that a stream names. Imports no torch."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from vqcodec.bitstream import UnknownModelError, WrongModelError
from vqcodec.cards.errors import ModelError
from vqcodec.cards.model_card import CARD_FILE, ModelCard, ModelFolder, load_model_folder
from vqcodec.cards.model_files import model_from_hub
from vqcodec.hub.addresses import is_hub_address

DEFAULT_MODEL: Final = "photo-5"
#: environment variable: folders of model folders, looked through after the embedded models
MODELS_VARIABLE: Final = "VQCODEC_MODELS"
_EMBEDDED: Final = Path(__file__).parent.parent / "pretrained"
_DATA_VARIABLE: Final = "XDG_DATA_HOME"
#: models that were embedded once, and the ids whose streams they read
_FORMER_MODELS: Final = {"photo-4": ("6d35e0cb", "757514c9", "b19334ab")}


def user_models_folder() -> Path:
    """Where imported and added models lie: vqcodec/models in XDG_DATA_HOME, which by default is ~/.local/share."""
    data = os.environ.get(_DATA_VARIABLE, "")
    return (Path(data) if data else Path.home() / ".local" / "share") / "vqcodec" / "models"


def check_folder_name(name: str) -> None:
    """Raises ModelError for a model's name that cannot be that of its folder, which would lie elsewhere."""
    if name in ("", ".", "..") or Path(name).name != name or "\0" in name:
        raise ModelError(f"{name!r}: no name of a folder; a model's name has no slashes, and is not empty, . or ..")


class ModelFolderWarning(UserWarning):
    """A folder that VQCODEC_MODELS names, or a model in it, that cannot be used and was passed over."""


def installed_models() -> Iterator[ModelFolder]:
    """The embedded models, then those in the folders that VQCODEC_MODELS names, then those that were imported or added.

    They are read one by one as they are asked for. What cannot be used among all but the first gives a
    ModelFolderWarning. Raises ModelError for a damaged embedded one.

    Examples:
        >>> next(installed_models()).card.name
        'photo-5'
    """
    for card_path in sorted(_EMBEDDED.glob(f"*/{CARD_FILE}")):
        yield load_model_folder(card_path.parent)
    named = [*map(Path, filter(None, os.environ.get(MODELS_VARIABLE, "").split(os.pathsep)))]
    for folder in [*named, user_models_folder()]:
        if folder in named and not folder.is_dir():
            pass_over(f"{folder}: no such folder, but {MODELS_VARIABLE} names it")
        for card_path in sorted(folder.glob(f"*/{CARD_FILE}")):
            try:
                yield load_model_folder(card_path.parent)
            except ModelError as error:
                pass_over(f"{error}; passed over")


def pass_over(text: str) -> None:
    """Give a ModelFolderWarning."""
    warnings.warn(text, ModelFolderWarning, stacklevel=3)


def find_model(name_or_path: str | Path) -> ModelFolder:
    """A model by name, by the path of its folder, by its id (8 hexadecimal digits), or by `hf://OWNER/REPO@REVISION`.

    Raises ModelError, and HubError for a repository.

    A text that is both the name of an installed model and that of a folder here means the former; ./NAME, the folder.
    An id means the model that has it before one that reads its streams.

    Examples:
        >>> model = find_model("photo-5")
        >>> find_model(model.path) == find_model(model.card.model_id.hex()) == model
        True
    """
    text = str(name_or_path)
    if is_hub_address(text):
        return load_model_folder(model_from_hub(text))
    is_path = isinstance(name_or_path, Path) or Path(text).name != text
    if is_path and Path(text).is_dir():
        return load_model_folder(Path(text).resolve())
    models = []
    for model in installed_models():
        if text in (model.card.name, model.card.model_id.hex()):
            return model
        models.append(model)
    for model in models:
        if text in model.card.reads:
            return model
    if Path(text).is_dir():
        return load_model_folder(Path(text).resolve())
    for name, ids in _FORMER_MODELS.items():
        if text in (name, *ids):
            raise ModelError(f"{text}: {_how_to_get(name)}")
    known = ", ".join(model.card.name for model in models) or "none"
    raise ModelError(f"{text}: no such model folder, and no installed model of that name or id (installed: {known})")


def _how_to_get(former: str) -> str:
    return (
        f"{former} is no longer inside the package; `vqcodec models add {former}.zip` installs it, a file of every "
        f"release (from a checkout: `vqcodec models add released/{former}`)"
    )


def find_model_by_id(model_id: bytes) -> ModelFolder:
    """The installed model that a stream names, or else one that reads its streams. Raises UnknownModelError."""
    models = []
    for model in installed_models():
        if model.card.model_id == model_id:
            return model
        models.append(model)
    for model in models:
        if model.card.can_read(model_id):
            return model
    for name, ids in _FORMER_MODELS.items():
        if model_id.hex() in ids:
            raise UnknownModelError(
                f"the stream was written with {model_id.hex()}, a model that is not installed: {_how_to_get(name)}"
            )
    known = ", ".join(f"{model.card.name} ({model.card.model_id.hex()})" for model in models) or "none"
    raise UnknownModelError(
        f"the stream was written with model {model_id.hex()}, which is not installed (installed: {known}); "
        "install it by `vqcodec models add`, or pass its folder with --model"
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
