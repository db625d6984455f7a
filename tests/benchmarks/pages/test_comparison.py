from __future__ import annotations

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from vqcodec.benchmarks.pages.comparison import ComparedFile, ComparisonError, check_file, comparison_page
from vqcodec.benchmarks.rate_distortion.metrics import Metrics, psnr_db
from vqcodec.benchmarks.speed.stages import synthetic_picture


def compared(name: str, width: int = 48, height: int = 33, *, seed: int = 0) -> ComparedFile:
    return ComparedFile(name, "PNG", 1000 + seed, synthetic_picture(width, height, seed=seed))


def data_of(page: str) -> dict[str, object]:
    return json.loads(page.partition('id="viewer-data">')[2].partition("</script>")[0])  # type: ignore[no-any-return]


def pixels_of(uri: str) -> np.ndarray:
    with Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/webp;base64,")))) as image:
        return np.asarray(image.convert("RGB"))


def test_the_page_holds_the_very_pixels_that_were_measured() -> None:
    original, other = compared("a/photo.png", seed=0), compared("b/other.avif", seed=1)
    [picture] = data_of(comparison_page(original, [other], Metrics(None)))["pictures"]  # type: ignore[misc]
    assert (picture["name"], picture["bytes"]) == ("photo.png", 1000)
    assert np.array_equal(pixels_of(picture["original"]), original.rgb)
    [[_, kind, size, rate, values, source]] = picture["shown"]
    assert np.array_equal(pixels_of(source), other.rgb)
    assert (kind, size, rate) == ("PNG", 1001, f"{8 * 1001 / 48 / 33:.4f}")
    assert values == [f"{psnr_db(original.rgb, other.rgb):.2f}"], "too small for MS-SSIM"


def test_an_equal_picture_has_an_infinite_psnr_and_ms_ssim_1() -> None:
    original = compared("a.png", 200, 180)
    page = comparison_page(original, [ComparedFile("b.png", "PNG", 5, original.rgb)], Metrics(None))
    [picture] = data_of(page)["pictures"]  # type: ignore[misc]
    assert picture["shown"][0][4] == ["∞", "1.0000"]


def test_files_of_one_name_are_told_apart_by_their_folders() -> None:
    others = [compared("x/a.png", seed=1), compared("y/a.png", seed=2)]
    data = data_of(comparison_page(compared("o.png"), others, Metrics(None)))
    assert [codec["label"] for codec in data["codecs"]] == ["x/a.png", "y/a.png"]  # type: ignore[attr-defined]
    assert data["first"] == [["x/a.png", "PNG"], ["y/a.png", "PNG"]]


def test_what_cannot_be_compared_is_named() -> None:
    original = compared("o.png")
    with pytest.raises(ComparisonError, match=r"^b\.png: 40 x 33 pixels, but o\.png has 48 x 33: compare"):
        comparison_page(original, [compared("a.png"), compared("b.png", 40)], Metrics(None))
    with pytest.raises(ComparisonError, match=r"^a\.png: is given twice: name each file once$"):
        comparison_page(original, [compared("a.png"), compared("a.png")], Metrics(None))
    long = ComparedFile("long.png", "PNG", 9, np.zeros((1, 16384, 3), np.uint8))
    with pytest.raises(ComparisonError, match=r"^long\.png: 16384 x 1 pixels, more than 16383 a side: compare a part"):
        check_file(long, long)
