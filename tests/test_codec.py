"""The codec end to end, on a tiny model: pictures, tokens, streams."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from vqcodec.bitstream import Boxes, CorruptStreamError, LimitExceededError, TruncatedStreamError, read_header
from vqcodec.codec import Codec
from vqcodec.pictures.image import LoadedImage, from_tensor, to_tensor
from vqcodec.pictures.source import TooManyPixelsError, UnreadableImageError

RNG = np.random.default_rng(5)
SIZES = [(1, 1), (7, 333), (333, 7), (16, 16), (17, 15), (64, 48), (50, 97)]


@pytest.fixture(scope="module")
def codec(tiny_model: Path) -> Codec:
    return Codec.load(tiny_model, device="cpu", dtype=torch.float32)


def picture(width: int, height: int, channels: int = 3) -> np.ndarray:
    """Soft blobs with some noise, (height, width, channels) uint8."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / (9 + 4 * k) + k) + np.cos(y / (7 + 3 * k) - k) for k in range(channels)]
    noisy = 128 + 50 * np.stack(waves, axis=2) + RNG.normal(0, 8, (height, width, channels))
    return noisy.clip(0, 255).astype(np.uint8)


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image)


# ---- one law: decode(encode(x)) is detokenize(tokenize(x)) ----


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("levels", [1, 2, None])
def test_decode_of_encode_is_detokenize_of_tokenize(codec: Codec, size: tuple[int, int], levels: int | None) -> None:
    rgb = picture(*size)
    made = codec.decode(codec.encode(rgb, levels=levels))
    tokens = codec.tokenize(to_tensor(rgb, 16), levels=levels)
    assert made.mode == "RGB"
    assert made.size == size
    assert np.array_equal(pixels(made), from_tensor(codec.detokenize(tokens), *size))


def test_both_entropy_models_give_the_same_picture(codec: Codec) -> None:
    rgb = picture(70, 50)
    streams = {name: codec.encode(rgb, entropy=name) for name in ("uniform", "static")}
    assert codec.encode(rgb) == streams["static"]
    assert streams["uniform"] != streams["static"]
    assert np.array_equal(*(pixels(codec.decode(stream)) for stream in streams.values()))


def test_tokens_are_written_as_encode_does(codec: Codec) -> None:
    rgb = picture(70, 50)
    for levels in (1, 2):
        tokens = codec.tokenize(to_tensor(rgb, 16), levels=levels)
        assert codec.write(tokens, 70, 50) == codec.encode(rgb, levels=levels)
        assert codec.write(tokens, 70, 50, entropy="uniform") == codec.encode(rgb, levels=levels, entropy="uniform")


