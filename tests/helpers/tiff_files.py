"""TIFF files and EXIF blocks by hand: Pillow writes few of the kinds that are about."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import numpy as np

BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED = 1, 2, 3, 4, 5, 7
_FORMATS = {1: "B", 2: "B", 3: "H", 4: "I", 6: "b", 7: "B", 8: "h", 9: "i", 11: "f", 12: "d"}
Entry = tuple[int, int, Sequence[float]]


def packed(kind: int, values: Sequence[float], order: str) -> bytes:
    """order: < or >. RATIONAL takes pairs, one after another."""
    if kind == RATIONAL:
        return struct.pack(f"{order}{len(values)}I", *values)
    return struct.pack(f"{order}{len(values)}{_FORMATS[kind]}", *values)


def directory(entries: Sequence[Entry], place: int, order: str = "<", following: int = 0) -> bytes:
    """One that lies at `place` of its file, with its long values after it."""
    body, values = b"", b""
    end = place + 2 + 12 * len(entries) + 4
    for tag, kind, content in sorted(entries):
        data = packed(kind, content, order)
        count = len(content) // 2 if kind == RATIONAL else len(content)
        body += struct.pack(order + "HHI", tag, kind, count)
        if len(data) <= 4:
            body += data.ljust(4, b"\0")
        else:
            body += struct.pack(order + "I", end + len(values))
            values += data + bytes(len(data) % 2)
    return struct.pack(order + "H", len(entries)) + body + struct.pack(order + "I", following) + values


def exif_block(entries: Sequence[Entry], order: str = "<", inner: Sequence[Entry] = ()) -> bytes:
    """A TIFF structure without pictures; inner: what the EXIF directory has."""
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    if not inner:
        return head + directory(entries, 8, order)
    length = len(directory([*entries, (0x8769, LONG, [0])], 8, order))
    return head + directory([*entries, (0x8769, LONG, [8 + length])], 8, order) + directory(inner, 8 + length, order)


def tiff(
    samples: np.ndarray,
    photometric: int,
    *,
    order: str = "<",
    planes: bool = False,
    deflated: bool = False,
    rows_a_strip: int = 0,
    more: Sequence[Entry] = (),
    parts: Sequence[tuple[np.ndarray, int, Sequence[Entry]]] = (),
    pages: Sequence[tuple[np.ndarray, int, Sequence[Entry]]] = (),
) -> bytes:
    """(H, W, C) samples of any type as a file. more: further entries of its directory.

    parts: pictures in directories below the first one; pages: those after it. Both with photometric and entries.
    """
    pixels, places = b"", []

    def entries(samples: np.ndarray, photometric: int, more: Sequence[Entry], plain: bool) -> list[Entry]:
        nonlocal pixels
        height, width, channels = samples.shape
        rows = height if plain or not rows_a_strip else rows_a_strip
        layers = [samples[..., each : each + 1] for each in range(channels)] if planes and not plain else [samples]
        strips = [layer[start : start + rows] for layer in layers for start in range(0, height, rows)]
        offsets, counts = [], []
        for strip in strips:
            data = strip.astype(samples.dtype.newbyteorder(order)).tobytes()
            data = zlib.compress(data) if deflated and not plain else data
            offsets.append(8 + len(pixels))
            counts.append(len(data))
            pixels += data + bytes(len(data) % 2)
        kind = {"u": 1, "i": 2, "f": 3}[samples.dtype.kind]
        given = {tag for tag, _, _ in more}
        usual: list[Entry] = [
            (256, LONG, [width]),
            (257, LONG, [height]),
            (258, SHORT, [8 * samples.dtype.itemsize] * channels),
            (259, SHORT, [8 if deflated and not plain else 1]),
            (262, SHORT, [photometric]),
            (273, LONG, offsets),
            (277, SHORT, [channels]),
            (278, LONG, [rows]),
            (279, LONG, counts),
            (284, SHORT, [2 if planes and not plain else 1]),
            (339, SHORT, [kind] * channels),
        ]
        return [*(entry for entry in usual if entry[0] not in given), *more]

    first = entries(samples, photometric, more, plain=False)
    below = [entries(*each, plain=True) for each in parts]
    after = [entries(*each, plain=True) for each in pages]
    place = 8 + len(pixels)
    directories = b""
    for each in below:
        places.append(place + len(directories))
        directories += directory(each, places[-1], order)
    if places:
        first.append((330, LONG, places))
    start = place + len(directories)
    for number, each in enumerate([first, *after]):
        at = place + len(directories)
        length = len(directory(each, at, order))
        directories += directory(each, at, order, at + length if number < len(after) else 0)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", start)
    return head + pixels + directories
