"""The families of checkpoints that can be imported, told apart by the names of their tensors."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from vqcodec.checkpoints import official_names
from vqcodec.checkpoints.errors import ForeignCheckpointError
from vqcodec.checkpoints.official_names import Rename


@dataclass(frozen=True)
class Family:
    """marks: names of tensors all of which it has. quantizer: how tokens are chosen, a name of
    `vqcodec.checkpoints.quantizers`.

    pixel_range: of pictures, where no configuration says it. beside: beginnings of names, within the tokenizer's, that
    are not needed. licence: of the code, as its repository states it.
    """

    name: str
    title: str
    repository: str
    licence: str
    marks: tuple[str, ...]
    rename: Rename = official_names.TAMING
    quantizer: str = "nearest"
    pixel_range: str = "signed"
    networks: str = "taming"
    beside: tuple[str, ...] = field(default=("loss.", "colorize", "quantize.used", "model_ema."))


@dataclass(frozen=True)
class Recognised:
    """A family, and what stands before the names of its tensors."""

    family: Family
    prefix: str


_TAMING_STAGE: Final = "encoder.down.0.block.0.conv1.weight"
_CODES: Final = "quantize.embedding.weight"

#: the first one all of whose marks are there is taken
FAMILIES: Final = (
    Family(
        "llamagen",
        "LlamaGen's VQModel (also inside Janus)",
        "https://github.com/FoundationVision/LlamaGen",
        "MIT",
        ("encoder.conv_blocks.0.res.0.conv1.weight", _CODES),
        rename=official_names.LLAMAGEN,
        quantizer="cosine",
        beside=("quantize.codebook_used", "loss."),
    ),
    Family(
        "movq",
        "MoVQ as VQModel of diffusers (Kandinsky 2)",
        "https://github.com/huggingface/diffusers",
        "Apache-2.0",
        ("encoder.down_blocks.0.resnets.0.conv1.weight", "decoder.conv_norm_out.conv_y.weight", _CODES),
        rename=official_names.DIFFUSERS,
        quantizer="told",
    ),
    Family(
        "movq",
        "MoVQ under the names of taming-transformers",
        "https://github.com/ai-forever/MoVQGAN",
        "not stated",
        (_TAMING_STAGE, "decoder.norm_out.conv_y.weight", _CODES),
        quantizer="told",
    ),
    Family(
        "diffusers",
        "VQModel of diffusers",
        "https://github.com/huggingface/diffusers",
        "Apache-2.0",
        ("encoder.down_blocks.0.resnets.0.conv1.weight", _CODES),
        rename=official_names.DIFFUSERS,
    ),
    Family(
        "maskgit",
        "MaskGIT's VQGAN (open-muse's port)",
        "https://github.com/huggingface/open-muse",
        "Apache-2.0",
        (_TAMING_STAGE, "encoder.mid.0.conv1.weight", _CODES),
        pixel_range="unit",
        networks="maskgit",
    ),
    Family(
        "open-magvit2",
        "Open-MAGVIT2's VQModel with lookup-free codes",
        "https://github.com/TencentARC/SEED-Voken",
        "Apache-2.0",
        (_TAMING_STAGE, "encoder.mid_block.0.conv1.weight", "decoder.adaptive.0.gamma.weight"),
        quantizer="signs",
        networks="magvit",
    ),
    Family(
        "simvq",
        "SimVQ",
        "https://github.com/youngsheen/SimVQ",
        "MIT",
        (_TAMING_STAGE, "encoder.mid_block.0.conv1.weight", _CODES, "quantize.embedding_proj.weight"),
        quantizer="simvq",
        networks="magvit",
    ),
    Family(
        "var",
        "VAR's multi-scale VQVAE",
        "https://github.com/FoundationVision/VAR",
        "MIT",
        (_TAMING_STAGE, "encoder.mid.attn_1.qkv.weight", "quantize.quant_resi.qresi_ls.0.weight", _CODES),
        quantizer="scales",
        beside=("loss.", "quantize.ema_vocab_hit_SV"),
    ),
    Family(
        "taming-gumbel",
        "GumbelVQ of taming-transformers",
        "https://github.com/CompVis/taming-transformers",
        "MIT",
        (_TAMING_STAGE, "quantize.embed.weight", "quantize.proj.weight"),
        quantizer="gumbel",
    ),
    Family(
        "rq-vae",
        "RQ-VAE",
        "https://github.com/kakaobrain/rq-vae-transformer",
        "Apache-2.0",
        (_TAMING_STAGE, "quantizer.codebooks.0.weight"),
        quantizer="residual",
        beside=("loss.",),
    ),
    Family(
        "vqgan-lc",
        "VQGAN-LC",
        "https://github.com/zh460045050/VQGAN-LC",
        "not stated",
        (_TAMING_STAGE, "tok_embeddings.weight", "codebook_projection.weight"),
        quantizer="projected",
        beside=("discriminator.", "perceptual_loss.", "loss."),
    ),
    Family(
        "taming",
        "VQModel of taming-transformers or latent-diffusion, or open-muse's port",
        "https://github.com/CompVis/taming-transformers",
        "MIT",
        (_TAMING_STAGE, "encoder.mid.block_1.conv1.weight", _CODES, "quant_conv.weight"),
    ),
)
#: has taming's names; chosen by the configuration's class, or by averaged weights beside codes of many dimensions
IBQ: Final = Family(
    "ibq",
    "IBQ of SEED-Voken",
    "https://github.com/TencentARC/SEED-Voken",
    "Apache-2.0",
    FAMILIES[-1].marks,
    quantizer="product",
)
#: prefixes of a tokenizer inside a larger model, the first that fits; others are tried after them
_PREFIXES: Final = ("", "first_stage_model.", "gen_vision_model.", "module.", "vqvae.")
_NO_TOKENIZERS: Final = ("cond_stage_model.",)
_CONV_IN: Final = "encoder.conv_in.weight"


def recognise(names: Collection[str], file: Path) -> Recognised:
    """The family of a state dict with these names. Raises ForeignCheckpointError that lists what was looked for."""
    found = {name.removesuffix(_CONV_IN) for name in names if name.endswith(_CONV_IN)}
    prefixes: list[str] = [prefix for prefix in _PREFIXES if prefix in found]
    prefixes += sorted(found.difference(_PREFIXES, _NO_TOKENIZERS))
    for prefix in prefixes:
        for family in FAMILIES:
            if all(prefix + mark in names for mark in family.marks):
                return Recognised(family, prefix)
    known = "; ".join(f"{family.title} ({', '.join(family.marks)})" for family in FAMILIES)
    raise ForeignCheckpointError(f"{file}: of no family that is known; looked for: {known}")
