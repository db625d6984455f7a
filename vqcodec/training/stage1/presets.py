"""Recipes by name: photo-4's beginning, photo-5's, the paper's, a tiny one, the ancestors, and models of label maps.

The ancestors (VQ-VAE, VQ-VAE-2, a discrete VAE) have their papers' quantisation and losses in our networks, with the
papers' downsampling factors and codebook sizes: what is compared is the method, not the layers.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

from vqcodec.models.config import AutoencoderConfig, CompactConfig, HierarchicalConfig, QuantizerConfig
from vqcodec.models.taming_config import TamingConfig
from vqcodec.pictures.label_maps import LABEL_MAPS
from vqcodec.training.data.crops import CropConfig
from vqcodec.training.stage1.discriminator import AdversaryConfig
from vqcodec.training.stage1.losses import LossWeights
from vqcodec.training.stage1.recipe import Stage1Config, Stage1Recipe

_PHOTO_WIDTHS: Final = (64, 160, 320, 320)
_TINY_WIDTHS: Final = (32, 64, 96, 128)


def compact_networks(factor: int, widths: tuple[int, ...] = _PHOTO_WIDTHS, latent_channels: int = 128) -> CompactConfig:
    """The default networks for a downsampling factor of 1, 2, 4, 8, 16 or 32. Raises ValueError for others.

    The first stage is at stride 4, or at that of the factor where this is smaller.
    """
    patch = min(4, factor)
    stages = 1 + max(0, round(math.log2(factor / patch))) if factor > 0 else 0
    if factor not in (1, 2, 4, 8, 16, 32):
        raise ValueError(f"a downsampling factor of {factor}: take 1, 2, 4, 8, 16 or 32")
    return CompactConfig(
        patch=patch,
        encoder_widths=widths[:stages],
        encoder_depths=(1,) * (stages - 1) + (2,),
        encoder_hidden=(0.5,) * stages,
        decoder_widths=widths[:stages],
        decoder_depths=(1,) * (stages - 1) + (2,),
        decoder_hidden=(1.0,) + (0.5,) * (stages - 1),
        latent_channels=latent_channels,
    )


def with_factor(recipe: Stage1Recipe, factor: int) -> Stage1Recipe:
    """The recipe with default networks of another downsampling factor. Raises ValueError for others than 1 to 32."""
    present = recipe.model.networks
    if not isinstance(present, CompactConfig):
        raise ValueError("the downsampling factor of the paper's networks follows from their channel multipliers")
    if factor == present.downsampling_factor:
        return recipe
    widths = _TINY_WIDTHS if max(present.encoder_widths) < max(_PHOTO_WIDTHS) else _PHOTO_WIDTHS
    networks = compact_networks(factor, widths, present.latent_channels)
    return replace(recipe, model=replace(recipe.model, networks=networks))


def with_codebook_size(recipe: Stage1Recipe, codes: int) -> Stage1Recipe:
    """The recipe with K codes at every level. Raises ValueError for others than 2 to 262144."""
    quantizer = replace(recipe.model.quantizer, codebook_sizes=(codes,) * recipe.model.levels)
    return replace(recipe, model=replace(recipe.model, quantizer=quantizer))


_NO_NETWORKS: Final = LossWeights(l1=1.0, colour=0.0).without_networks()
_PIXELS_ONLY: Final = replace(_NO_NETWORKS, l1=0.0, l2=1.0, commitment=0.25, codebook=1.0)
_NO_ADVERSARY: Final = AdversaryConfig(weight=0.0)


def _taming(codes: int) -> Stage1Recipe:
    """Esser et al., 2021, table 7, with the losses, rate and optimiser of the official ImageNet configuration.

    What differs: batches of 8, not of 3 on each GPU; half of the crops are resized and mirrored; gradients are clipped.
    """
    quantizer = QuantizerConfig((codes,), 256, codebook="gradient", lookup="euclidean")
    weights = replace(_NO_NETWORKS, lpips_vgg=1.0, vgg_crops=0, commitment=0.25, codebook=1.0)
    training = Stage1Config(
        steps=300_000,
        batch_size=8,
        crop=CropConfig(size=256),
        learning_rate=4.5e-6 * 8,
        betas=(0.5, 0.9),
        weight_decay=0.0,
        warmup_steps=0,
        slow_share=1.0,
        decay_share=0.0,
        perceptual_rise_steps=0,
        revival_interval=0,
        weights=weights,
        adversary=AdversaryConfig(weight=0.8, start=250_000, learning_rate=4.5e-6 * 8),
    )
    return Stage1Recipe(AutoencoderConfig(TamingConfig(), quantizer), training)


def _tiny() -> Stage1Recipe:
    networks = compact_networks(4, _TINY_WIDTHS[1:], 32)
    crop = CropConfig(size=32, resized=0.0, pad=True)
    training = Stage1Config(
        steps=2_000, batch_size=32, crop=crop, learning_rate=1e-3, weights=_NO_NETWORKS, adversary=_NO_ADVERSARY
    )
    return Stage1Recipe(AutoencoderConfig(networks, QuantizerConfig((256,), 8)), training)


def _ancestor(factor: int, quantizer: QuantizerConfig, weights: LossWeights) -> Stage1Recipe:
    training = Stage1Config(weights=weights, adversary=_NO_ADVERSARY, slow_share=1.0)
    return Stage1Recipe(AutoencoderConfig(compact_networks(factor), quantizer), training)


def _vqvae() -> Stage1Recipe:
    """van den Oord et al., 2017, §4.1: f = 4, K = 512, D = 64, squared error, beta 0.25, codes by their losses."""
    return _ancestor(4, QuantizerConfig((512,), 64, codebook="gradient", lookup="euclidean"), _PIXELS_ONLY)


def _vqvae2() -> Stage1Recipe:
    """Razavi et al., 2019, table 1: levels at f = 8 and f = 4, K = 512, D = 64, beta 0.25, codes by moving averages."""
    quantizer = QuantizerConfig((512, 512), 64, lookup="euclidean", level_strides=(2, 1))
    recipe = _ancestor(4, quantizer, replace(_PIXELS_ONLY, codebook=0.0))
    return replace(recipe, training=replace(recipe.training, level_shares=(0.0, 1.0)))


def _dvae() -> Stage1Recipe:
    """Ramesh et al., 2021, §2.1 and appendix A.2: f = 8, K = 8192, temperature 1 to 1/16; L1 for the logit-Laplace.

    The weight of the divergence is that of the Gumbel quantiser in the code of Esser et al.
    """
    weights = replace(_NO_NETWORKS, commitment=0.0, codebook=5e-4)
    return _ancestor(8, QuantizerConfig((8192,), 128, codebook="gumbel", lookup="euclidean"), weights)


def _label_map(name: str) -> Stage1Recipe:
    """Label maps as conditions of a prior of a model at f = 16, by cross-entropy."""
    networks = compact_networks(16, _TINY_WIDTHS, 64)
    weights = replace(_NO_NETWORKS, l1=0.0, cross_entropy=1.0)
    training = replace(_tiny().training, batch_size=16, crop=CropConfig(size=128), weights=weights)
    return Stage1Recipe(AutoencoderConfig(networks, QuantizerConfig((512,) * 3, 8), label_map=name), training)


def _photo_5() -> Stage1Recipe:
    """Two levels of 1,024 codes at f = 16, told to four of 32 to 256 codes at f = 8."""
    quantizer = QuantizerConfig(
        (1024, 1024, 32, 64, 256, 256), 16, lookup="euclidean", level_strides=(2, 2, 1, 1, 1, 1)
    )
    weights = LossWeights(
        l1=1.0,
        distortion_by_level=(0.5, 0.5, 0.75, 1.5, 3.0, 4.0),
        chroma=3.0,
        border_jump=0.5,
        repetition=0.75,
        lpips_alex=3.0,
        lpips_vgg=2.0,
        dists=1.5,
        vgg_crops=16,
        dists_pictures=2,
    )
    adversary = AdversaryConfig(
        kind="features",
        weight=0.25,
        start=3_500,
        rise_steps=2_000,
        by_level=(1.0, 1.0, 1.0, 0.9, 0.8, 0.8),
        weight_interval=16,
    )
    training = Stage1Config(
        steps=400_000,
        batch_size=16,
        crop=CropConfig(resized=1.0, smallest=1.3, largest=2.4),
        decay_share=0.0,
        gradient_clip=10.0,
        clip_quantile=0.7,
        level_shares=(1.0, 0.75, 1.0, 1.25, 1.5, 1.75),
        ema_decay=0.9995,
        weights=weights,
        adversary=adversary,
    )
    networks = HierarchicalConfig(encoder_depths=(1, 2, 2), merging_depth=3)
    return Stage1Recipe(AutoencoderConfig(networks, quantizer), training)


PRESETS: Final[dict[str, Stage1Recipe]] = {
    "photo": Stage1Recipe(),
    "photo-5": _photo_5(),
    "tiny": _tiny(),
    "taming-f16": _taming(1024),
    "taming-f16-16384": _taming(16384),
    "vqvae": _vqvae(),
    "vqvae-2": _vqvae2(),
    "dvae": _dvae(),
    **{name: _label_map(name) for name in LABEL_MAPS},
}
