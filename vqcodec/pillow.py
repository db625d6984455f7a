"""A Pillow plugin: `import vqcodec.pillow`, and `Image.open("x.vq")` and `image.save("x.vq", max_bytes=2000)` work.

Opening reads the header and the metadata; the model is found and the networks run when the pixels are first needed.
`ImageFile.LOAD_TRUNCATED_IMAGES` gives the whole levels of a stream that is cut off. Conventions are those of Pillow's
own plugins: what is no stream is left to others, a damaged one is an OSError, `exif` and `xmp` are written when they
are given, and the colour profile of the image goes along. Imports no torch.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from PIL import Image, ImageFile

from vqcodec.bitstream import (
    MAGIC,
    BoxType,
    StreamError,
    TruncatedStreamError,
    entropy_name,
    read_boxes,
    read_header,
)
from vqcodec.cards.errors import ModelError
from vqcodec.cards.finding import DEFAULT_MODEL, find_model, find_model_by_id
from vqcodec.pictures.conversion import from_pil
from vqcodec.pictures.exif import EXIF_PREFIX

if TYPE_CHECKING:
    from vqcodec.codec import Codec

FORMAT: Final = "VQ"
MIME_TYPE: Final = "image/x-vqcodec"
#: options of `save` that `Codec.encode` takes, too
_ENCODE_OPTIONS: Final = ("quality", "max_bytes", "bits_per_pixel", "levels", "weight", "entropy")


class VQImageFile(ImageFile.ImageFile):
    """A .vq stream. info: `model_id`, `levels`, `entropy`, and `icc_profile`, `exif` and `xmp` where it has them."""

    format = FORMAT
    format_description = "vqcodec stream"
    #: until the pixels are there; images that were pickled or copied have them, and have not been opened
    _stream: bytes | None = None

    def _open(self) -> None:
        if self.fp is None:
            raise SyntaxError("no file")
        self._stream = self.fp.read()
        try:
            stream, boxes = read_header(self._stream), read_boxes(self._stream)
        except StreamError as error:  # what Pillow expects of a file that is not for a plugin
            raise SyntaxError(str(error)) from error
        header = stream.header
        self._size = (header.width, header.height)
        self._mode = "RGBA" if BoxType.ALPHA in stream.box_bytes else "RGB"
        self.info = {
            "model_id": header.model_id.hex(),
            "levels": header.level_count,
            "entropy": entropy_name(header.entropy_id),
        }
        found = {
            "icc_profile": boxes.icc,
            "exif": None if boxes.exif is None else EXIF_PREFIX + boxes.exif,
            "xmp": boxes.xmp,
        }
        self.info |= {key: value for key, value in found.items() if value}

    def load(self) -> Any:
        """Decode the pixels at the first call. Raises OSError for a stream that cannot be decoded."""
        if self._stream is not None:
            pixels = self._decoded(self._stream)
            self._stream = None
            if self.fp is not None and getattr(self, "_exclusive_fp", False):
                self.fp.close()
            self.fp = BytesIO(pixels)
            self.tile = [ImageFile._Tile("raw", (0, 0, *self.size), 0, self.mode)]
        return super().load()

    def load_seek(self, position: int) -> None:
        """Nothing: pixels are read from their start on. Without it Pillow maps the file itself as if it were pixels."""

    def _decoded(self, stream: bytes) -> bytes:
        partial = bool(ImageFile.LOAD_TRUNCATED_IMAGES)
        try:
            codec = _codec(find_model_by_id(bytes.fromhex(self.info["model_id"])).path)
            image = codec.decode(stream, allow_partial=partial)
        except TruncatedStreamError as error:
            raise OSError(f"image file is truncated: {error}") from error
        except (StreamError, ModelError) as error:
            raise OSError(str(error)) from error
        return image.convert(self.mode).tobytes()


def _accept(start: bytes) -> bool:
    return start.startswith(MAGIC)


def _save(image: Image.Image, file: IO[bytes], filename: str | bytes) -> None:
    """What `Image.save` calls; the options of it are in `image.encoderinfo`."""
    options = getattr(image, "encoderinfo", {})
    profile = options.get("icc_profile", image.info.get("icc_profile")) or None
    plain = image.copy()  # of its metadata only what says how its pixels are meant: they are stored as they lie
    plain.info = {key: image.info[key] for key in ("transparency",) if key in image.info}
    if profile:
        plain.info["icc_profile"] = profile
    loaded = replace(
        from_pil(plain, icc="keep"), exif=_exif(options.get("exif")), xmp=_bytes(options.get("xmp")), warnings=()
    )
    codec = _codec(find_model(options.get("model", DEFAULT_MODEL)).path)
    chosen = {name: options[name] for name in _ENCODE_OPTIONS if options.get(name) is not None}
    file.write(codec.encode(loaded, **chosen))


def _exif(value: Any) -> bytes | None:
    raw = value.tobytes() if isinstance(value, Image.Exif) else _bytes(value)
    return raw.removeprefix(EXIF_PREFIX) or None if raw else None


def _bytes(value: Any) -> bytes | None:
    return value.encode() if isinstance(value, str) else value or None


@lru_cache(maxsize=4)
def _codec(folder: Path) -> Codec:
    from vqcodec.codec import Codec

    return Codec.load(folder)


Image.register_open(FORMAT, VQImageFile, _accept)
Image.register_save(FORMAT, _save)
Image.register_extension(FORMAT, ".vq")
Image.register_mime(FORMAT, MIME_TYPE)
