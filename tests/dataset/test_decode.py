"""--decode scaled: JPEG files decoded no larger than the crops need, the same rows, and a part of the plan."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from dataset_helpers import make_dataset, make_folder, rows_of, spec_of
from PIL import Image

from vqcodec.dataset.crops import crops_of
from vqcodec.dataset.errors import DatasetError, PlanMismatch
from vqcodec.dataset.plan import TokenPlan
from vqcodec.dataset.shard import decoded
from vqcodec.dataset.spec import TokenSpec
from vqcodec.dataset.verify import verify
from vqcodec.pictures.image import TooManyPixelsError, load_image

_BOX = ("key", "width", "height", "crop", "crop_left", "crop_top", "crop_width", "crop_height", "flip")


def photo(width: int, height: int, kind: str = "JPEG", orientation: int = 1) -> bytes:
    coarse = np.random.default_rng(width).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[274] = orientation
    content = io.BytesIO()
    Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(content, kind, exif=exif)
    return content.getvalue()


def scaled(**changes: object) -> TokenSpec:
    return TokenSpec(**{"size": 32, "decode": "scaled"} | changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("size", "least_side", "expected"),
    [
        ((400, 300), 300, (300, 400)),
        ((400, 300), 151, (300, 400)),
        ((400, 300), 150, (150, 200)),
        ((401, 301), 75, (76, 101)),
        ((401, 301), 1, (38, 51)),
    ],
)
def test_a_jpeg_file_is_decoded_as_small_as_is_allowed(
    size: tuple[int, int], least_side: int, expected: tuple[int, int]
) -> None:
    content = photo(*size)
    loaded = load_image(content, least_side=least_side)
    assert (loaded.height, loaded.width) == expected
    assert loaded.full_size == (None if expected == (size[1], size[0]) else (size[1], size[0]))
    whole = load_image(content).rgb
    small = np.asarray(Image.fromarray(whole).resize((loaded.width, loaded.height), Image.Resampling.BOX))
    assert np.abs(small.astype(int) - loaded.rgb).mean() < 10, "elsewhere it is about 60"


def test_the_full_size_is_that_of_the_upright_picture() -> None:
    loaded = load_image(photo(400, 300, orientation=6), least_side=32)
    assert (loaded.rgb.shape[:2], loaded.full_size) == ((50, 38), (400, 300))
    assert load_image(photo(400, 300, "PNG", orientation=6), least_side=32).full_size is None


def test_the_limit_of_pixels_is_that_of_the_full_size() -> None:
    with pytest.raises(TooManyPixelsError, match="has 120000 pixels"):
        load_image(photo(400, 300), least_side=32, max_pixels=100_000)


def test_other_formats_and_small_pictures_stay_the_same() -> None:
    for content in (photo(400, 300, "PNG"), photo(60, 50)):
        one, other = decoded(content, "key", TokenSpec(size=32)), decoded(content, "key", scaled())
        assert one[0] == other[0]
        assert np.array_equal(one[1][0].pixels, other[1][0].pixels)


def test_what_the_decoder_halves_is_not_halved_again() -> None:
    size, [crop] = decoded(photo(192, 128), "key", scaled())
    small = load_image(photo(192, 128), least_side=32).rgb
    assert (size, small.shape[:2]) == ((128, 192), (32, 48))
    assert np.array_equal(crop.pixels, small[:, 8:40])
    assert (crop.left, crop.top, crop.width, crop.height) == (32, 0, 128, 128)
    assert np.array_equal(crop.pixels, crops_of(small, scaled(), "key")[0].pixels)


def test_rows_are_the_same_and_tokens_are_verified(tmp_path: Path, tiny_model: Path) -> None:
    source = tmp_path / "photos"
    source.mkdir()
    for number, size in enumerate([(256, 256), (60, 50), (512, 384), (200, 320)]):
        (source / f"{number}.jpg").write_bytes(photo(*size))
    (source / "4.jpg").write_bytes(photo(300, 256)[:900])
    for crops in ("center", "random:2"):
        full = make_dataset(tmp_path / f"full-{crops}", tiny_model, source, crops=crops)
        plan = make_dataset(tmp_path / f"scaled-{crops}", tiny_model, source, crops=crops, decode="scaled")
        assert (full.spec.decode, plan.spec.decode) == ("full", "scaled")
        boxes = [rows_of(tmp_path / f"{how}-{crops}").select(_BOX) for how in ("full", "scaled")]
        assert boxes[0] == boxes[1]
        verdict = verify(TokenPlan.open(tmp_path / f"scaled-{crops}"), sample=5)
        assert (verdict.wrong, verdict.failed, verdict.compared) == ([], 1, 4)


def test_another_way_to_decode_is_refused(tmp_path: Path, tiny_model: Path) -> None:
    source, out = make_folder(tmp_path / "photos", 3), tmp_path / "out"
    TokenPlan.make([source], out, spec_of(tiny_model))
    more = make_folder(tmp_path / "more", 3, first=50)
    for append in (False, True):
        with pytest.raises(PlanMismatch, match="decode full, not scaled"):
            TokenPlan.make([more if append else source], out, spec_of(tiny_model, decode="scaled"), append=append)


def test_plans_from_before_are_opened_and_decode_in_full(tmp_path: Path, tiny_model: Path) -> None:
    source, out = make_folder(tmp_path / "photos", 3), tmp_path / "out"
    TokenPlan.make([source], out, spec_of(tiny_model))
    about = json.loads((out / "dataset.json").read_text())
    assert about["spec"].pop("decode") == "full"
    (out / "dataset.json").write_text(json.dumps(about))
    assert TokenPlan.open(out).spec.decode == "full"
    assert TokenPlan.make([source], out, spec_of(tiny_model)).pictures == 3
    with pytest.raises(PlanMismatch, match="decode full, not scaled"):
        TokenPlan.make([source], out, spec_of(tiny_model, decode="scaled"))


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(DatasetError, match="decode 'half': take full or scaled"):
        TokenSpec(decode="half")
    with pytest.raises(DatasetError, match="native size: give a size"):
        TokenSpec(size=None, decode="scaled")
