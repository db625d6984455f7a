"""TIFF files before Pillow reads them: is the first picture the photo, and does Pillow read such samples right?

Raw photos (DNG, NEF, CR2, ARW, ...) are TIFF files whose first picture is mostly a small preview.
"""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final, Literal

import numpy as np
from PIL import Image, TiffImagePlugin, features

from vqcodec.pictures.errors import ImageError, UnreadableImageError

__all__ = ["TiffFile", "is_tiff", "read_tiff_directories"]

_MOST_DIRECTORIES: Final = 256
#: type of a value -> its bytes, of those that are looked at: BYTE, SHORT, LONG, UNDEFINED, IFD, and those of BigTIFF
_SIZES: Final = {1: 1, 3: 2, 4: 4, 7: 1, 13: 4, 16: 8, 18: 8}
_SUBFILE, _OLD_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 254, 255, 256, 257, 258, 259, 262
_SAMPLES, _PLANAR, _COLOUR_MAP, _SUB_DIRECTORIES, _FORMAT, _DNG_VERSION = 277, 284, 320, 330, 339, 50706
_TAGS: Final = frozenset(
    (*range(_SUBFILE, _COMPRESSION + 1), _PHOTOMETRIC, _SAMPLES, _PLANAR, _SUB_DIRECTORIES, _FORMAT, _DNG_VERSION)
)
_SENSOR: Final = frozenset((32803, 34892))  # photometric interpretations: colour filter array, linear raw
_SENSOR_COMPRESSIONS: Final = frozenset((32767, 32769, 32770, 34713, 65535))  # Sony, Samsung, Nikon, Pentax
#: samples in the file's order, as Pillow calls them -> in this machine's
_NATIVE: Final = (
    {"I;16BS": "I;16S", "I;32BS": "I;32S", "F;32BF": "F;32F"}
    if sys.byteorder == "little"
    else {"I;16S": "I;16BS", "I;32S": "I;32BS", "F;32F": "F;32BF"}
)
_YCBCR: Final = 6
_UNSIGNED, _SIGNED, _FLOAT = 1, 2, 3
_SAMPLE_KINDS: Final = {_UNSIGNED: "", _SIGNED: "signed ", _FLOAT: "floating-point "}
_ALIKE: Final = 0.05  # how far aspects differ at most of a picture and its preview, relative


@dataclass(frozen=True)
class _Directory:
    """The tags of one picture that are looked at; on_chain: a page, not a part of one."""

    tags: dict[int, tuple[int, ...]]
    on_chain: bool

    def first(self, tag: int, default: int) -> int:
        return next(iter(self.tags.get(tag, ())), default)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, 0 where they are not said."""
        return self.first(_WIDTH, 0), self.first(_HEIGHT, 0)

    @property
    def is_reduced(self) -> bool:
        """Whether it says of itself that it is a smaller version of another picture."""
        return bool(self.first(_SUBFILE, 0) & 1) or self.first(_OLD_SUBFILE, 1) == 2

    @property
    def is_from_a_sensor(self) -> bool:
        return (
            self.first(_PHOTOMETRIC, 0) in _SENSOR
            or self.first(_COMPRESSION, 1) in _SENSOR_COMPRESSIONS
            or _DNG_VERSION in self.tags
        )

    def is_preview_of(self, other: _Directory) -> bool:
        """Whether it looks like one, though it does not say so: half as large or less, and of the same shape."""
        (width, height), (larger_width, larger_height) = self.size, other.size
        if other.is_reduced or min(width, height) < 1 or larger_width < 2 * width or larger_height < 2 * height:
            return False
        return not other.on_chain or abs(width * larger_height / (height * larger_width) - 1) < _ALIKE


@dataclass(frozen=True)
class TiffFile:
    """What its directories say. raw: it is a camera's raw photo."""

    directories: tuple[_Directory, ...]
    raw: bool

    def check_first_picture(self) -> None:
        """Raises UnreadableImageError where the first picture is a smaller version of another."""
        if not self.directories:
            return
        first, *others = self.directories
        larger = max(others, key=lambda other: other.size[0] * other.size[1], default=first)
        if first.is_reduced or any(first.is_preview_of(other) for other in others):
            what = "{} x {} pixels".format(*first.size)
            if larger.size > first.size:
                what += " of one of {} x {}".format(*larger.size)
            raise UnreadableImageError(
                f"its first picture is a preview only ({what}), and no other is read: export the whole picture as "
                "TIFF, PNG or JPEG"
            )

    @property
    def samples(self) -> str:
        """The samples of the first picture in words, such as "3 x 32-bit floating-point samples"."""
        first = self.directories[0] if self.directories else _Directory({}, True)
        kind = _SAMPLE_KINDS.get(first.first(_FORMAT, _UNSIGNED), "")
        words = f"{first.first(_SAMPLES, 1)} x {first.first(_BITS, 1)}-bit {kind}samples a pixel"
        packed = first.first(_COMPRESSION, 1)
        return words if packed in TiffImagePlugin.COMPRESSION_INFO else f"{words} and compression {packed}"

    @property
    def sample_format(self) -> tuple[int, int]:
        """Of the first picture, how many bits a sample has and what it is: 1 unsigned, 2 signed, 3 a float."""
        first = self.directories[0] if self.directories else _Directory({}, True)
        return first.first(_BITS, 1), first.first(_FORMAT, _UNSIGNED)

    @property
    def _has_planes(self) -> bool:
        first = self.directories[0] if self.directories else _Directory({}, True)
        return first.first(_PLANAR, 1) == 2 and first.first(_SAMPLES, 1) > 1

    def mended_pixels(self, image: Image.Image) -> Image.Image:
        """A decoded picture as it is: of Lab in planes Pillow takes the signed a and b for unsigned.

        And a palette of bytes for one of 16 bits, which makes it black.
        """
        palette = getattr(image, "tag_v2", {}).get(_COLOUR_MAP, ())
        if image.mode in ("P", "PA") and palette and max(palette) < 256:  # libtiff's rule
            image.putpalette(np.reshape(np.array(palette, np.uint8), (3, -1)).T.tobytes())
        if not self._has_planes or image.mode != "LAB":
            return image
        return Image.fromarray(np.asarray(image) ^ np.array([0, 128, 128], np.uint8), "LAB")

    def check_pillow_reads_it(self, image: Image.Image) -> None:
        """For a picture that somebody else opened. Raises UnreadableImageError where Pillow reads wrong samples."""
        first = self.directories[0] if self.directories else _Directory({}, True)
        plain = bool(image.tile) and image.tile[0][0] == "raw"  # type: ignore[attr-defined]
        if plain and (self._has_planes or first.first(_PHOTOMETRIC, 0) == _YCBCR):
            raise UnreadableImageError("Pillow misreads such a TIFF file: give the path of the file itself")

    @classmethod
    def of_pillow(cls, image: Image.Image) -> TiffFile | None:
        """The first directory of a TIFF file that Pillow has opened and not decoded; None for other pictures."""
        tags = getattr(image, "tag_v2", None)
        if image.format != "TIFF" or tags is None or not getattr(image, "tile", None):
            return None
        found = {tag: tags[tag] for tag in _TAGS if tag in tags}
        values = {tag: value if isinstance(value, tuple) else (value,) for tag, value in found.items()}
        whole = {tag: value for tag, value in values.items() if all(isinstance(each, int) for each in value)}
        return cls((_Directory(whole, True),), False)

    def mend_order(self, image: Image.Image) -> None:
        """Of an opened picture: libtiff, which unpacks, gives samples in this machine's order, whatever the file's."""
        tiles = getattr(image, "tile", [])
        if tiles and tiles[0][0] == "libtiff":
            image.tile = [  # type: ignore[attr-defined]
                tile._replace(args=(_NATIVE.get(tile.args[0], tile.args[0]), *tile.args[1:])) for tile in tiles
            ]

    @contextlib.contextmanager
    def reader(self) -> Iterator[None]:
        """Inside it Pillow leaves to libtiff what it misreads itself: planes, and YCbCr, in files without compression.

        A setting of the whole process: for use inside `pillow_rules` only. Raises ImageError for a Pillow without
        libtiff.
        """
        first = self.directories[0] if self.directories else _Directory({}, True)
        plain = first.first(_COMPRESSION, 1) == 1
        if not plain or not (self._has_planes or first.first(_PHOTOMETRIC, 0) == _YCBCR):
            yield
            return
        if not features.check("libtiff"):
            raise ImageError("samples in planes need a Pillow with libtiff: convert it to PNG first")
        before = TiffImagePlugin.READ_LIBTIFF
        TiffImagePlugin.READ_LIBTIFF = True
        try:
            yield
        finally:
            TiffImagePlugin.READ_LIBTIFF = before


