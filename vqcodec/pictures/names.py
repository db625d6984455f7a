"""What files of pictures are called, and what is told of those that are passed over. Imports nothing that is heavy."""

from __future__ import annotations

from collections import Counter
from typing import Final

__all__ = ["ALL_SUFFIXES", "PICTURE_SUFFIXES", "described", "picture_suffixes"]


def _suffixes(names: str) -> frozenset[str]:
    return frozenset(f".{name}" for name in names.split())


#: as pictures are named that are always read
PICTURE_SUFFIXES: Final = _suffixes(
    "png apng jpg jpeg jpe jfif mpo webp avif avifs tif tiff jp2 j2k j2c jpc jpf jpx gif bmp dib ppm pgm pbm pnm pfm "
    "tga psd ico icns qoi pcx sgi dds"
)
#: kind of `vqcodec.pictures.further_readers` -> as pictures are named that are read when its package is there
_FURTHER_SUFFIXES: Final = {
    "HEIC": _suffixes("heic heif heics heifs hif"),
    "JPEG XL": _suffixes("jxl"),
    "raw": _suffixes("dng nef nrw cr2 cr3 crw arw srf sr2 orf rw2 raf pef srw x3f 3fr fff iiq erf kdc dcr mos mrw rwl"),
}
#: as pictures are named that are never read
_UNREAD_SUFFIXES: Final = _suffixes("svg svgz exr hdr jxr wdp hdp xcf eps wmf emf djvu")
ALL_SUFFIXES: Final = PICTURE_SUFFIXES.union(*_FURTHER_SUFFIXES.values(), _UNREAD_SUFFIXES)


def picture_suffixes() -> frozenset[str]:
    """As pictures are named that are read here, with the packages that are there."""
    from vqcodec.pictures.further_readers import is_there

    return PICTURE_SUFFIXES.union(*(suffixes for kind, suffixes in _FURTHER_SUFFIXES.items() if is_there(kind)))


def described(passed_over: Counter[str]) -> str:
    """How many of what looks like a picture were passed over, by suffix or reason, and what would help; empty for none.

    Examples:
        >>> described(Counter({".exr": 2, "links to nothing": 1}))
        'passed over: 2 .exr, 1 links to nothing'
    """
    if not passed_over:
        return ""
    counts = ", ".join(f"{count} {what}" for what, count in sorted(passed_over.items()))
    further = sorted(suffix for suffixes in _FURTHER_SUFFIXES.values() for suffix in suffixes & {*passed_over})
    help_ = f" (pip install 'vqcodec[formats]' for {' '.join(further)})" if further else ""
    return f"passed over: {counts}{help_}"
