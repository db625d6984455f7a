"""The networks of `vqcodec.models.compact` and `vqcodec.models.hierarchical` for the core in C. Imports no torch.

Each function builds one network from float32 weights by name, as torch's state dict has them. Registers: inputs first,
then outputs, then those for what lies between; a residual block takes one more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from vqcodec.models.config import AutoencoderConfig, CompactConfig, HierarchicalConfig, NetworksConfig, QuantizerConfig
from vqcodec.native.levels import LOOKUPS
from vqcodec.native.library import Library
from vqcodec.native.networks import DIFFERENCE, SUM, Floats, Network, NetworkBuilder, WeightsError


def core_computes(config: AutoencoderConfig) -> bool:
    """Whether the core knows these networks and levels."""
    quantizer = config.quantizer
    if config.label_map or quantizer.codebook == "gumbel" or quantizer.lookup not in LOOKUPS:
        return False
    if quantizer.code_dimension > 256:
        return False
    return isinstance(config.networks, CompactConfig | HierarchicalConfig)


def receptive_radius(networks: NetworksConfig) -> tuple[int, int]:
    """Pixels that a token depends on beyond its own, and pixels that a token reaches beyond its own when decoded.

    As the networks of torch say of themselves (`vqcodec.models.autoencoder.Autoencoder.receptive_radius`).
    """
    factor = networks.downsampling_factor
    if isinstance(networks, CompactConfig):
        strides = [networks.patch * 2**stage for stage in range(len(networks.encoder_depths))]
        encoder = networks.patch + _reach(networks.encoder_depths, strides)
        return encoder, factor + _reach(networks.decoder_depths, strides) + networks.patch
    assert isinstance(networks, HierarchicalConfig)
    strides = [networks.patch, factor, 2 * factor]
    near_depths, fine_depth, coarse_depth = networks.decoder_depths
    raising = max(2 * factor * (1 + 2 * coarse_depth), *networks.laps)
    encoder = networks.patch + _reach(networks.encoder_depths, strides)
    # a fine position may lie at either end of the coarse token that it hangs on: `factor` pixels more
    merging = factor + _reach([networks.merging_depth], [factor])
    decoder = _reach([sum(near_depths), fine_depth], strides[:2]) + networks.patch
    return encoder + raising + merging, raising + decoder


def _reach(depths: Sequence[int], strides: Sequence[int]) -> int:
    """Of residual blocks, each of two 3 x 3 convolutions."""
    return sum(2 * depth * stride for depth, stride in zip(depths, strides, strict=True))


def compact_encoder(library: Library, weights: Mapping[str, Floats], config: CompactConfig) -> Network:
    """Pixels in register 0 -> the latent in 1."""
    build = NetworkBuilder(library, weights, zeros=config.padding == "zeros")
    latent, at, other, hidden = 1, 2, 3, 4
    build.patches("encoder.linear", 0, latent, factor=config.downsampling_factor)
    build.gather(0, other, channels=3, factor=config.patch)
    build.convolve("encoder.deep.1", other, at)
    number = 2
    for stage, depth in enumerate(config.encoder_depths):
        if stage:
            build.patches(f"encoder.deep.{number}", at, other, factor=2)
            at, other, number = other, at, number + 1
        for _ in range(depth):
            build.block(f"encoder.deep.{number}", at, hidden)
            number += 1
    build.point(f"encoder.deep.{number}", at, latent, added=latent)
    return build.network()


def compact_decoder(library: Library, weights: Mapping[str, Floats], config: CompactConfig) -> Network:
    """The latent in register 0 -> pixels in 1."""
    build = NetworkBuilder(library, weights, zeros=config.padding == "zeros")
    pixels, at, other, hidden = 1, 2, 3, 4
    build.point("decoder.linear.0", 0, other)
    build.spread(other, pixels, channels=3, factor=config.downsampling_factor)
    build.convolve("decoder.deep.0", 0, at)
    number = 1
    for stage in reversed(range(len(config.decoder_depths))):
        for _ in range(config.decoder_depths[stage]):
            build.block(f"decoder.deep.{number}", at, hidden)
            number += 1
        if stage:
            build.point(f"decoder.deep.{number}", at, other, factor=2)
            at, other, number = other, at, number + 2
    build.convolve(f"decoder.deep.{number}", at, other)
    build.spread(other, pixels, channels=3, factor=config.patch, added=pixels)
    return build.network()


def hierarchical_analysis(library: Library, weights: Mapping[str, Floats], config: HierarchicalConfig) -> Network:
    """Pixels in register 0 -> features in 1, the coarse latent in 2."""
    build = NetworkBuilder(library, weights)
    features, latent, at, hidden = 1, 2, 3, 4
    near_depth, fine_depth, coarse_depth = config.encoder_depths
    build.patches("encoder.coarse_linear", 0, latent, factor=2 * config.downsampling_factor)
    build.gather(0, hidden, channels=3, factor=config.patch)
    build.convolve("encoder.features.1", hidden, at)
    _blocks(build, "encoder.features", 2, near_depth, at, hidden)
    build.patches(f"encoder.features.{2 + near_depth}", at, features, factor=2)
    _blocks(build, "encoder.features", 3 + near_depth, fine_depth, features, hidden)
    build.patches("encoder.coarse.0", features, at, factor=2)
    _blocks(build, "encoder.coarse", 1, coarse_depth, at, hidden)
    build.point(f"encoder.coarse.{1 + coarse_depth}", at, latent, added=latent)
    return build.network()


def hierarchical_fine_analysis(library: Library, weights: Mapping[str, Floats], config: HierarchicalConfig) -> Network:
    """Features in register 0, what the coarse tokens decode to in 1 and 2 (as `hierarchical_raising` gives it), pixels
    in 3 -> the fine latent in 4."""
    build = NetworkBuilder(library, weights)
    latent, at, joined, hidden = 4, 5, 6, 7
    fine = config.widths[1]
    build.combine(DIFFERENCE, 3, 2, hidden, channels=3)
    build.patches("encoder.fine_linear", hidden, latent, factor=config.downsampling_factor)
    build.join(0, 1, joined, channels=(fine, fine))
    build.point("encoder.fine.0", joined, at)
    _blocks(build, "encoder.fine", 1, config.merging_depth, at, hidden)
    build.point(f"encoder.fine.{1 + config.merging_depth}", at, latent, added=latent)
    return build.network()


def hierarchical_raising(library: Library, weights: Mapping[str, Floats], config: HierarchicalConfig) -> Network:
    """The latent of coarse levels in register 0, how many there are in 1 (rows of the embedding, position by position)
    -> features of the fine stride in 2, a picture in 3."""
    build = NetworkBuilder(library, weights)
    raised, picture, told, at, hidden = 2, 3, 4, 5, 6
    depth = config.decoder_depths[2]
    build.lapped("decoder.coarse_linear", 0, picture, factor=2 * config.downsampling_factor, lap=config.laps[0])
    build.combine(SUM, 0, 1, told, channels=config.latent_channels[0])
    build.convolve("decoder.raising.0", told, at)
    _blocks(build, "decoder.raising", 1, depth, at, hidden)
    build.point(f"decoder.raising.{1 + depth}", at, raised, factor=2)
    return build.network()


def hierarchical_painting(
    library: Library, weights: Mapping[str, Floats], config: HierarchicalConfig, *, has_fine: bool
) -> Network:
    """What the coarse tokens decode to in registers 0 and 1, how many levels there are in 2 (rows of the embedding,
    position by position), the latent of the fine levels in 3 where there are any -> pixels in 4."""
    build = NetworkBuilder(library, weights)
    pixels, at, other, hidden, linear, source = 4, 5, 6, 7, 1, 0
    near_depths, fine_depth, _ = config.decoder_depths
    fine = config.widths[1]
    if has_fine:
        build.point("decoder.from_fine", 3, other)
        build.combine(SUM, 0, other, at, channels=fine)
        build.lapped("decoder.fine_linear", 3, other, factor=config.downsampling_factor, lap=config.laps[1])
        build.combine(SUM, 1, other, pixels, channels=3)
        source, linear = at, pixels
    build.combine(SUM, source, 2, at, channels=fine)
    _blocks(build, "decoder.fine", 0, fine_depth, at, hidden)
    build.point(f"decoder.fine.{fine_depth}", at, other, factor=2)
    _blocks(build, "decoder.fine", fine_depth + 2, near_depths[0], other, at)
    build.gather(linear, hidden, channels=3, factor=config.patch)
    build.point("decoder.from_linear", hidden, other, added=other)
    _blocks(build, "decoder.last", 0, near_depths[1], other, hidden)
    build.convolve(f"decoder.last.{near_depths[1]}", other, hidden)
    build.spread(hidden, pixels, channels=3, factor=config.patch, added=linear)
    return build.network()


def _blocks(build: NetworkBuilder, name: str, first: int, depth: int, at: int, hidden: int) -> None:
    for number in range(first, first + depth):
        build.block(f"{name}.{number}", at, hidden)


def code_vectors(weights: Mapping[str, Floats], shape: tuple[int, int], config: QuantizerConfig) -> Floats:
    """The codes (K, D) as they are looked up, whatever learned them; sums in ascending order.

    weights: of one level, float32. Raises WeightsError for others than `shape`.
    """
    codes = weights.get("codebook.code_vectors")
    if codes is None or codes.shape != shape:
        raise WeightsError(f"codebook.code_vectors: expected {shape}, got {None if codes is None else codes.shape}")
    if config.codebook == "sim":
        transform = weights.get("codebook.transform.weight")
        if transform is None or transform.shape != (shape[1], shape[1]):
            raise WeightsError("codebook.transform.weight: not there, or of another shape")
        moved = np.zeros_like(codes)
        for column, weight in zip(codes.T, transform.T, strict=True):
            moved += column[:, None] * weight
        codes = moved
    if config.lookup != "euclidean" and config.codebook != "average":
        squares = np.zeros(len(codes), np.float32)
        for column in codes.T:
            squares += column * column
        codes = codes / np.maximum(np.sqrt(squares), np.float32(1e-12))[:, None]
    return codes
