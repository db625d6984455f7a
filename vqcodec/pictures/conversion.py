"""Any Pillow image -> 8-bit sRGB pixels: modes, bit depths, colour profiles, and the way back to Pillow.

Whatever is lost on the way is told in `LoadedImage.warnings`, one line each; nothing is printed.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from vqcodec.pictures.errors import ImageError, UnreadableImageError
from vqcodec.pictures.exif import EXIF_PREFIX
from vqcodec.pictures.source import REDUCED, Source, read_source
from vqcodec.pictures.tiff import TiffFile

__all__ = ["DEFAULT_MAX_PIXELS", "LoadedImage", "from_array", "from_pil", "to_pil"]

UInt8: TypeAlias = NDArray[np.uint8]
IccPolicy: TypeAlias = Literal["srgb", "keep"]
AlphaPolicy: TypeAlias = Literal["keep", "drop"]
MetadataPolicy: TypeAlias = Literal["drop", "keep"]

DEFAULT_MAX_PIXELS = 200_000_000  # the largest phone cameras make 16320 x 12240

#: rows of a picture that are copied at a time
_BAND_ROWS = 256

_ICC_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab": "LAB"}  # colour space of a profile -> Pillow mode


@dataclass(frozen=True, eq=False)
class LoadedImage:
    """A picture as the codec sees it, upright, with everything that belongs to it.

    Attributes:
        rgb: (H, W, 3) uint8, 0..255: sRGB, or the colour space of `icc` when there is one.
        alpha: (H, W) uint8, 0 (transparent) .. 255 (opaque), not premultiplied; None when opaque everywhere.
        icc: the bytes of an RGB colour profile, only with icc="keep"; None means sRGB.
        exif: EXIF as a TIFF structure without the prefix "Exif"; its orientation is 1. Only with metadata="keep".
        xmp: an XMP packet; its orientation is 1. Only with metadata="keep".
        warnings: one line for each thing that the conversion lost or had to guess.
        damage: those of the warnings that say that something in the file is broken.
        full_size: (height, width) of the file's picture, upright, where `rgb` was decoded smaller; None where not.

    Raises ValueError for alpha of another size.
    """

    rgb: UInt8
    alpha: UInt8 | None = None
    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    warnings: tuple[str, ...] = ()
    damage: tuple[str, ...] = ()
    full_size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.alpha is not None and self.alpha.shape != self.rgb.shape[:2]:
            raise ValueError(f"alpha of {self.alpha.shape} for pixels of {self.rgb.shape}: it has one number a pixel")

    @property
    def width(self) -> int:
        """Pixels from left to right."""
        return int(self.rgb.shape[1])

    @property
    def height(self) -> int:
        """Pixels from top to bottom."""
        return int(self.rgb.shape[0])


def from_pil(
    image: Image.Image,
    *,
    icc: IccPolicy = "srgb",
    alpha: AlphaPolicy = "keep",
    metadata: MetadataPolicy = "drop",
    max_pixels: int = DEFAULT_MAX_PIXELS,
) -> LoadedImage:
    """Convert a Pillow image of any mode; the image itself is left as it is (a lazy one gets decoded).

    Args:
        image: any Pillow image; its profile, EXIF and XMP are taken from `image.info`, as Pillow's readers leave them.
        icc: "srgb" converts the pixels to sRGB; "keep" leaves them and returns the profile.
        alpha: "drop" forgets the alpha channel without compositing.
        metadata: "keep" returns EXIF and XMP.
        max_pixels: largest width * height, in pixels; checked before decoding.

    Raises:
        TooManyPixelsError: the picture is larger than `max_pixels`.
        UnreadableImageError: a lazily opened file turns out damaged, or is a TIFF file that Pillow misreads.
        ImageError: the image has no pixels or a mode that cannot be converted.
    """
    check_policies(icc, alpha, metadata)
    try:
        tiff = TiffFile.of_pillow(image)
        if tiff is not None:
            tiff.check_first_picture()
            tiff.check_pillow_reads_it(image)
        source = read_source(image, max_pixels, tiff)
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # Pillow's readers raise nearly everything on damaged files
        raise UnreadableImageError(f"the picture is damaged or cut off ({error}): get a whole copy of it") from error
    return convert_source(source, icc=icc, alpha=alpha, metadata=metadata)


def from_array(array: NDArray[Any]) -> LoadedImage:
    """Take (H, W), (H, W, 3) or (H, W, 4) uint8 pixels (gray, sRGB, sRGB with alpha) as they are.

    Raises:
        ImageError: another shape or dtype, or no pixels.
    """
    if array.dtype != np.uint8 or 0 in array.shape or not (array.ndim == 2 or array.shape[2:] in ((3,), (4,))):
        raise ImageError(f"expected (H, W), (H, W, 3) or (H, W, 4) uint8, got {array.shape} {array.dtype}")
    if array.ndim == 2:
        array = np.repeat(array[..., None], 3, axis=2)
    alpha = array[..., 3] if array.shape[2] == 4 else None
    return LoadedImage(np.array(array[..., :3], order="C"), _none_if_opaque(alpha))


def to_pil(
    rgb: UInt8,
    alpha: UInt8 | None = None,
    icc: bytes | None = None,
    exif: bytes | None = None,
    xmp: bytes | None = None,
) -> Image.Image:
    """Build an RGB or RGBA Pillow image from (H, W, 3) uint8 and (H, W) uint8; the rest goes into `image.info`.

    Raises:
        ImageError: the arrays are not uint8 of these shapes.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or 0 in rgb.shape:
        raise ImageError(f"expected (H, W, 3) uint8 pixels, got {rgb.shape} {rgb.dtype}")
    if alpha is not None and (alpha.shape != rgb.shape[:2] or alpha.dtype != np.uint8):
        raise ImageError(f"expected {rgb.shape[:2]} uint8 alpha, got {alpha.shape} {alpha.dtype}")
    image = Image.fromarray(np.ascontiguousarray(rgb if alpha is None else np.dstack([rgb, alpha])))
    extras = {"icc_profile": icc, "exif": exif and EXIF_PREFIX + exif.removeprefix(EXIF_PREFIX), "xmp": xmp}
    image.info.update({key: value for key, value in extras.items() if value})
    return image


