"""From a checkpoint to a folder with a model, or with a prior: a card, and weights as float16."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save as save_arrays
from safetensors.torch import save
from torch import Tensor

from vqcodec.bitstream import quantise_frequencies
from vqcodec.cards.entropy_prior import EntropyPrior
from vqcodec.cards.errors import ModelError
from vqcodec.cards.model_card import CARD_FILE, ENTROPY_FILE, WEIGHTS_FILE, ModelCard, ModelFolder, load_model_folder
from vqcodec.cards.model_files import DISCRIMINATOR_FILE
from vqcodec.cards.prior_card import PRIOR_CARD_FILE, PRIOR_WEIGHTS_FILE, PriorCard, PriorFolder
from vqcodec.codec import Codec
from vqcodec.models.network_input import network_input
from vqcodec.pictures.image import padded
from vqcodec.prior.config import PriorConfig
from vqcodec.prior.context_config import ContextConfig
from vqcodec.prior.integer import IntegerPrior
from vqcodec.prior.joint import entropy_prior_model
from vqcodec.training.common.checkpoint import CheckpointError, load_checkpoint
from vqcodec.training.data.types import Pictures
from vqcodec.training.stage1.kept_discriminator import discriminator_weights
from vqcodec.training.stage1.recipe import model_config
from vqcodec.training.stage1.validation import spread
from vqcodec.training.stage2.context_export import context_arrays
from vqcodec.training.stage2.context_trainer import context_recipe_of, is_context
from vqcodec.training.stage2.crop_tokens import PictureTokens
from vqcodec.training.stage2.integer_export import integer_arrays
from vqcodec.training.stage2.recipe import Stage2Config
from vqcodec.training.stage2.trainer import stage2_recipe_of
from vqcodec.whole_files import replacing_several


def export_model(
    checkpoint: Path,
    folder: Path,
    *,
    name: str,
    pictures: Pictures,
    picture_count: int,
    description: str,
    licence: str,
) -> ModelCard:
    """Write the averaged weights of `checkpoint` as model folder `folder`, with static frequencies from `pictures`.

    Convolutions are stored as float16, the quantizer as float32; a discriminator on features beside them, for runs that
    start from the model. Frequencies are counted on the tokens of up to
    `picture_count` pictures, or taken from the model whose codebooks were held. Nothing is left in `folder`
    when this fails. Raises CheckpointError when `checkpoint` is not one of stage 1.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> from vqcodec.training import PRESETS, ArrayPictures, Stage1Trainer
        >>> recipe = replace(PRESETS["tiny"], training=replace(PRESETS["tiny"].training, steps=1, batch_size=8))
        >>> pictures = ArrayPictures(np.random.default_rng(0).integers(256, size=(8, 64, 64, 3), dtype=np.uint8))
        >>> about = {"description": "noise", "licence": "private", "picture_count": 8}
        >>> with TemporaryDirectory() as name:
        ...     Stage1Trainer(recipe, pictures, Path(name), device="cpu").run()
        ...     checkpoint = Path(name, "checkpoint-00000001.pt")
        ...     card = export_model(checkpoint, Path(name, "model"), name="mine", pictures=pictures, **about)
        ...     codec = Codec.load(Path(name, "model"))
        ...     codec.decode(codec.encode(pictures[0])).size
        (64, 64)
    """
    state = load_checkpoint(checkpoint)
    try:
        weights, step = state["average"], state["step"]
        training = {"data": description, "steps": step, "settings": state["config"]}
        origin = Origin(**state["origin"]) if state["origin"] else None
    except (KeyError, IndexError, TypeError) as error:
        raise CheckpointError(f"{checkpoint}: not a checkpoint of stage 1 ({error})") from error
    config = model_config(state)
    raw = save({key: _stored(key, value) for key, value in weights.items()})
    digest = hashlib.sha256(raw).hexdigest()

    def card(frequencies: tuple[tuple[int, ...], ...]) -> ModelCard:
        reads = origin.reads if origin else ()
        held = EntropyPrior.from_dict(origin.entropy_prior) if origin and origin.entropy_prior else None
        return ModelCard(name, config, frequencies, digest, licence, reads, held, training)

    entropy = origin.entropy if origin else None
    contents = {
        WEIGHTS_FILE: raw,
        ENTROPY_FILE: None if entropy is None else entropy.numpy().tobytes(),
        DISCRIMINATOR_FILE: discriminator_weights(state),
    }
    written = {file: content for file, content in contents.items() if content is not None}
    with replacing_several(folder, [*written, CARD_FILE]) as draft:
        for file, content in written.items():
            (draft / file).write_bytes(content)
        card(()).save(draft)
        final = card(origin.static_frequencies if origin else _static_frequencies(draft, pictures, picture_count))
        final.save(draft)
    if DISCRIMINATOR_FILE not in written:  # that of the model which was there knows another one's faults
        (folder / DISCRIMINATOR_FILE).unlink(missing_ok=True)
    load_model_folder.cache_clear()
    return final


def is_prior(checkpoint: Path) -> bool:
    """Whether a checkpoint is one of stage 2. Raises CheckpointError when it cannot be read."""
    state = load_checkpoint(checkpoint)
    return "prior_config" in state or is_context(state)


def export_prior(checkpoint: Path, folder: Path, *, name: str, description: str, licence: str) -> PriorCard:
    """Write the averaged weights of a checkpoint of stage 2 into `folder`, with their card.

    They are stored as float16, those of a context network that can code streams as float32. Nothing is left in
    `folder` when this fails. Raises CheckpointError when `checkpoint` is not one of stage 2.

    Examples:
        >>> about = {"name": "mine", "description": "our photos", "licence": "private"}
        >>> export_prior(Path("checkpoint-00000500.pt"), Path("prior"), **about)
        Traceback (most recent call last):
        vqcodec.training.common.checkpoint.CheckpointError: checkpoint-00000500.pt: no such checkpoint
    """
    state = load_checkpoint(checkpoint)
    recipe = context_recipe_of(checkpoint, state) if is_context(state) else stage2_recipe_of(checkpoint, state)
    codes = is_context(state) and recipe.model.condition is None
    stored = torch.float32 if codes else torch.float16
    raw = save({key: value.to(stored).contiguous() for key, value in state["average"].items()})
    about = state["about"]
    card = PriorCard(
        name,
        about["model_id"],
        about["model_name"],
        recipe.model,
        hashlib.sha256(raw).hexdigest(),
        licence,
        tuple(about["classes"]),
        about.get("condition_model_id", ""),
        training={"data": description, "steps": state["step"], "settings": recipe.training.to_dict()},
    )
    with replacing_several(folder, (PRIOR_WEIGHTS_FILE, PRIOR_CARD_FILE)) as draft:
        (draft / PRIOR_WEIGHTS_FILE).write_bytes(raw)
        card.save(draft)
    return card


def export_entropy_prior(
    folder: Path, prior: PriorFolder, pictures: Pictures | None, *, crops: int, context: PriorFolder | None = None
) -> ModelCard:
    """Make a prior, in whole numbers, what codes the streams of the model in `folder`, and return the model's new card.

    prior: a transformer or a context network. context: a context network for the levels after those of a transformer;
    of levels that both have, the transformer codes. pictures, crops: how many random crops of 256 pixels of which
    pictures show how large activations of a transformer get; a context network needs none. Streams that were written
    before stay readable. Raises ModelError for a model that has one already, or for a prior that cannot code: of
    another model, one that is told more than tokens or lacks levels, or two that do not go together.

    Examples:
        >>> from vqcodec import find_model
        >>> from vqcodec.cards.prior_card import find_prior
        >>> from vqcodec.training import ArrayPictures
        >>> model, pictures = find_model("photo-5"), ArrayPictures(np.zeros((1, 256, 256, 3), np.uint8))
        >>> export_entropy_prior(model.path, find_prior(model), pictures, crops=1)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        vqcodec.cards.errors.ModelError: ...: has a prior that codes its streams, which need it; export the model anew
    """
    model = load_model_folder(folder)
    if model.card.entropy_prior:
        raise ModelError(f"{folder}: has a prior that codes its streams, which need it; export the model anew")
    for each in filter(None, (prior, context)):
        each.card.check_model(model.card)
    transformer, network = (None, prior) if prior.card.context and context is None else (prior, context)
    shape, own_arrays = _transformer_arrays(folder, transformer, pictures, crops) if transformer else (None, {})
    covered, more = _context_arrays(network, shape) if network else (None, {})
    coded, levels = max(each.levels for each in (shape, covered) if each is not None), model.card.autoencoder.levels
    if coded < levels:
        raise ModelError(f"{prior.path}: has {coded} levels, and {folder} has {levels}: train a prior of all")
    arrays = own_arrays | more
    try:
        raw = save_arrays(arrays)
        entropy_prior = EntropyPrior(shape, hashlib.sha256(raw).hexdigest(), covered)
        entropy_prior_model(shape, covered, arrays)  # says whether its sums are exact
    except ValueError as error:
        raise ModelError(f"{(network or prior).path}: {error}") from error
    reads = (model.card.model_id.hex(), *model.card.reads)
    card = replace(model.card, entropy_prior=entropy_prior, reads=reads)
    with replacing_several(folder, (ENTROPY_FILE, CARD_FILE)) as draft:
        (draft / ENTROPY_FILE).write_bytes(raw)
        card.save(draft)
    load_model_folder.cache_clear()
    return card


def _transformer_arrays(
    folder: Path, prior: PriorFolder, pictures: Pictures | None, crops: int
) -> tuple[PriorConfig, dict[str, NDArray[Any]]]:
    """The shape of a transformer, and its arrays. Raises ModelError."""
    shape, config = prior.card.own_prior, Stage2Config()
    if pictures is None:
        raise ModelError(f"{prior.path}: pictures must show how large the activations of a transformer get; give some")
    codec = Codec.load(folder)
    source = PictureTokens(pictures, codec, levels=shape.levels, batch_size=crops, crop=config.crop, seed=config.seed)
    try:
        arrays = integer_arrays(prior.load_own(), source(0).levels)
        IntegerPrior(shape, arrays)  # says whether its sums are exact
    except ValueError as error:
        raise ModelError(f"{prior.path}: {error}") from error
    return shape, arrays


def _context_arrays(
    network: PriorFolder, transformer: PriorConfig | None
) -> tuple[ContextConfig, dict[str, NDArray[Any]]]:
    """The shape of a context network without the levels of a transformer, and its arrays. Raises ModelError."""
    loaded = network.load_context()
    first = transformer.levels if transformer else 0
    if not loaded.config.first <= first < loaded.config.levels:
        covered = f"{loaded.config.first + 1} to {loaded.config.levels}"
        raise ModelError(f"{network.path}: has the levels {covered}; it must go on at level {first + 1}")
    return replace(loaded.config, first=first), context_arrays(loaded, first)


@dataclass(frozen=True)
class Origin:
    """The model that a run with its codebooks held started from: whose streams the result reads.

    reads: model ids in hexadecimal. static_frequencies, entropy_prior: as in its card. entropy: the bytes of its
    integer prior's file, uint8, as checkpoints take them.
    """

    reads: tuple[str, ...]
    static_frequencies: tuple[tuple[int, ...], ...]
    entropy_prior: dict[str, Any] | None = None
    entropy: Tensor | None = None

    @classmethod
    def of(cls, model: ModelFolder) -> Origin:
        """Of a model that is trained further. Raises OSError."""
        card = model.card
        reads = (card.model_id.hex(), *card.reads)
        if card.entropy_prior is None:
            return cls(reads, card.static_frequencies)
        entropy = torch.frombuffer(bytearray((model.path / ENTROPY_FILE).read_bytes()), dtype=torch.uint8)
        return cls(reads, card.static_frequencies, card.entropy_prior.to_dict(), entropy)


def _stored(key: str, value: Tensor) -> Tensor:
    """Codes and their projections, QUANTIZER.levels.N.*, decide tokens: these stay as they are."""
    of_quantizer = key.split(".")[1:2] == ["levels"]
    return value.to(torch.float32 if of_quantizer else torch.float16).contiguous()


def _static_frequencies(folder: Path, pictures: Pictures, picture_count: int) -> tuple[tuple[int, ...], ...]:
    load_model_folder.cache_clear()
    codec = Codec.load(folder)
    config = codec.card.autoencoder
    sizes = config.quantizer.codebook_sizes
    counts = [np.zeros(size, dtype=np.int64) for size in sizes]
    for index in spread(len(pictures), picture_count):
        images = network_input(config, padded(pictures[index], config.downsampling_factor)[None])
        for total, tokens in zip(counts, codec.tokenize(images), strict=True):
            total += np.bincount(tokens.numpy().ravel(), minlength=len(total))
    tables: list[NDArray[Any]] = [quantise_frequencies(total + 1) for total in counts]
    return tuple(tuple(int(value) for value in table) for table in tables)
