from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vqcodec.benchmarks.codecs import Pixels, Setting
from vqcodec.benchmarks.metrics import Metrics
from vqcodec.benchmarks.points import RDPoint, append_points, read_points
from vqcodec.benchmarks.rate_distortion import count_points, find_images, run
from vqcodec.benchmarks.summary import ALL_ANCHORS, summary
from vqcodec.benchmarks.tables import comparisons_table, means_table, table

POINT = RDPoint(
    codec="vq",
    setting=1,
    image="a/b.png",
    pixels_crc32=5,
    bytes=100,
    width=40,
    height=20,
    psnr_db=20.5,
    ms_ssim=None,
    lpips=0.25,
    dists=0.125,
    encode_seconds=0.5,
    decode_seconds=0.25,
)


class Flat:
    """A codec that keeps one colour; a setting adds bytes. It counts what it is asked to decode."""

    def __init__(self, name: str, settings: tuple[Setting, ...], fails_on: int | None = None) -> None:
        self.name, self.settings, self.fails_on = name, settings, fails_on
        self.decoded = 0

    def encode(self, rgb: Pixels, setting: Setting) -> bytes:
        if rgb[0, 0, 0] == self.fails_on:
            raise OSError("encoder error -2")
        return bytes(rgb[0, 0]) + bytes(int(setting))

    def decode(self, data: bytes, width: int, height: int) -> Pixels:
        self.decoded += 1
        return np.tile(np.frombuffer(data[:3], dtype=np.uint8), (height, width, 1))


def write_pictures(folder: Path, count: int = 2) -> None:
    folder.mkdir(exist_ok=True)
    for number in range(count):
        pixels = np.arange(12, dtype=np.uint8).reshape(2, 2, 3) + np.uint8(20 * number)
        Image.fromarray(pixels).save(folder / f"{number}.png")