def check_policies(icc: str, alpha: str, metadata: str) -> None:
    """Refuse a misspelt option before any work is done; raises ImageError."""
    for name, value, allowed in (
        ("icc", icc, ("srgb", "keep")),
        ("alpha", alpha, ("keep", "drop")),
        ("metadata", metadata, ("drop", "keep")),
    ):
        if value not in allowed:
            raise ImageError(f"{name} must be {' or '.join(allowed)}, not {value!r}")


def convert_source(source: Source, *, icc: IccPolicy, alpha: AlphaPolicy, metadata: MetadataPolicy) -> LoadedImage:
    """Colours, alpha and metadata of a decoded image. Raises ImageError for a mode that cannot be converted."""
    notes = source.warnings
    if not source.image.mode.startswith(("I", "F")) and (source.deep_ppm or ";16" in source.raw_mode):
        notes.append(REDUCED)
    try:
        base, opacity = _to_8_bit(source)
    except (ValueError, KeyError) as error:
        raise ImageError(f"pixels of mode {source.image.mode} cannot be converted to RGB ({error})") from error
    coloured, profile = _to_rgb(base, source.icc, icc == "keep", notes)
    rgb = _pixels_of(coloured)
    if source.colours is not None and source.icc is None:
        rgb = source.colours.to_srgb(rgb)
    opacity = _none_if_opaque(opacity)
    if opacity is not None and alpha == "drop":
        notes.append("transparency dropped: hidden colours may show")
        opacity = None
    keep = metadata == "keep"
    return LoadedImage(
        rgb=rgb,
        alpha=opacity,
        icc=profile,
        exif=source.exif if keep else None,
        xmp=source.xmp if keep else None,
        warnings=tuple(dict.fromkeys(notes)),
        damage=tuple(dict.fromkeys(source.damage)),
        full_size=source.full_size,
    )


