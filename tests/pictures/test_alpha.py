"""Alpha, packed without loss and unpacked with suspicion."""

from __future__ import annotations

import contextlib
import tracemalloc

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from image_helpers import ALPHA, COLOURS

from vqcodec.pictures import alpha as alpha_module
from vqcodec.pictures.alpha import AlphaRows
from vqcodec.pictures.image import AlphaError, ImageError, pack_alpha, unpack_alpha


def alpha_planes() -> st.SearchStrategy[np.ndarray]:
    def build(parts: tuple[int, int, str, int]) -> np.ndarray:
        width, height, kind, seed = parts
        random = np.random.default_rng(seed)
        if kind == "noise":
            return random.integers(0, 256, (height, width), dtype=np.uint8)
        if kind == "mask":
            return np.where(random.integers(0, 2, (height, width)), 255, 0).astype(np.uint8)
        if kind == "slope":
            slope: np.ndarray = (np.add.outer(np.arange(height) * 3, np.arange(width) * 5) % 256).astype(np.uint8)
            return slope
        if kind == "shape":
            box: np.ndarray = np.zeros((height, width), np.uint8)
            top, bottom = sorted(random.integers(0, height + 1, 2))
            left, right = sorted(random.integers(0, width + 1, 2))
            box[top:bottom, left:right] = 255
            return box if seed % 2 else np.invert(box)
        return np.full((height, width), seed % 256, np.uint8)

    kinds = st.sampled_from(["noise", "mask", "shape", "slope", "flat"])
    return st.tuples(st.integers(1, 40), st.integers(1, 40), kinds, st.integers(0, 2**32 - 1)).map(build)


@settings(max_examples=150, deadline=None)
@given(alpha_planes())
def test_alpha_round_trip(alpha: np.ndarray) -> None:
    before = alpha.copy()
    unpacked = unpack_alpha(pack_alpha(alpha), alpha.shape[1], alpha.shape[0])
    assert unpacked.dtype == np.uint8
    assert unpacked.flags.writeable
    assert np.array_equal(unpacked, before)
    assert np.array_equal(alpha, before)


def test_masks_and_slopes_are_tiny() -> None:
    y, x = np.ogrid[:512, :768]
    disc = np.where((y - 256) ** 2 + (x - 384) ** 2 < 200**2, 255, 0).astype(np.uint8)
    assert len(pack_alpha(disc)) < 200
    assert len(pack_alpha(np.zeros_like(disc))) < 15
    slope = np.broadcast_to((x // 3).astype(np.uint8), (512, 768))
    assert len(pack_alpha(slope)) < 60


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60))
def test_random_bytes_are_an_alpha_error_or_alpha(data: bytes) -> None:
    with contextlib.suppress(AlphaError):
        assert unpack_alpha(data, 9, 5).shape == (5, 9)


@settings(max_examples=200, deadline=None)
@given(alpha_planes(), st.data())
def test_damaged_alpha_is_an_alpha_error_or_alpha(alpha: np.ndarray, data: st.DataObject) -> None:
    packed = bytearray(pack_alpha(alpha))
    packed[data.draw(st.integers(0, len(packed) - 1))] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(AlphaError):
        assert unpack_alpha(bytes(packed), alpha.shape[1], alpha.shape[0]).shape == alpha.shape


def test_alpha_cut_off_or_with_bytes_left_over() -> None:
    packed = pack_alpha(ALPHA)
    for end in range(len(packed)):
        with pytest.raises(AlphaError):
            unpack_alpha(packed[:end], 7, 5)
    with pytest.raises(AlphaError, match="damaged"):
        unpack_alpha(packed + b"\0", 7, 5)


def test_alpha_of_another_size() -> None:
    with pytest.raises(AlphaError, match="8 x 5"):
        unpack_alpha(pack_alpha(ALPHA), 8, 5)
    with pytest.raises(AlphaError, match="0 x 5"):
        unpack_alpha(pack_alpha(ALPHA), 0, 5)


def test_alpha_of_an_unknown_method() -> None:
    with pytest.raises(AlphaError, match="unknown method"):
        unpack_alpha(b"\x06" + pack_alpha(ALPHA)[1:], 7, 5)


def test_alpha_bomb_is_refused_by_its_claimed_size() -> None:
    frame = zstandard.ZstdCompressor().compress(bytes(10**7))
    with pytest.raises(AlphaError, match="10000000 bytes"):
        unpack_alpha(b"\x00" + frame[4:], 7, 5)


def test_alpha_mask_with_padding_bits_set() -> None:
    frame = zstandard.ZstdCompressor().compress(b"\x01")
    with pytest.raises(AlphaError, match="padding"):
        unpack_alpha(b"\x04" + frame[4:], 7, 1)


def edges(*numbers: int) -> bytes:
    return b"\x05" + zstandard.ZstdCompressor().compress(bytes(numbers))[4:]


def test_alpha_edges_by_hand() -> None:
    """Zigzag numbers: 2n for n, 2n - 1 for -n; each is a gap less the gap before the last one."""
    assert unpack_alpha(edges(4, 6), 8, 8).reshape(-1).tolist() == [0, 0, 255, 255, 255] + [0] * 59
    assert unpack_alpha(edges(0, 2, 4), 8, 8).reshape(-1).tolist() == [255, 0] + [0] + [255] * 61
    assert not unpack_alpha(edges(), 8, 8).any()


@pytest.mark.parametrize("numbers", [(4, 0), (1,), (4, 6, 5), (128, 1), (128, 128, 128, 128, 128, 1), (4, 128)])
def test_alpha_edges_outside_the_picture_or_cut_off(numbers: tuple[int, ...]) -> None:
    with pytest.raises(AlphaError, match="damaged"):
        unpack_alpha(edges(*numbers), 8, 8)


def test_pack_alpha_refuses_other_arrays() -> None:
    for array in (COLOURS, ALPHA.astype(float), ALPHA[:0]):
        with pytest.raises(ImageError, match="expected"):
            pack_alpha(array)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 5), st.integers(0, 999), st.integers(1, 9))
def test_rows_in_small_pieces_are_the_whole(width: int, height: int, method: int, seed: int, piece: int) -> None:
    random = np.random.default_rng(seed)
    alpha = random.integers(0, 256, (height, width), np.uint8)
    if method >= 4:
        alpha = np.repeat(random.random((height, -(-width // 4))) < 0.5, 4, axis=1)[:, :width] * np.uint8(255)
    packed = pack_alpha(alpha)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(alpha_module, "_PIECE_BYTES", piece)
        patch.setattr(alpha_module, "_BAND_PIXELS", 5 * piece)
        rows = list(AlphaRows(packed, width, height))
    assert np.array_equal(np.concatenate(rows), alpha)
    assert len(rows) == 1 or len(rows[0]) <= max(1, 5 * piece // width)


def test_alpha_of_a_huge_picture_takes_little_memory() -> None:
    mask = np.zeros((64, 1 << 14), np.uint8)
    mask[::2, 5::10] = 255
    packed = pack_alpha(mask)
    zeros = pack_alpha(np.zeros((1 << 13, 1 << 14), np.uint8))
    tracemalloc.start()
    try:
        AlphaRows(zeros, 1 << 14, 1 << 13).check()
        AlphaRows(packed, 1 << 14, 64).check()
        assert tracemalloc.get_traced_memory()[1] < 24 << 20  # 128 MB as a whole
    finally:
        tracemalloc.stop()
