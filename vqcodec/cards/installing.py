"""Models of vqcodec are copied to where they are found by name."""

from __future__ import annotations

import shutil
import zlib
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from zipfile import BadZipFile, ZipFile

from vqcodec.cards.errors import ModelError
from vqcodec.cards.finding import check_folder_name, user_models_folder
from vqcodec.cards.model_card import CARD_FILE, ENTROPY_FILE, ModelFolder, load_model_folder
from vqcodec.cards.model_files import MODEL_FILES, model_from_hub, remove_other_files
from vqcodec.cards.reading import read_named_file
from vqcodec.hub.addresses import is_hub_address
from vqcodec.whole_files import replacing_several


def install_model(source: str, folder: Path | None = None, *, overwrite: bool = False) -> ModelFolder:
    """Copy a model, from a folder, a zip file of one or hf://OWNER/REPO[/FOLDER][@REVISION], with its priors.

    folder: its name in `user_models_folder()` by default. Weights are compared with the sha256 in the card first.
    Raises ModelError, HubError.
    """
    if source.lower().endswith(".zip") and Path(source).is_file():
        with TemporaryDirectory() as unpacked:
            try:
                return _install(_unpack(Path(source), Path(unpacked)), source, folder, overwrite)
            except ModelError as error:  # whose folder is gone
                raise ModelError(str(error).replace(f"{Path(unpacked).resolve()}/", f"{source}: ")) from error
    return _install(model_from_hub(source) if is_hub_address(source) else Path(source), source, folder, overwrite)


def _unpack(archive: Path, folder: Path) -> Path:
    """The folder of the model in a zip file that holds one; only files of models leave it. Raises ModelError."""
    try:
        with ZipFile(archive) as packed:
            for name in packed.namelist():
                if any(PurePosixPath(name).match(pattern) for pattern in MODEL_FILES):
                    packed.extract(name, folder)
    except (BadZipFile, NotImplementedError, RuntimeError, EOFError, zlib.error) as error:
        raise ModelError(f"{archive}: not a readable zip file ({error})") from error
    cards = [*folder.rglob(CARD_FILE)]
    if len(cards) != 1:
        raise ModelError(f"{archive}: holds {len(cards)} model cards (card.json), not one")
    return cards[0].parent


def _install(origin: Path, source: str, folder: Path | None, overwrite: bool) -> ModelFolder:
    model = load_model_folder(origin.resolve())
    card = model.card
    if folder is None:
        try:
            check_folder_name(card.name)
        except ModelError as error:
            raise ModelError(f"{source}: {error}; give --out") from error
        folder = user_models_folder() / card.name
    if folder.exists() and not overwrite:
        raise ModelError(f"{folder}: exists already; give -f to overwrite it")
    read_named_file(model.weights_path, card.weights_sha256, "weights", f"model {card.name}")
    if card.entropy_prior:
        read_named_file(model.path / ENTROPY_FILE, card.entropy_prior.sha256, "integer prior", f"model {card.name}")
    copy_model(model, folder)
    return load_model_folder(folder.resolve())


def copy_model(model: ModelFolder, folder: Path) -> None:
    """Copy the files of a model into a folder, all or none; those of another model that was there go. Raises OSError.

    A folder that is the model's own stays as it is.
    """
    if folder.exists() and folder.samefile(model.path):
        return
    names = {path.relative_to(model.path) for pattern in MODEL_FILES for path in model.path.glob(pattern)}
    in_order = sorted(names, key=lambda name: (name == Path(CARD_FILE), name))  # without its card there is no model
    with replacing_several(folder, [str(name) for name in in_order]) as draft:
        for name in in_order:
            (draft / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(model.path / name, draft / name)
    remove_other_files(folder, names)
    load_model_folder.cache_clear()
