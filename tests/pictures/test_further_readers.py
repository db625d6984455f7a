"""HEIC, JPEG XL and raw photos, where the packages that read them are installed."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from image_helpers import encoded, exif, same
from PIL import Image
from tiff_files import BYTE, LONG, SHORT, tiff

from vqcodec.benchmarks.speed.stages import synthetic_picture
from vqcodec.pictures.image import TooManyPixelsError, UnreadableImageError, load_image

PHOTO = synthetic_picture(160, 96, seed=3)


@pytest.fixture
def heic() -> bytes:
    package = pytest.importorskip("pillow_heif")
    package.register_heif_opener()
    return encoded(Image.fromarray(PHOTO), "HEIF", quality=95)


def test_heic(heic: bytes) -> None:
    loaded = load_image(heic)
    assert same(loaded.rgb, PHOTO, 40)
    assert loaded.warnings == ()
    with pytest.raises(TooManyPixelsError, match="15360 pixels"):
        load_image(heic, max_pixels=15359)


def test_heic_after_libvips(heic: bytes, tmp_path: Path) -> None:
    """A libvips of the system has a libheif of its own: in one process they crashed."""
    if find_spec("pyvips") is None:
        pytest.skip("no pyvips")
    (tmp_path / "a.heic").write_bytes(heic)
    Image.fromarray(PHOTO).save(tmp_path / "a.png")
    program = (
        "import sys; from pathlib import Path\n"
        "from vqcodec.pictures.image import load_image; from vqcodec.pictures.row_sources import open_rows\n"
        "folder = Path(sys.argv[1]); rows = open_rows(folder / 'a.png', 1, 10**6)\n"
        "print(rows.read(96).shape, load_image(folder / 'a.heic').rgb.shape)"
    )
    done = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "(96, 160, 3) (96, 160, 3)\n"), done.stderr


def test_damaged_heic(heic: bytes) -> None:
    for end in (200, len(heic) // 2):
        with pytest.raises(UnreadableImageError):
            load_image(heic[:end])


@pytest.mark.parametrize("lossless", [False, True])
def test_jpeg_xl(lossless: bool) -> None:
    pytest.importorskip("pillow_jxl")
    data = encoded(Image.fromarray(PHOTO), "JXL", lossless=lossless, quality=95)
    loaded = load_image(data)
    assert same(loaded.rgb, PHOTO, 0 if lossless else 40)
    assert loaded.warnings == ()
    with pytest.raises(TooManyPixelsError, match="15360 pixels"):
        load_image(data, max_pixels=15359)
    for end in (8, len(data) // 2):
        with pytest.raises(UnreadableImageError):
            load_image(data[:end])


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (256, 256), (300, 200), (8, 200), (513, 3), (4, 3), (1000, 500)])
def test_the_size_of_a_jpeg_xl_is_known_before_it_is_decoded(size: tuple[int, int]) -> None:
    pytest.importorskip("pillow_jxl")
    pixels = size[0] * size[1]
    for container in (False, True):
        data = encoded(Image.new("RGB", size), "JXL", use_container=container, exif=exif(1) if container else None)
        if pixels > 1:
            with pytest.raises(TooManyPixelsError, match=f"has {pixels} pixels"):
                load_image(data, max_pixels=pixels - 1)
        assert load_image(data, max_pixels=pixels).rgb.shape == (size[1], size[0], 3)


def test_a_raw_photo_is_developed_and_never_its_preview() -> None:
    pytest.importorskip("rawpy")
    y, x = np.mgrid[:240, :320]
    sensor = ((x * 4095 // 320 + y * 4095 // 240) // 2).astype(np.uint16)[..., None]
    preview = np.zeros((24, 32, 3), np.uint8)
    pattern = [(33421, SHORT, [2, 2]), (33422, BYTE, [0, 1, 1, 2])]
    first = [(254, LONG, [1]), (50706, BYTE, [1, 4, 0, 0])]
    loaded = load_image(tiff(preview, 2, more=first, parts=[(sensor, 32803, pattern)]))
    assert loaded.rgb.shape == (240, 320, 3)
    assert loaded.rgb[:40].mean() + 50 < loaded.rgb[-40:].mean()
    assert loaded.warnings == ("a raw photo: developed to 8 bits with the camera's white balance",)


def test_a_damaged_raw_photo() -> None:
    pytest.importorskip("rawpy")
    with pytest.raises(UnreadableImageError, match="rawpy cannot develop"):
        load_image(b"FUJIFILMCCD-RAW " + bytes(500))
