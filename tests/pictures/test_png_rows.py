"""PNG files written row by row are what Pillow reads, and hold what Pillow would have put into them."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vqcodec.pictures.files import save_image, save_png_rows
from vqcodec.pictures.image import LoadedImage, load_image
from vqcodec.pictures.png_rows import write_png


def picture(height: int, width: int, channels: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    smooth = rng.integers(0, 3, (height, width, channels)).cumsum(axis=1).cumsum(axis=0)
    return (smooth + (rng.random((height, 1, 1)) < 0.3) * rng.integers(0, 256, smooth.shape)).astype(np.uint8)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 90), st.integers(1, 40), st.sampled_from([3, 4]), st.integers(0, 99), st.data())
def test_every_pixel_comes_back(height: int, width: int, channels: int, seed: int, data: st.DataObject) -> None:
    pixels = picture(height, width, channels, seed)
    cuts = sorted(data.draw(st.sets(st.integers(1, height)), label="cuts") | {height})
    buffer = io.BytesIO()
    write_png(buffer, (pixels[start:end] for start, end in zip([0, *cuts], cuts, strict=False)), width, height)
    with Image.open(buffer) as image:
        image.load()
        assert np.array_equal(np.asarray(image), pixels)


def test_a_photograph_is_no_larger_than_pillow_makes_it(tmp_path) -> None:
    with Image.open("examples/chelsea.jpg") as image:
        pixels = np.asarray(image.convert("RGB"))
    ours, theirs = io.BytesIO(), io.BytesIO()
    write_png(ours, [pixels], pixels.shape[1], pixels.shape[0])
    Image.fromarray(pixels).save(theirs, "PNG")
    assert len(ours.getvalue()) <= 1.03 * len(theirs.getvalue())


@pytest.mark.parametrize("has_alpha", [False, True])
def test_metadata_is_that_of_whole_files(has_alpha: bool) -> None:
    pixels = picture(20, 30, 4, 1)
    with Image.open("examples/chelsea.jpg") as photo:
        exif = photo.getexif()
    exif[0x011A], exif[0x011B], exif[0x0128] = 300.0, 300.0, 2
    image = LoadedImage(
        rgb=pixels[:, :, :3],
        alpha=pixels[:, :, 3] if has_alpha else None,
        exif=exif.tobytes()[6:],
        xmp=b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>",
    )
    whole, rows = io.BytesIO(), io.BytesIO()
    shown = pixels if has_alpha else pixels[:, :, :3]
    assert save_png_rows(rows, [shown[:7], shown[7:]], 30, 20, image) == save_image(whole, image, "PNG")
    found, expected = (load_image(file.getvalue(), metadata="keep") for file in (rows, whole))
    assert found.exif == expected.exif
    assert found.xmp == expected.xmp
    assert found.exif is not None
    assert np.array_equal(found.rgb, image.rgb)
    with Image.open(rows) as one, Image.open(whole) as other:
        assert one.info.get("dpi") == other.info.get("dpi")


@pytest.mark.parametrize(("bands", "message"), [([(3, 5)], "3 rows"), ([(2, 5), (8, 6)], "after rows")])
def test_other_rows_are_refused(bands: list[tuple[int, int]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_png(io.BytesIO(), [np.zeros((*band, 3), np.uint8) for band in bands], 5, 10)