GRID = torch.zeros(1, 4, 5, dtype=torch.int64)


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ([], "levels 0: model tiny has 1 to 2"),
        ([GRID] * 3, "levels 3: model tiny has 1 to 2"),
        ([GRID.expand(2, -1, -1)], r"the tokens of one picture, \(1, h, w\), got \[\(2, 4, 5\)\]"),
        ([GRID[0]], "the tokens of one picture"),
        ([GRID, GRID[:, :3]], r"level 1 of model tiny is \(4, 5\)"),
        ([GRID + 32], "tokens range over 32..32, outside 0..31"),
    ],
)
def test_tokens_that_are_those_of_no_such_picture(codec: Codec, tokens: list[Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        codec.write(tokens, 70, 50)


def test_fewer_levels_of_a_stream_are_the_stream_of_fewer_levels(codec: Codec) -> None:
    rgb = picture(70, 50)
    both, first = codec.encode(rgb), codec.encode(rgb, levels=1)
    assert len(first) < len(both)
    assert np.array_equal(pixels(codec.decode(both, levels=1)), pixels(codec.decode(first)))
    assert not np.array_equal(pixels(codec.decode(both)), pixels(codec.decode(first)))
    decoded = codec.decode_stream(first, levels=2)  # asks for more than there are
    assert (decoded.levels, decoded.image.warnings) == (1, ())
    assert codec.decode_stream(both).levels == len(codec.read(both).tokens) == 2


def test_a_stream_says_what_it_holds(codec: Codec) -> None:
    header = read_header(codec.encode(picture(70, 50))).header
    assert (header.width, header.height, header.level_count) == (70, 50, 2)
    assert header.model_id == codec.card.model_id


# ---- what goes in ----


def test_every_kind_of_input_gives_the_same_stream(codec: Codec, tmp_path: Path) -> None:
    rgb = picture(40, 30)
    path = tmp_path / "a.png"
    Image.fromarray(rgb).save(path)
    expected = codec.encode(rgb)
    for image in (
        path,
        str(path),
        path.read_bytes(),
        io.BytesIO(path.read_bytes()),
        Image.open(path),
        LoadedImage(rgb),
    ):
        assert codec.encode(image) == expected


def test_gray_is_three_equal_channels(codec: Codec) -> None:
    gray = picture(40, 30)[..., 0]
    assert codec.encode(gray) == codec.encode(gray[..., None].repeat(3, axis=2))


def test_alpha_profile_and_metadata_come_back(codec: Codec) -> None:
    rgba = picture(21, 34, 4)
    image = codec.decode(codec.encode(rgba))
    assert image.mode == "RGBA"
    assert np.array_equal(pixels(image)[..., 3], rgba[..., 3])
    assert np.array_equal(pixels(image)[..., :3], pixels(codec.decode(codec.encode(rgba[..., :3]))))
    exif, xmp = b"II*\0\x08\0\0\0\0\0\0\0\0\0", b"<x/>"
    made = codec.decode_stream(codec.encode(LoadedImage(rgba[..., :3], icc=b"profile" * 50, exif=exif, xmp=xmp))).image
    assert (made.icc, made.exif, made.xmp, made.alpha) == (b"profile" * 50, exif, xmp, None)


def test_alpha_that_says_nothing_is_left_out_and_of_another_size_is_refused(codec: Codec) -> None:
    rgb = picture(21, 34)
    assert codec.encode(LoadedImage(rgb, alpha=np.full((34, 21), 255, np.uint8))) == codec.encode(rgb)
    with pytest.raises(ValueError, match="one number a pixel"):
        LoadedImage(rgb, alpha=np.zeros((10, 10), np.uint8))


def test_bands_are_painted_anew_each_time(codec: Codec) -> None:
    rgba = picture(40, 90, 4)
    bands = codec.decode_in_bands(codec.encode(rgba))
    next(iter(bands))
    assert sum(len(band) for band in bands) == 90
    whole = bands.whole().image
    assert np.array_equal(whole.alpha, rgba[..., 3])
    assert np.array_equal(whole.rgb, codec.decode_stream(codec.encode(rgba)).image.rgb)


def test_pictures_that_cannot_be_read(codec: Codec, tmp_path: Path) -> None:
    with pytest.raises(UnreadableImageError, match="no such file"):
        codec.encode(tmp_path / "none.png")
    with pytest.raises(TooManyPixelsError, match="limit of 99"):
        codec.encode(Image.fromarray(picture(10, 10)), max_pixels=99)
    stream = codec.encode(picture(10, 10))
    with pytest.raises(LimitExceededError):
        codec.decode_stream(stream, max_pixels=99)


@pytest.mark.parametrize("levels", [0, 3, -1])
def test_levels_out_of_range(codec: Codec, levels: int) -> None:
    message = rf"levels {levels}: model tiny has 1 to 2"
    rgb = picture(16, 16)
    with pytest.raises(ValueError, match=message):
        codec.encode(rgb, levels=levels)
    with pytest.raises(ValueError, match=message):
        codec.decode(codec.encode(rgb), levels=levels)
    with pytest.raises(ValueError, match=message):
        codec.tokenize(to_tensor(rgb, 16), levels=levels)


def test_an_unknown_entropy_model(codec: Codec) -> None:
    with pytest.raises(ValueError, match="'huffman' is none of prior, static, uniform"):
        codec.encode(picture(16, 16), entropy="huffman")


@pytest.mark.parametrize(
    "shape", [(3, 32, 32), (1, 1, 32, 32), (1, 3, 31, 32), (1, 3, 32, 40), (0, 3, 32, 32), (1, 3, 0, 16)]
)
def test_images_of_a_wrong_shape(codec: Codec, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="multiples of 16"):
        codec.tokenize(torch.zeros(shape))


def test_tokens_of_a_wrong_shape(codec: Codec) -> None:
    def grid(*shape: int) -> Tensor:
        return torch.zeros(shape, dtype=torch.int64)

    for tokens in ([grid(1, 2, 2), grid(1, 2, 3)], [grid(2, 2)], [grid(1, 1, 2, 2)]):
        with pytest.raises(ValueError, match="of one picture"):
            codec.detokenize(tokens)
    for tokens in ([], [grid(1, 2, 2)] * 3):
        with pytest.raises(ValueError, match="1 to 2"):
            codec.detokenize(tokens)


# ---- streams that are not whole ----


def test_a_truncated_stream_gives_its_whole_levels_and_a_warning(codec: Codec) -> None:
    rgb = picture(70, 50)
    stream = codec.encode(rgb)
    with pytest.raises(TruncatedStreamError):
        codec.decode(stream[:-3])
    decoded = codec.decode_stream(stream[:-3], allow_partial=True)
    assert decoded.levels == 1
    assert len(decoded.image.warnings) == 1
    assert "1 of 2 levels are whole" in decoded.image.warnings[0]
    first = codec.decode(codec.encode(rgb, levels=1))
    assert np.array_equal(pixels(codec.decode(stream[:-3], allow_partial=True)), pixels(first))
    assert codec.decode_stream(stream, allow_partial=True).image.warnings == ()
    with pytest.raises(TruncatedStreamError):
        codec.decode(stream[:12], allow_partial=True)


def test_a_damaged_stream_is_never_a_wrong_picture(codec: Codec) -> None:
    stream = bytearray(codec.encode(picture(70, 50)))
    stream[-5] ^= 0x10
    with pytest.raises(CorruptStreamError):
        codec.decode(bytes(stream))


# ---- tokens ----


def test_a_batch_is_its_pictures_one_by_one(codec: Codec) -> None:
    images = torch.cat([to_tensor(picture(64, 48), 16) for _ in range(5)])
    tokens = codec.tokenize(images)
    assert [(grid.shape, grid.dtype, grid.device.type) for grid in tokens] == [((5, 3, 4), torch.int64, "cpu")] * 2
    made = codec.detokenize(tokens)
    assert (made.shape, made.dtype) == (images.shape, torch.float32)
    for number in range(5):
        alone = codec.tokenize(images[number : number + 1])
        assert all(torch.equal(a[number], b[0]) for a, b in zip(tokens, alone, strict=True))
        torch.testing.assert_close(codec.detokenize(alone)[0], made[number], rtol=0, atol=1e-5)


def test_several_threads_give_what_one_gives(codec: Codec) -> None:
    pictures = [picture(40 + 8 * number, 70 - 5 * number) for number in range(8)]
    alone = [codec.encode(rgb) for rgb in pictures]
    with ThreadPoolExecutor(max_workers=4) as threads:
        together = list(threads.map(codec.encode, pictures))
        decoded = list(threads.map(codec.decode, together))
    assert together == alone
    for image, stream in zip(decoded, alone, strict=True):
        assert np.array_equal(pixels(image), pixels(codec.decode(stream)))


def test_bfloat16(codec: Codec, tiny_model: Path) -> None:
    rgb = picture(64, 48)
    small = Codec.load(tiny_model, device="cpu", dtype=torch.bfloat16)
    assert next(small.network.encoder.parameters()).dtype == torch.bfloat16
    assert next(small.network.quantizer.parameters()).dtype == torch.float32
    stream = small.encode(rgb)
    made = pixels(small.decode(stream)).astype(int)
    tokens = small.tokenize(to_tensor(rgb, 16))
    assert np.array_equal(made, from_tensor(small.detokenize(tokens), 64, 48))
    # a stream is tokens: the codec in float32 reads it, and makes nearly the same picture of it
    assert np.abs(made - pixels(codec.decode(stream)).astype(int)).mean() < 3


# ---- tiles ----


def randomised(tiny_model: Path) -> Codec:
    """With no weight at zero, so that every layer can carry something over a seam."""
    made = Codec.load(tiny_model, device="cpu", dtype=torch.float32)
    generator = torch.Generator().manual_seed(2)
    for network in (made.network.encoder, made.network.decoder):
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return made


@pytest.mark.parametrize("size", [(13, 17), (1, 14), (6, 5)])
def test_tiles_cannot_be_told_from_the_whole(
    tiny_model: Path, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    codec = randomised(tiny_model)
    images = torch.rand(2, 3, size[0] * 16, size[1] * 16, generator=torch.Generator().manual_seed(1)) * 2 - 1
    tokens = codec.tokenize(images)
    whole = codec.detokenize(tokens)
    calls = []
    codec.network.encoder.register_forward_hook(lambda *_: calls.append(1))
    monkeypatch.setattr("vqcodec.pictures.tiling.TILE_TOKENS", 4)
    tiled = codec.tokenize(images)
    assert len(calls) > 1
    same = [float((a == b).float().mean()) for a, b in zip(tokens, tiled, strict=True)]
    assert min(same) > 0.99
    torch.testing.assert_close(codec.detokenize(tokens), whole, rtol=0, atol=1e-4)


def test_a_halo_that_is_too_small_would_be_seen(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That the test before this one can fail."""
    codec = randomised(tiny_model)
    tokens = codec.tokenize(torch.rand(1, 3, 12 * 16, 12 * 16, generator=torch.Generator().manual_seed(1)))
    whole = codec.detokenize(tokens)
    monkeypatch.setattr("vqcodec.pictures.tiling.TILE_TOKENS", 4)
    monkeypatch.setattr(codec._on_torch.tiled, "decoder_halo", 0)
    assert not torch.allclose(codec.detokenize(tokens), whole, rtol=0, atol=1e-4)


# ---- where streams are ----


def test_a_stream_may_be_bytes_a_path_or_a_file(codec: Codec, tmp_path: Path) -> None:
    stream = codec.encode(picture(70, 50))
    path = tmp_path / "a.vq"
    path.write_bytes(stream)
    expected = pixels(codec.decode(stream))
    for source in (bytearray(stream), memoryview(stream), path, str(path), io.BytesIO(stream)):
        assert np.array_equal(pixels(codec.decode(source)), expected)
    with path.open("rb") as file:
        assert codec.read(file).header.width == 70
    with pytest.raises(FileNotFoundError):
        codec.decode(tmp_path / "none.vq")


def test_a_picture_over_the_limit_is_not_decoded(codec: Codec) -> None:
    with pytest.raises(LimitExceededError, match="at most 100 are allowed"):
        codec.decode(codec.encode(picture(70, 50)), max_pixels=100)


def test_damaged_alpha_is_a_damaged_stream_and_told_before_the_networks_run(
    codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    boxes = Boxes(alpha=b"\x09nonsense")
    stream = codec.write(codec.tokenize(to_tensor(picture(32, 32), 16)), 32, 32, boxes=boxes)
    monkeypatch.setattr(codec._engine, "bands", lambda *arguments: pytest.fail("the networks ran"))
    with pytest.raises(CorruptStreamError, match="alpha"):
        codec.decode(stream)
