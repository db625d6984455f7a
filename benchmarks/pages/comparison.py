"""A page that compares files of one picture: the original, and what others made of it; everything is in the page."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from PIL import Image

from vqcodec.benchmarks.pages.tables import Cell, Group, Heading, Row, Table, metric_heading
from vqcodec.benchmarks.pages.viewer import FirstView, Shown, ViewerPicture, data_uri, thumbnail, viewer_values
from vqcodec.benchmarks.pages.writing import render
from vqcodec.benchmarks.rate_distortion.labels import CURVE_KINDS, RATE_NOTE, TIMES, number
from vqcodec.benchmarks.rate_distortion.metrics import Metrics
from vqcodec.benchmarks.rate_distortion.summary import METRICS
from vqcodec.pictures.arrays import Pixels

#: pixels, width and height: WebP, in which the page holds its pictures, ends there
MAXIMUM_SIDE: Final = 16383


class ComparisonError(ValueError):
    """Files that cannot be compared. The message is one line that names the file and the remedy."""


@dataclass(frozen=True, eq=False)
class ComparedFile:
    """name: as it was given. kind: such as "AVIF" or "photo-1, 2 levels". bytes: of the file. rgb: (H, W, 3) uint8."""

    name: str
    kind: str
    bytes: int
    rgb: Pixels

    @property
    def size(self) -> str:
        """Width and height, for messages."""
        return f"{self.rgb.shape[1]} x {self.rgb.shape[0]}"


def check_file(file: ComparedFile, original: ComparedFile) -> None:
    """Raises ComparisonError for a picture that is too large for the page or not of the original's size."""
    if max(file.rgb.shape[:2]) > MAXIMUM_SIDE:
        raise ComparisonError(
            f"{file.name}: {file.size} pixels, more than {MAXIMUM_SIDE} a side: compare a part of the picture"
        )
    if file.rgb.shape != original.rgb.shape:
        raise ComparisonError(
            f"{file.name}: {file.size} pixels, but {original.name} has {original.size}: compare pictures of one size"
        )


def comparison_page(original: ComparedFile, others: Sequence[ComparedFile], metrics: Metrics) -> str:
    """The page, HTML. Pictures are in it as lossless WebP: exactly the pixels that were measured.

    Raises ComparisonError, see `check_file`, and for a name that is given twice.
    """
    for file in (original, *others):
        check_file(file, original)
    names = [file.name for file in others]
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        raise ComparisonError(f"{repeated[0]}: is given twice: name each file once")
    labels = _labels([original.name, *names])
    shown = tuple(_shown(file, original, metrics, labels[file.name]) for file in others)
    height, width = original.rgb.shape[:2]
    image = Image.fromarray(original.rgb)
    label = labels[original.name]
    picture = ViewerPicture(label, width, height, thumbnail(image), _lossless(image), shown, original.bytes)
    first: FirstView = (None, shown[0]) if len(shown) == 1 else (shown[0], shown[1])
    return render(
        "comparison.html",
        name=label,
        size=f"{width} {TIMES} {height}",
        count=len(others),
        table=_table(original, label, shown),
        viewer=viewer_values([picture], first),
    )


def _shown(file: ComparedFile, original: ComparedFile, metrics: Metrics, label: str) -> Shown:
    values = metrics.measure(original.rgb, file.rgb).values
    return Shown(
        codec=file.name,
        setting=file.kind,
        label=label,
        bytes=file.bytes,
        bits_per_pixel=_bits_per_pixel(file),
        metrics={name: values.get(name) for name in METRICS},
        source=_lossless(Image.fromarray(file.rgb)),
    )


def _bits_per_pixel(file: ComparedFile) -> float:
    return 8 * file.bytes / (file.rgb.shape[0] * file.rgb.shape[1])


def _lossless(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", lossless=True, quality=50, method=3)
    return data_uri(buffer.getvalue(), "image/webp")


def _labels(names: Sequence[str]) -> dict[str, str]:
    """File names without their folders, as long as these differ."""
    short = {name: name.replace("\\", "/").rpartition("/")[2] for name in names}
    return short if len(set(short.values())) == len(short) else {name: name for name in names}


def _table(original: ComparedFile, label: str, shown: Sequence[Shown]) -> Table:
    """A row for each file, the original first."""
    metrics = [name for name in METRICS if any(file.metrics[name] is not None for file in shown)]
    first = (original.kind, f"{original.bytes:,}", f"{_bits_per_pixel(original):.4f}", *("" for _ in metrics))
    rows = [Row(label, tuple(map(Cell, first)), title=original.name)]
    for file in shown:
        values = [number(file.metrics[name], CURVE_KINDS[name].digits) for name in metrics]
        cells = (file.setting, f"{file.bytes:,}", f"{file.bits_per_pixel:.4f}", *values)
        rows.append(Row(file.label, tuple(map(Cell, cells)), title=file.codec))
    headings = (
        Heading("File"),
        Heading("kind"),
        Heading("bytes"),
        Heading("bpp", title=f"bits per pixel: {RATE_NOTE}"),
        *map(metric_heading, metrics),
    )
    return Table(headings, (Group(tuple(rows)),))