def _pixels_of(image: Image.Image) -> UInt8:
    """(H, W, 3) of an image of mode RGB, band by band: numpy's own way holds the picture twice."""
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    for top in range(0, image.height, _BAND_ROWS):
        bottom = min(top + _BAND_ROWS, image.height)
        pixels[top:bottom] = np.asarray(image.crop((0, top, image.width, bottom)))
    return pixels


def _as_rgb(image: Image.Image) -> Image.Image:
    """In mode RGB; the image itself where it is, of which Pillow would make a copy."""
    return image if image.mode == "RGB" else image.convert("RGB")


def _none_if_opaque(alpha: UInt8 | None) -> UInt8 | None:
    return None if alpha is None or bool((alpha == 255).all()) else np.array(alpha, dtype=np.uint8, order="C")


# ---- modes and bit depths ----


def _to_8_bit(source: Source) -> tuple[Image.Image, UInt8 | None]:
    """The image as mode L, RGB, CMYK or LAB, and its alpha as (H, W) uint8 where it has any."""
    image, mode = source.image, source.image.mode
    if mode == "L" and source.sample_format == (8, 2):
        return Image.fromarray(_scale_to_8_bit(source)), _keyed_alpha(source)
    if mode in ("L", "RGB", "1"):
        return (image.convert("L") if mode == "1" else image), _keyed_alpha(source)
    if mode in ("CMYK", "LAB"):
        return image, None
    if mode in ("P", "PA", "La", "RGBa"):
        image = image.convert("LA" if mode == "La" else "RGBA")
        mode = image.mode
    if mode in ("LA", "RGBA"):
        alpha: UInt8 = np.array(image.getchannel("A"))
        if source.format in ("BMP", "DIB") and not alpha.any():  # most programs leave those bytes unused
            alpha[:] = 255
        return (image.getchannel("L") if mode == "LA" else image.convert("RGB")), alpha
    if mode.startswith(("I", "F")):
        return Image.fromarray(_scale_to_8_bit(source)), _keyed_alpha(source)
    return image.convert("RGB"), None  # RGBX (X is padding), YCbCr, HSV


def _keyed_alpha(source: Source) -> UInt8 | None:
    """The alpha of a picture in which one colour (PNG tRNS) is transparent."""
    image, raw_mode = source.image, source.raw_mode
    key = image.info.get("transparency")
    if key is None:
        return None
    pixels = np.asarray(image)
    if image.mode == "RGB" and isinstance(key, tuple) and len(key) == 3:
        if ";16" in raw_mode:  # Pillow keeps the high byte of each sample, but the whole key
            key = tuple(value >> 8 for value in key)
        hidden = (pixels[..., 0] == key[0]) & (pixels[..., 1] == key[1]) & (pixels[..., 2] == key[2])
    elif image.mode != "RGB" and isinstance(key, int):
        if image.mode == "1":
            key = bool(key)
        elif raw_mode in ("L;2", "L;4"):  # Pillow spreads the samples over 0..255, but not the key
            key *= 85 if raw_mode == "L;2" else 17
        hidden = pixels == key
    else:
        source.warnings.append("the transparent colour is damaged and was ignored")
        return None
    return np.where(hidden, 0, 255).astype(np.uint8)


