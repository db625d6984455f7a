"""`import vqcodec.pillow`: opening reads a header, saving takes the codec's options, errors are those of Pillow."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_helpers import swapped_profile
from PIL import Image, ImageFile, UnidentifiedImageError

import vqcodec.pillow as plugin
from vqcodec.bitstream import read_header
from vqcodec.cards.model_card import load_model_folder
from vqcodec.codec import Codec
from vqcodec.pictures.image import UnreadableImageError, load_image


@pytest.fixture(autouse=True)
def models(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("VQCODEC_MODELS", str(tiny_model.parent))
    monkeypatch.setattr(plugin, "DEFAULT_MODEL", "tiny")
    yield
    plugin._codec.cache_clear()


def make_picture(mode: str = "RGB") -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (33, 48, 4), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def test_saving_and_opening(tiny_model: Path, tmp_path: Path) -> None:
    picture, path = make_picture(), tmp_path / "a.vq"
    picture.save(path)
    codec = Codec.load(tiny_model)
    assert path.read_bytes() == codec.encode(picture)
    with Image.open(path) as image:
        assert (image.size, image.mode, image.format) == ((48, 33), "RGB", "VQ")
        assert image.get_format_mimetype() == plugin.MIME_TYPE
        assert image.info == {
            "model_id": load_model_folder(tiny_model).card.model_id.hex(),
            "levels": 2,
            "entropy": codec.default_entropy,
        }
        assert np.array_equal(np.asarray(image), np.asarray(codec.decode(path.read_bytes())))
        assert image.copy().size == (48, 33)


def test_alpha_makes_it_rgba(tmp_path: Path) -> None:
    picture = make_picture("RGBA")
    picture.save(tmp_path / "a.vq")
    with Image.open(tmp_path / "a.vq") as image:
        assert image.mode == "RGBA"
        assert np.array_equal(np.asarray(image)[..., 3], np.asarray(picture)[..., 3])


def test_a_stream_longer_than_its_pixels_is_not_taken_for_them(tmp_path: Path) -> None:
    path = tmp_path / "a.vq"
    make_picture("RGBA").save(path, xmp=np.random.default_rng(0).bytes(20_000))
    assert path.stat().st_size > 4 * 33 * 48
    with Image.open(path) as by_name, Image.open(BytesIO(path.read_bytes())) as by_content:
        assert np.array_equal(np.asarray(by_name), np.asarray(by_content))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda image: pickle.loads(pickle.dumps(image))])
def test_images_can_be_copied_and_sent_to_other_processes(copied: Callable[[Any], Any], tmp_path: Path) -> None:
    make_picture().save(tmp_path / "a.vq")
    with Image.open(tmp_path / "a.vq") as image:
        assert np.array_equal(np.asarray(copied(image)), np.asarray(image))


def test_options_of_the_codec(tmp_path: Path) -> None:
    picture = make_picture()
    picture.save(tmp_path / "a.vq", levels=1)
    with Image.open(tmp_path / "a.vq") as image:
        assert image.info["levels"] == 1
    picture.save(tmp_path / "b.vq", max_bytes=22, entropy="uniform", model="tiny")
    assert (tmp_path / "b.vq").stat().st_size <= 22
    picture.save(tmp_path / "c.vq", quality=100)
    assert read_header((tmp_path / "c.vq").read_bytes()).header.level_count == 2


def test_metadata(tmp_path: Path) -> None:
    picture, exif, profile = make_picture(), Image.Exif(), swapped_profile()
    exif[0x0112], exif[0x010E] = 6, "words"
    picture.info["icc_profile"] = profile
    picture.save(tmp_path / "a.vq", exif=exif, xmp=b"<x/>")
    with Image.open(tmp_path / "a.vq") as image:
        assert image.size == (48, 33)  # pixels are stored as they lie
        assert dict(image.getexif()) == {0x0112: 6, 0x010E: "words"}
        assert (image.info["xmp"], image.info["icc_profile"]) == (b"<x/>", profile)
        image.save(tmp_path / "b.vq", icc_profile=None)
    with Image.open(tmp_path / "b.vq") as image:
        assert not {"exif", "xmp", "icc_profile"} & set(image.info)


def test_what_is_no_stream_is_left_to_others(tmp_path: Path) -> None:
    make_picture().save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert image.format == "PNG"
    (tmp_path / "a.vq").write_bytes(b"hello")
    with pytest.raises(UnidentifiedImageError):
        Image.open(tmp_path / "a.vq")


def test_damage_is_an_error_of_the_system(tmp_path: Path) -> None:
    path = tmp_path / "a.vq"
    make_picture().save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-2] + bytes([whole[-2] ^ 1, whole[-1]]))
    with Image.open(path) as image, pytest.raises(OSError, match=r"damaged|checksum"):
        image.load()


def test_a_stream_that_is_cut_off_gives_its_whole_levels_if_asked(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.vq"
    make_picture().save(path)
    path.write_bytes(path.read_bytes()[:-1])
    with Image.open(path) as image, pytest.raises(OSError, match="image file is truncated"):
        image.load()
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with Image.open(path) as image:
        expected = Codec.load(tiny_model).decode(path.read_bytes(), allow_partial=True)
        assert np.array_equal(np.asarray(image), np.asarray(expected))


def test_a_stream_of_a_model_that_is_not_installed(tmp_path: Path, no_models: None) -> None:
    picture = make_picture()
    with pytest.raises(ValueError, match="no such model"):
        picture.save(tmp_path / "a.vq")


def test_a_stream_is_no_picture_to_encode(tmp_path: Path) -> None:
    make_picture().save(tmp_path / "a.vq")
    with pytest.raises(UnreadableImageError, match=r"a\.vq: a \.vq stream already: decode it"):
        load_image(tmp_path / "a.vq")


def test_opening_loads_no_torch_and_is_quick(tmp_path: Path) -> None:
    make_picture().save(tmp_path / "a.vq")
    program = (
        "import sys, time; from PIL import Image; import vqcodec.pillow\n"
        f"path = {str(tmp_path / 'a.vq')!r}\n"
        "Image.open(path).close()\n"
        "times = []\n"
        "for _ in range(20):\n"
        "    start = time.perf_counter(); Image.open(path).close(); times.append(time.perf_counter() - start)\n"
        "assert 'torch' not in sys.modules\n"
        "print(min(times))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 0.002