def test_a_point_survives_its_line() -> None:
    for point in (POINT, replace(POINT, psnr_db=math.inf, setting=1.5, target_bytes=90, ms_ssim=1)):
        line = point.to_json()
        assert RDPoint.from_json(line) == point
        assert json.loads(line)["bits_per_pixel"] == pytest.approx(8 * 100 / 800)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"bits_per_pixel": 2.0}, "does not follow"),
        ({"bytes": "100"}, "bytes is '100'"),
        ({"bytes": 0}, "does not follow"),
        ({"lpips": True}, "lpips is True"),
        ({"more": 1}, "not the fields"),
    ],
)
def test_a_line_that_is_no_point_says_why(change: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        RDPoint.from_json(json.dumps(json.loads(POINT.to_json()) | change))


def test_damaged_lines_are_told_with_their_numbers(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    assert read_points(path) == ([], [])
    append_points(path, [POINT])
    with path.open("ab") as file:
        file.write(b'[1]\n{"codec": "vq", \xff\n\n{"co')
    append_points(path, [replace(POINT, setting=2)])
    points, damaged = read_points(path)
    assert [point.setting for point in points] == [1, 2]
    assert [line.split(": ")[0] for line in damaged] == [f"{path}:{number}" for number in (2, 3, 5)]


def test_pictures_are_found_by_extension_below_the_folder(tmp_path: Path) -> None:
    write_pictures(tmp_path / "nested")
    write_pictures(tmp_path / ".hidden")
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "Z.JPG").write_bytes(b"")
    assert list(find_images(tmp_path)) == ["Z.JPG", "nested/0.png", "nested/1.png"]


def test_a_second_run_measures_only_what_is_missing(tmp_path: Path) -> None:
    write_pictures(tmp_path / "pictures")
    images = find_images(tmp_path / "pictures")
    results = tmp_path / "results.jsonl"
    codec, anchor = Flat("ours", (4, 8)), Flat("anchor", (1, 6, 20))
    done: list[int] = []
    first = run(images, [codec], Metrics(None), results, anchors=[anchor], progress=done.append)
    assert len(first.points) == sum(done) == count_points(2, [codec], [anchor]) == 8
    assert first.measured == 8
    assert [point.setting for point in first.points[:4]] == [4, 6, 8, 20]
    assert [point.target_bytes for point in first.points[:4]] == [None, 7, None, 11]

    before = (codec.decoded, anchor.decoded)
    again = run(images, [codec], Metrics(None), results, anchors=[anchor])
    assert (again.points, again.measured, again.damaged) == (first.points, 0, ())
    assert (codec.decoded, anchor.decoded) == before

    lines = results.read_text().splitlines()
    lines[5] = lines[5][:30]
    results.write_text("\n".join(lines))
    third = run(images, [codec], Metrics(None), results, anchors=[anchor])
    assert [(p.key, p.bytes, p.psnr_db) for p in third.points] == [(p.key, p.bytes, p.psnr_db) for p in first.points]
    assert third.measured == 1
    assert [line.split(": ")[0] for line in third.damaged] == [f"{results}:6"]

    Image.new("RGB", (2, 2), "red").save(tmp_path / "pictures" / "0.png")
    changed = run(images, [codec], Metrics(None), results, anchors=[anchor])
    assert changed.measured == 4


def test_a_point_without_a_metric_that_is_there_now_is_measured_again(tmp_path: Path) -> None:
    write_pictures(tmp_path / "pictures", 1)
    images, results = find_images(tmp_path / "pictures"), tmp_path / "results.jsonl"
    codec = Flat("ours", (4,))
    assert run(images, [codec], Metrics(None), results).points[0].dists is None

    class WithDists(Metrics):
        def names_for(self, width: int, height: int) -> tuple[str, ...]:
            return ("psnr_db", "dists")

        def measure(self, reference: Pixels, picture: Pixels) -> dict[str, float]:
            return {"psnr_db": 1.0, "dists": 0.5}

    second = run(images, [codec], WithDists(None), results)
    assert (second.measured, second.points[0].dists) == (1, 0.5)
    assert run(images, [codec], WithDists(None), results).measured == 0


def test_one_file_at_two_targets_is_measured_once(tmp_path: Path) -> None:
    write_pictures(tmp_path / "pictures", 1)
    anchor = Flat("anchor", (30,))
    images = find_images(tmp_path / "pictures")
    result = run(images, [Flat("ours", (4, 8))], Metrics(None), tmp_path / "results.jsonl", anchors=[anchor])
    assert (len(result.points), result.measured) == (4, 3)
    assert anchor.decoded == 2  # once to warm up


def test_a_picture_that_fails_is_named_and_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    write_pictures(folder, 3)
    (folder / "1.png").write_bytes(b"\x89PNG no picture")
    codecs, anchors = [Flat("ours", (4,))], [Flat("anchor", (9,), fails_on=40)]
    done: list[int] = []
    result = run(find_images(folder), codecs, Metrics(None), tmp_path / "r", anchors=anchors, progress=done.append)
    assert [failure.split(": ")[0] for failure in result.failures] == [str(folder / "1.png"), str(folder / "2.png")]
    assert "encoder error -2" in result.failures[1]
    assert {point.image for point in result.points} == {"0.png"}
    assert sum(done) == count_points(3, codecs, anchors)


def points_for_summary() -> list[RDPoint]:
    """Three pictures, our level 1, two anchors; see the numbers in the test."""
    points = []
    rows = [  # image, our (bytes, lpips, dists), anchor a, anchor b
        ("1", (100, 0.2, 0.2), (100, 0.3, 0.3), (150, 0.3, 0.1)),
        ("2", (100, 0.2, 0.2), (110, 0.2, 0.3), (100, 0.3, 0.3)),
        ("3", (200, 0.2, 0.2), (190, 0.3, 0.3), (210, 0.3, 0.3)),
    ]
    for image, ours, a, b in rows:
        for codec, (size, lpips, dists) in (("vq", ours), ("a", a), ("b", b)):
            target = None if codec == "vq" else ours[0]
            setting = 1 if codec == "vq" else 33
            points.append(
                replace(
                    POINT,
                    codec=codec,
                    setting=setting,
                    image=image,
                    bytes=size,
                    lpips=lpips,
                    dists=dists,
                    target_bytes=target,
                )
            )
    return points


def test_summary_counts_and_means() -> None:
    result = summary(points_for_summary())
    assert [(mean.codec, mean.setting, mean.nearest_setting, mean.images) for mean in result.means] == [
        ("vq", 1, None, 3),
        ("a", None, 1, 3),
        ("b", None, 1, 3),
    ]
    assert result.means[0].bytes == pytest.approx(400 / 3)
    assert result.means[1].lpips == pytest.approx(0.8 / 3)
    assert result.means[0].bits_per_pixel == pytest.approx(8 * 400 / 3 / 800)
    a, b, both = result.comparisons
    assert (a.anchor, a.images, a.anchor_not_smaller) == ("a", 3, 2)
    assert (a.lower_lpips, a.lower_dists, a.lower_both) == (2, 3, 2)  # equal is not lower
    assert a.bytes_ratio == pytest.approx((1 + 1.1 + 0.95) / 3)
    assert (b.lower_lpips, b.lower_dists, b.lower_both) == (3, 2, 2)
    assert (both.anchor, both.lower_lpips, both.lower_dists, both.lower_both) == (ALL_ANCHORS, 2, 2, 1)


def test_a_metric_that_is_missing_anywhere_is_not_summarised() -> None:
    points = points_for_summary()
    points[1] = replace(points[1], lpips=None)
    result = summary(points)
    assert [mean.lpips for mean in result.means] == [pytest.approx(0.2), None, pytest.approx(0.3)]
    assert [c.lower_lpips for c in result.comparisons] == [None, 3, None]
    assert [c.lower_dists for c in result.comparisons] == [3, 2, 2]
    text = means_table(result.means) + comparisons_table(result.comparisons)
    assert " - " in text


def test_tables() -> None:
    headers, rows = ("name", "n"), [("a", "10"), ("longer", "7")]
    assert table(headers, rows) == "name     n\na       10\nlonger   7"
    assert table(headers, rows, markdown=True).splitlines() == [
        "| name   |  n |",
        "| ------ | -: |",
        "| a      | 10 |",
        "| longer |  7 |",
    ]
