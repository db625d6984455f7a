"""A checkpoint of another project becomes a model folder: fetch, read, recognise, translate, write, check."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqcodec.cards.finding import user_models_folder
from vqcodec.cards.model_card import CARD_FILE, ModelFolder, load_model_folder
from vqcodec.checkpoints.checking import check_model
from vqcodec.checkpoints.errors import ForeignCheckpointError
from vqcodec.checkpoints.families import recognise
from vqcodec.checkpoints.official_config import OfficialConfig, read_official_config
from vqcodec.checkpoints.reading import CheckpointTensors, read_checkpoint
from vqcodec.checkpoints.sources import locate
from vqcodec.checkpoints.stored_tensors import TensorsByName
from vqcodec.checkpoints.translation import translate
from vqcodec.checkpoints.writing import NOT_STATED, origin_of, writing_model


@dataclass(frozen=True)
class Imported:
    """model: what was written. warnings: in words."""

    model: ModelFolder
    warnings: tuple[str, ...]


def import_checkpoint(
    source: str,
    name: str,
    *,
    config: Path | None = None,
    revision: str = "",
    file: str = "",
    averaged: bool | None = None,
    pixel_range: str = "",
    licence: str = "",
    folder: Path | None = None,
    overwrite: bool = False,
) -> Imported:
    """Write the tokenizer in a checkpoint as a model folder.

    source, revision, file: see `vqcodec.checkpoints.sources.locate`. averaged: take the averaged weights; None to take
    them where there are any. pixel_range: "signed" or "unit", where neither tensors nor the configuration tell.
    licence: of the weights, where the source does not state it. folder: NAME in `user_models_folder()` by default;
    nothing is left there when this fails. Raises ForeignCheckpointError, HubError.
    """
    if not name or Path(name).name != name:
        raise ForeignCheckpointError(f"{name}: a model's name has no slashes and is not empty")
    target = folder or user_models_folder() / name
    if (target / CARD_FILE).exists() and not overwrite:
        raise ForeignCheckpointError(f"{target}: holds a model already; give another --name or --out, or -f")
    located = locate(source, revision=revision, file=file, config=config)
    official = read_official_config(located.config) if located.config else OfficialConfig()
    tensors, is_averaged = _choose(read_checkpoint(located.file), averaged, located.file)
    recognised = recognise(tensors.keys(), located.file)
    translated = translate(
        tensors,
        recognised,
        official,
        located.file,
        averaged=None if is_averaged else averaged,
        pixel_range=pixel_range,
    )
    origin = origin_of(translated, located, official, licence)
    origin["averaged_weights"] = origin["averaged_weights"] or is_averaged
    with writing_model(target, name, translated, origin) as draft:
        check_model(draft, located.file)
    return Imported(load_model_folder(target.resolve()), tuple(_warnings(origin, official, pixel_range)))


def _choose(found: CheckpointTensors, averaged: bool | None, file: Path) -> tuple[TensorsByName, bool]:
    """The tensors of the file, or those of its dict of averaged ones; whether they are these."""
    if found.averaged and averaged is not False:
        return found.averaged, True
    return found.tensors, False


def _warnings(origin: dict[str, Any], official: OfficialConfig, pixel_range: str) -> list[str]:
    warnings = []
    if origin["licence_of_weights"] == NOT_STATED:
        warnings.append("the licence of the weights is not stated: ask their authors, or give --licence")
    if not official.class_name and not official.pixel_range and not pixel_range:
        warnings.append(
            f"no configuration: pixels are taken as {origin['pixel_range']}, as is usual for {origin['family']}; "
            "--config or --range say otherwise"
        )
    return warnings
