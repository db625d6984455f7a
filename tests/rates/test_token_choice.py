"""Tokens by what they cost: fewer bits for more weight, every limit kept, every model."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from integer_helpers import SIZES, priors

from vqcodec.bitstream import (
    FREQUENCY_TOTAL,
    EntropyModel,
    GridSpec,
    StaticModel,
    StreamModel,
    UniformModel,
    quantise_frequencies,
    read_header,
    read_stream,
    write_stream,
)
from vqcodec.bitstream.boxes import stored_boxes
from vqcodec.codec import Codec
from vqcodec.models.autoencoder import Analysis
from vqcodec.models.config import AutoencoderConfig, CompactConfig, QuantizerConfig
from vqcodec.models.quantizer import ResidualQuantizer
from vqcodec.models.single_latent import VQAutoencoder
from vqcodec.models.torch_engine import TorchEngine
from vqcodec.pictures.image import LoadedImage
from vqcodec.rates.rate import OperatingPoint, RateError
from vqcodec.rates.token_choice import PictureStream, TokenChooser

#: width and height of a picture whose latent is 7 x 9
SIZE = (140, 112)
PICTURE = LoadedImage(np.random.default_rng(2).integers(0, 256, (90, 130, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def codec(coding_model: Path) -> Codec:
    return Codec.load(coding_model, device="cpu")


def quantizer(**fields: object) -> ResidualQuantizer:
    torch.manual_seed(4)
    config = replace(QuantizerConfig(SIZES, 4), **fields)  # type: ignore[arg-type]
    made = ResidualQuantizer(6, config).eval()
    with torch.no_grad():
        made.start_levels(torch.randn(1, 6, 16, 16), torch.Generator().manual_seed(0))
    return made


def chooser(entropy_model: EntropyModel | None = None, **fields: object) -> TokenChooser:
    latent = torch.randn(1, 6, 7, 9, generator=torch.Generator().manual_seed(1))
    levels = quantizer(**fields)
    network = VQAutoencoder(AutoencoderConfig(CompactConfig(latent_channels=6), levels.config))
    network.quantizer = levels
    engine = TorchEngine(network, torch.device("cpu"), torch.float32)
    entropy_model = entropy_model or priors()[1]
    grids = [GridSpec(16 * s, size) for s, size in zip(levels.config.strides, SIZES, strict=True)]
    model = StreamModel(bytes(4), "toy", tuple(grids), {entropy_model.entropy_id: entropy_model})
    stream = PictureStream(model, SIZE, entropy_model.entropy_id)
    return TokenChooser(engine, Analysis((latent,), (Fraction(1),)), stream)


STATIC = StaticModel([quantise_frequencies(np.arange(size) ** 2 + 1) for size in SIZES])
KINDS = [
    {},
    {"lookup": "cosine"},
    {"lookup": "euclidean"},
    {"lookup": "product", "codebook": "gradient"},
    {"codebook": "gumbel"},
    {"codebook": "sim"},
    {"level_strides": (2, 1, 1)},
]


@pytest.mark.parametrize("fields", KINDS, ids=str)
def test_without_weight_they_are_those_of_the_nearest_codes(fields: dict[str, object]) -> None:
    made = chooser(STATIC, **fields)
    expected = made._engine.tiled.network.choose_tokens(made._analysis, 3)
    for grid, tokens in zip(made.at(OperatingPoint(3)).tokens.levels, expected, strict=True):
        assert np.array_equal(grid.indices, tokens[0].numpy())
    level, vectors = made._engine.tiled.network.each_level()[0], torch.randn(20, 6)
    distances = level.distances(vectors)
    assert torch.equal(distances.argmin(dim=1), level.choose(vectors))
    assert distances.min() >= 0


@pytest.mark.parametrize("fields", KINDS, ids=str)
def test_more_weight_is_fewer_bytes_and_more_distance(fields: dict[str, object]) -> None:
    made = chooser(STATIC, **fields)
    weights = (0.0, 0.02, 0.1, 0.4, 3.0)
    sizes = [made.stream_bytes(OperatingPoint(1, weight)) for weight in weights]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < sizes[0]
    level, (latent,) = made._engine.tiled.network.each_level()[0], made._analysis.tensors
    vectors = latent if "level_strides" not in fields else torch.nn.functional.avg_pool2d(
        latent, 2, ceil_mode=True, count_include_pad=False
    )  # fmt: skip
    by_position = level.distances(vectors[0].permute(1, 2, 0).reshape(-1, 6)).detach().numpy()
    far = [
        by_position[np.arange(len(by_position)), made.at(OperatingPoint(1, w)).tokens.levels[0].indices.ravel()].sum()
        for w in weights
    ]
    assert far == sorted(far)


@pytest.mark.parametrize("entropy_model", [UniformModel(), STATIC, priors()[1]], ids=lambda model: model.name)
def test_what_is_chosen_takes_what_was_foretold(entropy_model: EntropyModel) -> None:
    made = chooser(entropy_model)
    stream = made._stream
    points = [OperatingPoint(1), OperatingPoint(3), OperatingPoint(1, 0.3), OperatingPoint(3, 0.1)]
    for point in (*points, OperatingPoint(3, share=0.5), OperatingPoint(2, 0.1, share=0.9)):
        chosen = made.at(point)
        assert len(chosen.tokens) == point.levels
        written = write_stream(
            chosen.tokens,
            model=stream.model,
            width=SIZE[0],
            height=SIZE[1],
            entropy_id=stream.entropy_id,
            blocks=chosen.blocks,
        )
        assert len(written) == made.stream_bytes(point)
        read = read_stream(written, lambda model_id: stream.model)
        assert (read.tokens, read.blocks) == (chosen.tokens, chosen.blocks)


def test_a_larger_share_has_more_blocks_of_those_that_count() -> None:
    made = chooser(STATIC)
    whole = made.at(OperatingPoint(3)).tokens.levels[-1].indices
    level = made._engine.tiled.network.each_level()[2]
    energy = level.reconstruct(torch.tensor(whole.astype(np.int64)).flatten()).square().sum(dim=1).view(7, 9).numpy()
    before = np.zeros((2, 3), bool)
    for blocks in (1, 2, 3):
        chosen = made.at(OperatingPoint(3, share=blocks / 6))
        assert chosen.blocks is not None
        coded = chosen.blocks.coded
        assert coded.sum() == blocks
        assert coded[before].all()
        mask = chosen.blocks.tokens(16, (7, 9)).mask
        assert np.array_equal(chosen.tokens.levels[-1].indices[mask], whole[mask])
        by_block = [energy[4 * row : 4 * row + 4, 4 * col : 4 * col + 4].sum() for row in range(2) for col in range(3)]
        assert min(np.array(by_block)[coded.ravel()]) >= max(np.array(by_block)[~coded.ravel()])
        before = coded
    assert made.at(OperatingPoint(3, share=0.99)).blocks is None
    assert made.at(OperatingPoint(1, share=0.5)).blocks is None


def test_a_share_that_takes_no_less_is_the_whole_level() -> None:
    """With certain tokens nothing is saved, and a map has its bytes."""
    sure = [np.full(size, 1) for size in SIZES]
    for table in sure:
        table[0] = FREQUENCY_TOTAL - len(table) + 1
    made = chooser(StaticModel(sure))
    for level in made._engine.tiled.network.each_level():
        level.choose = lambda latent: torch.zeros(len(latent), dtype=torch.int64)  # type: ignore[method-assign]
    assert made.at(OperatingPoint(3, share=0.5)) == made.at(OperatingPoint(3))


def test_equal_costs_leave_the_nearest(codec: Codec) -> None:
    assert codec.encode(PICTURE, weight=0.4, entropy="uniform") == codec.encode(PICTURE, entropy="uniform")


# ---- through the codec ----


@pytest.mark.parametrize("entropy", ["prior", "static"])
def test_limits_are_kept_and_streams_come_back(codec: Codec, entropy: str) -> None:
    whole, first = (len(codec.encode(PICTURE, levels=levels, entropy=entropy)) for levels in (2, 1))
    sizes = []
    for limit in (first, (first + whole) // 2, whole - 1, whole, 10 * whole):
        stream = codec.encode(PICTURE, max_bytes=limit, entropy=entropy)
        assert len(stream) <= limit
        assert codec.decode(stream).size == (130, 90)
        assert codec.encode(PICTURE, bits_per_pixel=8 * limit / (130 * 90) + 1e-9, entropy=entropy) == stream
        sizes.append(len(stream))
    assert sizes == sorted(sizes)
    assert sizes[-1] <= whole
    alone = codec.encode(PICTURE, max_bytes=10 * whole, levels=1, entropy=entropy)
    assert read_header(alone).header.level_count == 1


def test_what_goes_with_the_picture_is_compressed_once(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(
        "vqcodec.rates.token_choice.stored_boxes", lambda boxes: asked.append(boxes) or stored_boxes(boxes)
    )
    picture = LoadedImage(PICTURE.rgb, icc=bytes(range(200)))
    limit = len(codec.encode(picture, levels=1)) + 20
    assert len(codec.encode(picture, max_bytes=limit)) <= limit
    assert len(asked) == 1


def test_boxes_count(codec: Codec) -> None:
    alpha = np.random.default_rng(0).integers(0, 256, (90, 130), dtype=np.uint8)
    with pytest.raises(RateError, match=r"2000 bytes are too few: .* has 11.* bytes are alpha"):
        codec.encode(LoadedImage(PICTURE.rgb, alpha=alpha), max_bytes=2000)


def test_quality_is_the_smaller_the_lower(codec: Codec) -> None:
    sizes = [len(codec.encode(PICTURE, quality=quality)) for quality in (0, 30, 50, 80, 100)]
    assert sizes == sorted(sizes)
    assert codec.encode(PICTURE, quality=100) == codec.encode(PICTURE)
    assert codec.encode(PICTURE, quality=50) == codec.encode(PICTURE, levels=1)
    between = codec.read(codec.encode(PICTURE, quality=70, entropy="uniform"))
    assert between.blocks is not None
    assert 0 < between.blocks.coded.mean() < 1


def test_regions_may_have_a_part_of_a_level(codec: Codec) -> None:
    whole, cut = (codec.encode(PICTURE, quality=70, region_side=side, entropy="uniform") for side in (0, 64))
    assert codec.read(cut).tokens == codec.read(whole).tokens
    picture = codec.decode(cut)
    assert np.array_equal(np.asarray(picture), np.asarray(codec.decode(whole)))
    part = codec.decode(cut, crop=(70, 30, 40, 50))
    assert np.array_equal(np.asarray(part), np.asarray(picture)[30:80, 70:110])


def test_a_picture_in_tiles_has_the_latent_of_the_whole(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.rand(1, 3, 16 * 40, 16 * 24) * 2 - 1
    (whole,) = codec.analyse(images).tensors
    monkeypatch.setattr("vqcodec.pictures.tiling.TILE_TOKENS", 16)
    tolerance = 1e-4 if codec.dtype == torch.float32 else 0.1
    torch.testing.assert_close(codec.analyse(images).tensors[0], whole, atol=tolerance, rtol=tolerance)
    assert whole.shape == (1, codec.card.autoencoder.networks.latent_channels, 40, 24)