def is_tiff(head: bytes) -> bool:
    """Whether the first bytes of a file are those of TIFF or BigTIFF."""
    return head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def read_tiff_directories(stream: BinaryIO) -> TiffFile:
    """The directories of a TIFF file, as far as they can be read; damage is left to whoever reads the pixels.

    stream: a file that `is_tiff`; where it stands does not matter, and changes.
    """
    total = stream.seek(0, io.SEEK_END)
    stream.seek(0)
    head = stream.read(16)
    order: Literal["little", "big"] = "little" if head[:2] == b"II" else "big"
    big = b"+" in head[2:4]
    word = 8 if big else 4

    def number(data: bytes) -> int:
        return int.from_bytes(data, order)

    def read(place: int, on_chain: bool) -> tuple[_Directory, int]:
        """A directory, and where the next page is; an empty one beyond the end."""
        if place >= total:
            return _Directory({}, on_chain), 0
        stream.seek(place)
        count = number(stream.read(8 if big else 2))
        length = 20 if big else 12
        block = stream.read(min(count, 4096) * length + word)
        tags = {}
        for at in range(0, length * (len(block) // length), length):
            tag, kind = number(block[at : at + 2]), number(block[at + 2 : at + 4])
            size, values = _SIZES.get(kind, 0), min(number(block[at + 4 : at + 4 + word]), 1024)
            if tag not in _TAGS or not size:
                continue
            raw = block[at + 4 + word : at + 4 + 2 * word]
            if size * values > word:
                stream.seek(min(number(raw), total))
                raw = stream.read(size * values)
            tags[tag] = tuple(number(raw[value : value + size]) for value in range(0, size * values, size))
        return _Directory(tags, on_chain), number(block[length * count : length * count + word])

    found: dict[int, _Directory] = {}
    pending = [(number(head[8:16] if big else head[4:8]), True)]
    while pending and len(found) < _MOST_DIRECTORIES:
        place, on_chain = pending.pop(0)
        if not place or place in found:
            continue
        found[place], following = read(place, on_chain)
        pending += [(inner, False) for inner in found[place].tags.get(_SUB_DIRECTORIES, ())]
        if on_chain:
            pending.append((following, True))
    stream.seek(0)
    directories = tuple(found.values())
    return TiffFile(directories, head[8:10] == b"CR" or any(each.is_from_a_sensor for each in directories))