def _scale_to_8_bit(source: Source) -> UInt8:
    """Gray samples of 12, 16 or 32 bits or floats to 0..255, rounded; the full scale is known or guessed and told."""
    samples = np.asarray(source.image)
    if source.image.mode.startswith("I;16"):
        full = 4095 if source.raw_mode == "I;12" else 65535
        gray: UInt8 = ((samples.astype(np.uint32) * 255 + full // 2) // full).clip(0, 255).astype(np.uint8)
        source.warnings.append(REDUCED)
        return np.invert(gray) if source.white_is_zero else gray
    if source.sample_format == (8, 2):
        samples = samples.view(np.int8)
    elif source.sample_format == (32, 1) and samples.dtype == np.int32:  # which Pillow has no mode for
        samples = samples.view(np.uint32)
    values = samples.astype(np.float64)
    finite = np.isfinite(values)
    if not finite.all():
        source.warnings.append("samples that are not finite numbers were set to 0")
        values = np.where(finite, values, 0)
    low, high = float(values.min()), float(values.max())
    whole = source.image.mode != "F"
    if samples.dtype == np.uint32 and high >= 2**31:
        guesses: tuple[float, ...] = (2.0**32 - 1,)
    else:
        guesses = (255.0, 65535.0) if whole else (1.0, 255.0, 65535.0)
    scale = 65535.0 if source.deep_ppm else 0.0  # Pillow spreads such samples over 0..65535
    scale = scale or next((limit for limit in guesses if low >= 0 and high <= limit), 0.0)
    kind = f"{samples.itemsize * 8}-bit integers" if whole else "floating-point samples"
    if scale:
        source.warnings.append(f"{kind} reduced to 8 bits, taking {scale:.0f} as white")
        low = 0.0
    else:
        scale = high - low or 1.0
        source.warnings.append(f"{kind} reduced to 8 bits, stretching {low:g} .. {high:g} to black .. white")
    levels: UInt8 = ((values - low) * (255 / scale)).round().clip(0, 255).astype(np.uint8)
    return np.invert(levels) if source.white_is_zero else levels


# ---- colour ----


def icc_to_srgb(image: Image.Image, icc: bytes) -> Image.Image:
    """Convert an image of mode RGB through its profile to sRGB; unchanged if the profile cannot be used."""
    return _to_rgb(image, icc, False, [])[0]


def _to_rgb(base: Image.Image, icc: bytes | None, keep: bool, notes: list[str]) -> tuple[Image.Image, bytes | None]:
    """Mode L, RGB, CMYK or LAB to RGB, and the profile if it still describes the pixels."""
    profile = None
    if icc:
        try:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
            space = profile.profile.xcolor_space.strip()
            if base.mode == "L" and space == "RGB":
                base = _as_rgb(base)
            if _ICC_MODES.get(space) != base.mode:
                notes.append(f"the ICC profile is for {space} but the pixels are {base.mode}: profile ignored")
                profile = None
            else:
                converted = _apply_profile(base, profile)  # also when it is kept: a damaged profile shows here
                if keep and base.mode == "RGB":
                    return base, icc
                if keep or base.mode == "CMYK":
                    notes.append(f"{base.mode} pixels were converted to sRGB through their ICC profile")
                return converted, None
        except (OSError, ImageCms.PyCMSError, ImportError, ValueError, TypeError):
            notes.append("the ICC profile is damaged or not supported: ignored, colours are taken as sRGB")
    if base.mode == "LAB":
        return _apply_profile(base, ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))), None
    if base.mode == "CMYK":
        notes.append("CMYK pixels without a usable ICC profile: converted to RGB by the plain formula")
    return _as_rgb(base), None


def _apply_profile(base: Image.Image, profile: ImageCms.ImageCmsProfile) -> Image.Image:
    """To sRGB; a profile that is sRGB within one step of 255 leaves the pixels as they are."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    transform = ImageCms.ImageCmsTransform(
        profile,
        srgb,
        base.mode,
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    if base.mode in ("L", "RGB"):
        ramp = np.arange(256, dtype=np.uint8)
        steps = ramp[::15]
        if base.mode == "L":
            probe = ramp[None]
        else:
            probe = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3)
        before = Image.fromarray(probe)
        after = np.asarray(transform.apply(before), dtype=np.int16)
        if int(np.abs(after - np.asarray(before.convert("RGB"), dtype=np.int16)).max()) <= 1:
            return _as_rgb(base)
    return transform.apply(base)
