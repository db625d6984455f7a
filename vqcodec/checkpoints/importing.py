"""A checkpoint of another project becomes a model folder: fetch, read, recognise, translate, write, check."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqcodec.cards.finding import check_folder_name, user_models_folder
from vqcodec.cards.model_card import CARD_FILE, ModelFolder, load_model_folder
from vqcodec.cards.prior_card import PRIOR_FOLDER
from vqcodec.checkpoints.checking import check_model
from vqcodec.checkpoints.errors import ForeignCheckpointError
from vqcodec.checkpoints.families import recognise
from vqcodec.checkpoints.official_config import OfficialConfig, read_official_config
from vqcodec.checkpoints.reading import CheckpointTensors, read_checkpoint
from vqcodec.checkpoints.sequence_priors import holds_prior, translate_prior, write_prior
from vqcodec.checkpoints.sources import locate
from vqcodec.checkpoints.stored_tensors import TensorsByName
from vqcodec.checkpoints.translation import translate
from vqcodec.checkpoints.writing import NOT_STATED, origin_of, writing_model


@dataclass(frozen=True)
class Imported:
    """model: what was written, or whose tokens the prior that was written predicts. warnings: in words.

    prior: the folder of a prior that was in the file, too, or alone; None for none.
    """

    model: ModelFolder
    warnings: tuple[str, ...]
    prior: Path | None = None


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
    nothing is left there when this fails. Raises ForeignCheckpointError, HubError, and ModelError for a name that is
    not one of a folder.
    """
    check_folder_name(name)
    target = folder or user_models_folder() / name
    if (target / CARD_FILE).exists() and not overwrite:
        raise ForeignCheckpointError(f"{target}: holds a model already; give another --name or --out, or -f")
    located = locate(source, revision=revision, file=file, config=config)
    official = read_official_config(located.config) if located.config else OfficialConfig()
    tensors, is_averaged = _choose(read_checkpoint(located.file), averaged)
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
    model, warnings = load_model_folder(target.resolve()), _warnings(origin, official, pixel_range)
    prior = None
    if holds_prior(tensors):
        try:
            made = translate_prior(tensors, official.content, model, located.file)
        except ForeignCheckpointError as error:
            warnings.append(f"without its prior: {error}")
        else:
            prior = model.path / PRIOR_FOLDER
            write_prior(prior, name, made, model, origin["licence_of_weights"])
    return Imported(model, tuple(warnings), prior)


def import_prior(
    source: str,
    name: str,
    model: ModelFolder,
    *,
    folder: Path,
    config: Path | None = None,
    revision: str = "",
    file: str = "",
    averaged: bool | None = None,
    licence: str = "",
    overwrite: bool = False,
) -> Path:
    """Write the prior in a checkpoint, for the tokens of a model, into `folder`. Arguments as of `import_checkpoint`.

    Raises ForeignCheckpointError, HubError.
    """
    if folder.exists() and not overwrite:
        raise ForeignCheckpointError(f"{folder}: exists already; give another --out, or -f")
    located = locate(source, revision=revision, file=file, config=config)
    official = read_official_config(located.config) if located.config else OfficialConfig()
    tensors, is_averaged = _choose(read_checkpoint(located.file), averaged)
    if averaged and not is_averaged:
        raise ForeignCheckpointError(f"{located.file}: it holds no averaged weights; leave out --ema")
    if not holds_prior(tensors):
        raise ForeignCheckpointError(f"{located.file}: holds no prior of taming-transformers or LlamaGen")
    made = translate_prior(tensors, official.content, model, located.file)
    write_prior(folder, name, made, model, licence or located.licence or NOT_STATED)
    return folder


def _choose(found: CheckpointTensors, averaged: bool | None) -> tuple[TensorsByName, bool]:
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
