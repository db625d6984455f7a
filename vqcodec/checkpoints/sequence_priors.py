"""Stage 2 of other projects -> our sequence priors: taming's Net2NetTransformer, LlamaGen's GPT."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from vqcodec.cards.model_card import ModelFolder
from vqcodec.cards.prior_card import PRIOR_CARD_FILE, PRIOR_WEIGHTS_FILE, PriorCard
from vqcodec.checkpoints.errors import ForeignCheckpointError
from vqcodec.checkpoints.stored_tensors import TensorsByName
from vqcodec.checkpoints.writing import file_sha256
from vqcodec.prior.sequence_config import SequenceConfig
from vqcodec.whole_files import replacing_several

if TYPE_CHECKING:
    from torch import Tensor

_TAMING_MARK: Final = "transformer.tok_emb.weight"
_LLAMAGEN_MARK: Final = "layers.0.attention.wqkv.weight"
#: width of a head in all of LlamaGen's models but the largest, which has 32 heads of 100
_HEAD_WIDTH: Final = 64
_LARGEST: Final = {3200: 32}


@dataclass(frozen=True)
class TranslatedPrior:
    """config, state: of `vqcodec.prior.sequence.SequencePrior`."""

    config: SequenceConfig
    state: dict[str, Tensor]


def holds_prior(tensors: TensorsByName) -> bool:
    """Whether a file has a prior of a kind that can be imported, alone or beside a tokenizer."""
    return _TAMING_MARK in tensors or _LLAMAGEN_MARK in tensors


def translate_prior(
    tensors: TensorsByName, official: Mapping[str, Any] | None, model: ModelFolder, file: Path
) -> TranslatedPrior:
    """The prior in a file, for the tokens of a model. official: the whole configuration beside the file.

    Raises ForeignCheckpointError for a model of other tokens, other conditions than classes, and other networks.
    """
    shape = model.card.autoencoder
    if shape.levels != 1:
        raise ForeignCheckpointError(f"{file}: a prior of one level, but {model.card.name} has {shape.levels}")
    read = _taming if _TAMING_MARK in tensors else _llamagen
    try:
        made = read(tensors, official or {}, shape.downsampling_factor, file)
        _check(made)
    except (KeyError, ValueError, RuntimeError, IndexError, TypeError, AttributeError, ArithmeticError) as error:
        if isinstance(error, ForeignCheckpointError):
            raise
        line = " ".join(str(error).split())[:300]
        raise ForeignCheckpointError(f"{file}: its prior is not as it should be: {line}") from error
    if made.config.codes != shape.quantizer.codebook_sizes[0]:
        raise ForeignCheckpointError(
            f"{file}: a prior for {made.config.codes} codes, but {model.card.name} has "
            f"{shape.quantizer.codebook_sizes[0]}: give the model that it was trained with"
        )
    return made


def write_prior(folder: Path, name: str, made: TranslatedPrior, model: ModelFolder, licence: str) -> PriorCard:
    """Write prior.json and prior.safetensors, float32, into `folder`."""
    from safetensors.torch import save_file

    with replacing_several(folder, [PRIOR_WEIGHTS_FILE, PRIOR_CARD_FILE]) as draft:
        save_file({key: tensor.contiguous() for key, tensor in made.state.items()}, draft / PRIOR_WEIGHTS_FILE)
        card = PriorCard(
            name=name,
            model_id=model.card.model_id.hex(),
            model_name=model.card.name,
            prior=made.config,
            weights_sha256=file_sha256(draft / PRIOR_WEIGHTS_FILE),
            licence=licence,
        )
        card.save(draft)
    return card


def _taming(tensors: TensorsByName, official: Mapping[str, Any], factor: int, file: Path) -> TranslatedPrior:
    import torch

    params = _with_key(official, "transformer_config")
    if params is None:
        raise ForeignCheckpointError(f"{file}: holds a transformer; its heads and condition stand in --config only")
    condition = params.get("cond_stage_config")
    classes = 0
    if isinstance(condition, dict):
        if not str(condition.get("target", "")).endswith("Labelator"):
            raise ForeignCheckpointError(f"{file}: its prior is told {condition.get('target')}; only classes are known")
        classes = int(condition["params"]["n_classes"])
    heads = int(params["transformer_config"]["params"]["n_head"])
    codes, width = tensors[_TAMING_MARK].shape
    depth = len({name.split(".")[2] for name in tensors if name.startswith("transformer.blocks.")})
    order = tensors["permuter.forward_shuffle_idx"].read().tolist() if "permuter.forward_shuffle_idx" in tensors else ()
    state = {
        "tokens.weight": tensors[_TAMING_MARK].read(),
        "places": tensors["transformer.pos_emb"].read()[0],
        "head.weight": tensors["transformer.head.weight"].read(),
        **_pair("norm", "transformer.ln_f", tensors),
    }
    for number in range(depth):
        theirs, ours = f"transformer.blocks.{number}", f"blocks.{number}"
        for part in ("weight", "bias"):
            parts = [tensors[f"{theirs}.attn.{name}.{part}"].read() for name in ("query", "key", "value")]
            state[f"{ours}.into.{part}"] = torch.cat(parts)
        for name, official_name in (
            ("attention_norm", "ln1"),
            ("mlp_norm", "ln2"),
            ("out", "attn.proj"),
            ("widen", "mlp.0"),
            ("narrow", "mlp.2"),
        ):
            state |= _pair(f"{ours}.{name}", f"{theirs}.{official_name}", tensors)
    hidden, positions = len(state["blocks.0.widen.bias"]), len(state["places"])
    config = SequenceConfig("taming", codes, factor, width, depth, heads, hidden, positions, classes, tuple(order))
    return TranslatedPrior(config, state)


def _llamagen(tensors: TensorsByName, official: Mapping[str, Any], factor: int, file: Path) -> TranslatedPrior:
    if "cls_embedding.embedding_table.weight" not in tensors:
        raise ForeignCheckpointError(f"{file}: its prior is told a text; only classes are known")
    params = _with_key(official, "block_size") or {}
    codes, width = tensors["tok_embeddings.weight"].shape
    heads = int(params.get("n_head") or _LARGEST.get(width, width // _HEAD_WIDTH))
    head_width = width // heads
    depth = len({name.split(".")[1] for name in tensors if name.startswith("layers.")})
    kv_heads = (tensors[_LLAMAGEN_MARK].shape[0] // head_width - heads) // 2
    state = {
        "tokens.weight": tensors["tok_embeddings.weight"].read(),
        "labels.weight": tensors["cls_embedding.embedding_table.weight"].read(),
        "norm.weight": tensors["norm.weight"].read(),
        "head.weight": tensors["output.weight"].read(),
    }
    for number in range(depth):
        for name, official_name in (
            ("attention_norm", "attention_norm"),
            ("mlp_norm", "ffn_norm"),
            ("into", "attention.wqkv"),
            ("out", "attention.wo"),
            ("widen", "feed_forward.w1"),
            ("gate", "feed_forward.w3"),
            ("narrow", "feed_forward.w2"),
        ):
            state[f"blocks.{number}.{name}.weight"] = tensors[f"layers.{number}.{official_name}.weight"].read()
    config = SequenceConfig(
        "llamagen",
        codes,
        factor,
        width,
        depth,
        heads,
        len(state["blocks.0.widen.weight"]),
        int(params.get("block_size", 256)),
        len(state["labels.weight"]) - 1,
        base=float(params.get("rope_base", 10000)),
        kv_heads=kv_heads if kv_heads != heads else 0,
    )
    return TranslatedPrior(config, state)


def _pair(ours: str, theirs: str, tensors: TensorsByName) -> dict[str, Tensor]:
    return {f"{ours}.{part}": tensors[f"{theirs}.{part}"].read() for part in ("weight", "bias")}


def _with_key(values: Mapping[str, Any], key: str) -> Mapping[str, Any] | None:
    """The outermost dict of a configuration with this key."""
    if key in values:
        return values
    found = (_with_key(value, key) for value in values.values() if isinstance(value, dict))
    return next((each for each in found if each is not None), None)


def _check(made: TranslatedPrior) -> None:
    """Raises RuntimeError, as torch does, for missing and unknown tensors and for wrong shapes."""
    import torch

    from vqcodec.prior.sequence import SequencePrior

    with torch.random.fork_rng(devices=[]):
        SequencePrior(made.config).load_state_dict(made.state)
