"""Points, pictures and pages for the tests of the report; nothing here is measured."""

from __future__ import annotations

import re
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

from vqcodec.benchmarks.pages.report import write_report
from vqcodec.benchmarks.rate_distortion.points import RDPoint
from vqcodec.benchmarks.rate_distortion.published import PublishedCurve, PublishedPoint
from vqcodec.benchmarks.rate_distortion.store import Store, original_key
from vqcodec.benchmarks.rate_distortion.summary import summary
from vqcodec.benchmarks.speed.stages import synthetic_picture

OURS = "vq:tiny:00112233:static"
IMAGES = ("plain.png", "<b>&.png", "a/</script>.png")
#: codec: settings, bytes of the first picture, LPIPS of the first picture
CODECS: dict[str, tuple[tuple[float, int, float], ...]] = {
    OURS: ((1, 100, 0.40), (2, 200, 0.30)),
    "avif": ((10, 180, 0.35), (40, 400, 0.10)),
    "avif/2": ((5, 60, 0.60), (20, 110, 0.45), (60, 300, 0.40)),
    "jxl": ((2.5, 98, 0.70), (1, 390, 0.20)),
}
PUBLISHED = PublishedCurve(
    "Quoted <Net>", "plot", "some paper", (PublishedPoint(0.2, {"lpips": 0.2}), PublishedPoint(0.4, {"lpips": 0.15}))
)
DESCRIBED = {
    "command": "vqcodec bench rd --images '<pictures>'",
    "date": "2030-01-02T03:04:05+00:00",
    "commit": "0123456789abcdef",
    "machine": {
        "cpu": "Some CPU",
        "cores": 2,
        "memory_bytes": 2**33,
        "torch_threads": 2,
        "system": "Linux",
        "gpu": None,
    },
    "versions": {"vqcodec": "9.9", "libavif": None},
    "models": [{"name": "tiny", "size_bytes": 1_500_000, "device": "cpu", "dtype": "float32", "entropy": "static"}],
    "absent_metrics": {"dists": "no weights"},
    "failures": ["x.png: damaged"],
    "jobs": 2,
}


def make_points() -> list[RDPoint]:
    """Every codec at every setting on three pictures of 48 x 40; DISTS is not there."""
    return [
        RDPoint(
            codec=codec,
            setting=setting,
            image=image,
            pixels_crc32=number,
            bytes=size + 10 * number,
            width=48,
            height=40,
            psnr_db=20 + size / 100 + number,
            ms_ssim=0.5 + size / 1000 + number / 100,
            lpips=lpips + number / 100,
            lpips_vgg=lpips / 2,
            dists=None,
            encode_seconds=0.01,
            decode_seconds=0.002 * setting,
        )
        for number, image in enumerate(IMAGES)
        for codec, settings in CODECS.items()
        for setting, size, lpips in settings
    ]


def make_store(folder: Path, points: list[RDPoint]) -> Store:
    store = Store(folder, wants_pictures=True, wants_features=False)
    for number, point in enumerate(points):
        store.keep(original_key(point.image, point.pixels_crc32), synthetic_picture(48, 40, seed=900), None)
        store.keep(point.key, synthetic_picture(48, 40, seed=number), None)
    return store


def make_report(folder: Path, *, with_pictures: bool = True) -> Path:
    """The path of a report with all that a report can have."""
    points = make_points()
    store = make_store(folder, points) if with_pictures else None
    path = folder / "report.html"
    write_report(path, summary(points, [OURS]), points, store, DESCRIBED, published=[PUBLISHED], ours=[OURS])
    return path


@dataclass(frozen=True)
class Page:
    """loads: every URL that the page would load or lead to. text: what is read. scripts: scripts, and data for them."""

    loads: list[str]
    text: str
    scripts: list[str]
    tags: list[str]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.texts: list[str] = []
        self.scripts: list[str] = []
        self.tags: list[str] = []
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._inside = tag
        names = ("src", "href", "srcset", "action", "data", "poster", "formaction", "background")
        self.loads += [value or "" for name, value in attrs if name in names]

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts.append(data)
        elif self._inside == "style":
            self.loads += re.findall(r"url\(([^)]*)\)|@import\s+(\S+)", data)
        else:
            self.texts.append(data)


def read_page(path: Path) -> Page:
    reader = _Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    return Page(reader.loads, " ".join(" ".join(reader.texts).split()), reader.scripts, reader.tags)
