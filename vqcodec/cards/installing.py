"""Models of vqcodec are copied to where they are found by name."""

from __future__ import annotations

import zlib
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from zipfile import BadZipFile, ZipFile

from vqcodec.cards.errors import ModelError
from vqcodec.cards.finding import user_models_folder
from vqcodec.cards.model_card import CARD_FILE, ENTROPY_FILE, ModelFolder, load_model_folder
from vqcodec.cards.model_files import MODEL_FILES, model_from_hub
from vqcodec.cards.reading import read_named_file
from vqcodec.hub.addresses import is_hub_address
from vqcodec.whole_files import write_whole


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
    card, target = model.card, folder or user_models_folder() / model.card.name
    if Path(card.name).name != card.name:
        raise ModelError(f"{source}: its card names it {card.name!r}, which is no name of a folder; give --out")
    if target.exists() and not overwrite:
        raise ModelError(f"{target}: exists already; give -f to overwrite it")
    read_named_file(model.weights_path, card.weights_sha256, "weights", f"model {card.name}")
    if card.entropy_prior:
        read_named_file(model.path / ENTROPY_FILE, card.entropy_prior.sha256, "integer prior", f"model {card.name}")
    names = sorted({path.relative_to(model.path) for pattern in MODEL_FILES for path in model.path.glob(pattern)})
    for name in sorted(names, key=lambda each: each.name == CARD_FILE):  # the card last: without it there is no model
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        write_whole(target / name, (model.path / name).read_bytes())
    left = {path.relative_to(target) for pattern in MODEL_FILES for path in target.glob(pattern)}
    for name in left.difference(names):  # such as a prior of the model that was there before
        (target / name).unlink()
    load_model_folder.cache_clear()
    return load_model_folder(target.resolve())
