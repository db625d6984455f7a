"""The header: one table of fields drives the reader, the writer and the size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from vqcodec.bitstream.errors import LimitExceededError, NotAStreamError, TruncatedStreamError, UnsupportedVersionError
from vqcodec.bitstream.limits import MAX_ENTROPY_ID, MAX_LEVELS, MAX_PIXELS, MAX_SIDE_PIXELS
from vqcodec.bitstream.wire import Reader, encode_varint

MAGIC: Final = b"\xf5V"  # 0xF5 occurs in no UTF-8 text, and no common file type starts with it
FORMAT_VERSION: Final = 1
MODEL_ID_BYTES: Final = 4
CHECKSUM_BYTES: Final = 4

_BOXES_FLAG: Final = 0x80


@dataclass(frozen=True)
class Header:
    """What stands before the payloads. Raises `ValueError` for values that the fields cannot hold.

    ``model_id``: 4 bytes, the first of the sha256 fingerprint of the model card. ``width`` and ``height``: true size of
    the picture in pixels, at least 1. ``level_count``: 1 to 16. ``entropy_id``: 0 to 15. ``has_boxes``: whether a box
    section follows. ``checksum``: CRC-32 of header, boxes and tokens, 0 to ``2**32 - 1``. ``version``: of the format,
    1.
    """

    model_id: bytes
    width: int
    height: int
    level_count: int
    entropy_id: int
    has_boxes: bool = False
    checksum: int = 0
    version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        if len(self.model_id) != MODEL_ID_BYTES:
            raise ValueError(f"a model id has {MODEL_ID_BYTES} bytes, not {len(self.model_id)}")
        if self.version != FORMAT_VERSION:
            raise ValueError(f"this is version {FORMAT_VERSION} of the format, not {self.version}")
        if self.width < 1 or self.height < 1:
            raise ValueError(f"a picture is at least 1 x 1, not {self.width} x {self.height}")
        if not 1 <= self.level_count <= MAX_LEVELS or not 0 <= self.entropy_id <= MAX_ENTROPY_ID:
            raise ValueError(f"{self.level_count} levels with entropy model {self.entropy_id} do not fit the header")
        if not 0 <= self.checksum < 2**32:
            raise ValueError(f"a checksum is 0 to 2**32 - 1, not {self.checksum}")

    def to_bytes(self) -> bytes:
        """The header as stored."""
        return b"".join(field.write(self) for field in _FIELDS)

    def checked_bytes(self) -> bytes:
        """The header as stored without the checksum: what the checksum covers first."""
        return b"".join(field.write(self) for field in _FIELDS if field.name != "checksum")

    @property
    def size_bytes(self) -> int:
        """Size of the header as stored: 14 to 20 bytes, at most 16 for a picture of up to 16384 x 16384."""
        return len(self.to_bytes())


@dataclass(frozen=True)
class _Field:
    """One field: how it is written, and how it is read into arguments of `Header`."""

    name: str
    write: Callable[[Header], bytes]
    read: Callable[[Reader], dict[str, Any]]


def _read_magic(reader: Reader) -> dict[str, Any]:
    found = bytes(reader.take(min(len(MAGIC), reader.remaining), "magic"))
    if not MAGIC.startswith(found):
        raise NotAStreamError(f"not a .vq stream: it starts with {found.hex()}, not {MAGIC.hex()}; check the file")
    if len(found) < len(MAGIC):
        raise TruncatedStreamError(f"only {len(found)} bytes, too few for a .vq stream; fetch the whole file again")
    return {}


def _read_version(reader: Reader) -> dict[str, Any]:
    byte = reader.byte("version")
    version = byte & ~_BOXES_FLAG
    if version != FORMAT_VERSION:
        raise UnsupportedVersionError(
            f"the stream has format version {version}; this reader knows version {FORMAT_VERSION}: "
            "install a newer vqcodec"
        )
    return {"version": version, "has_boxes": bool(byte & _BOXES_FLAG)}


def _read_side(name: str) -> Callable[[Reader], dict[str, Any]]:
    def read(reader: Reader) -> dict[str, Any]:
        return {name: reader.varint(name) + 1}

    return read


def _read_coding(reader: Reader) -> dict[str, Any]:
    byte = reader.byte("level count")
    return {"level_count": (byte & 0x0F) + 1, "entropy_id": byte >> 4}


_FIELDS: Final = (
    _Field("magic", lambda header: MAGIC, _read_magic),
    _Field("version", lambda header: bytes([header.version | _BOXES_FLAG * header.has_boxes]), _read_version),
    _Field(
        "model id",
        lambda header: header.model_id,
        lambda reader: {"model_id": bytes(reader.take(MODEL_ID_BYTES, "model id"))},
    ),
    _Field("width", lambda header: encode_varint(header.width - 1), _read_side("width")),
    _Field("height", lambda header: encode_varint(header.height - 1), _read_side("height")),
    _Field("coding", lambda header: bytes([header.level_count - 1 | header.entropy_id << 4]), _read_coding),
    _Field(
        "checksum",
        lambda header: header.checksum.to_bytes(CHECKSUM_BYTES, "little"),
        lambda reader: {"checksum": int.from_bytes(reader.take(CHECKSUM_BYTES, "checksum"), "little")},
    ),
)


def read_header_fields(reader: Reader) -> Header:
    """The header at the cursor. Raises a `StreamError`; limits on the size are for `check_picture_size`."""
    arguments: dict[str, Any] = {}
    for field in _FIELDS:
        arguments |= field.read(reader)
    return Header(**arguments)


def check_picture_size(width: int, height: int, max_pixels: int = MAX_PIXELS) -> None:
    """Raise `LimitExceededError` if a picture of ``width`` x ``height`` pixels is over a limit."""
    if max(width, height) > MAX_SIDE_PIXELS:
        raise LimitExceededError(
            f"the picture is {width} x {height} pixels; a side has at most {MAX_SIDE_PIXELS}: split the picture"
        )
    allowed = min(max_pixels, MAX_PIXELS)
    if width * height > allowed:
        remedy = "raise max_pixels if you trust the file" if allowed < MAX_PIXELS else "split the picture"
        raise LimitExceededError(
            f"the picture is {width} x {height} = {width * height} pixels; at most {allowed} are allowed: {remedy}"
        )
