from __future__ import annotations

import json
import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from vqcodec.benchmarks.rate_distortion.codecs import RateSetting
from vqcodec.benchmarks.rate_distortion.measuring import WorkerError, Workers, count_points, find_images, run
from vqcodec.benchmarks.rate_distortion.metrics import Measured, Metrics
from vqcodec.benchmarks.rate_distortion.points import RDPoint, append_points, read_points
from vqcodec.benchmarks.rate_distortion.store import Store, frechet_distances
from vqcodec.benchmarks.rate_distortion.tools import Tools
from vqcodec.pictures.arrays import Pixels

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
    lpips_vgg=None,
    dists=0.125,
    encode_seconds=0.5,
    decode_seconds=0.25,
)


class Flat:
    """A codec that keeps one colour; a setting adds bytes. It counts what it is asked to decode."""

    def __init__(self, name: str, settings: tuple[RateSetting, ...], fails_on: int | None = None) -> None:
        self.name, self.settings, self.fails_on = name, settings, fails_on
        self.decoded = 0

    def encode(self, rgb: Pixels, setting: RateSetting) -> bytes:
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
    for point in (POINT, replace(POINT, psnr_db=math.inf, setting=1.5, ms_ssim=1)):
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


def tools(*codecs: Flat, metrics: Metrics | None = None) -> Tools:
    return Tools(codecs, metrics or Metrics(None))


def test_a_second_run_measures_only_what_is_missing(tmp_path: Path) -> None:
    write_pictures(tmp_path / "pictures")
    images = find_images(tmp_path / "pictures")
    results = tmp_path / "results.jsonl"
    codec, other = Flat("ours", (4, 8)), Flat("other", (1, 6))
    done: list[int] = []
    first = run(images, tools(codec, other), results, progress=done.append)
    assert len(first.points) == sum(done) == count_points(2, [codec, other]) == 8
    assert first.measured == 8
    assert [(point.codec, point.setting) for point in first.points[:4]] == [
        ("ours", 4),
        ("ours", 8),
        ("other", 1),
        ("other", 6),
    ]
    assert [point.bytes for point in first.points[:4]] == [7, 11, 4, 9]

    before = (codec.decoded, other.decoded)
    again = run(images, tools(codec, other), results)
    assert (again.points, again.measured, again.damaged) == (first.points, 0, ())
    assert (codec.decoded, other.decoded) == before

    lines = results.read_text().splitlines()
    lines[5] = lines[5][:30]
    results.write_text("\n".join(lines))
    third = run(images, tools(codec, other), results)
    assert [(p.key, p.bytes, p.psnr_db) for p in third.points] == [(p.key, p.bytes, p.psnr_db) for p in first.points]
    assert third.measured == 1
    assert [line.split(": ")[0] for line in third.damaged] == [f"{results}:6"]

    Image.new("RGB", (2, 2), "red").save(tmp_path / "pictures" / "0.png")
    changed = run(images, tools(codec, other), results)
    assert changed.measured == 4


def make_tools() -> Tools:
    """Pickled by name for the processes that measure."""
    return tools(Flat("ours", (4, 8)), Flat("other", (1, 6), fails_on=40))


def test_processes_measure_the_same(tmp_path: Path) -> None:
    write_pictures(tmp_path / "pictures", 3)
    images = find_images(tmp_path / "pictures")
    alone = run(images, make_tools(), tmp_path / "alone.jsonl")
    done: list[int] = []
    workers = Workers(2, make_tools)
    shared = run(images, make_tools(), tmp_path / "shared.jsonl", workers=workers, progress=done.append)
    assert [(p.key, p.bytes, p.psnr_db) for p in shared.points] == [(p.key, p.bytes, p.psnr_db) for p in alone.points]
    assert (shared.measured, sum(done)) == (10, 12)
    assert shared.failures == alone.failures
    assert len(shared.failures) == 1
    assert run(images, make_tools(), tmp_path / "shared.jsonl").measured == 0


def test_a_process_that_dies_is_told(tmp_path: Path) -> None:
    write_pictures(tmp_path / "pictures", 1)
    workers = Workers(1, die)
    with pytest.raises(WorkerError, match="fewer --jobs"):
        run(find_images(tmp_path / "pictures"), make_tools(), tmp_path / "results.jsonl", workers=workers)


def die() -> Tools:
    os._exit(3)


class WithDists(Metrics):
    def names_for(self, width: int, height: int) -> tuple[str, ...]:
        return ("psnr_db", "dists")

    def measure(self, reference: Pixels, picture: Pixels) -> Measured:
        return Measured({"psnr_db": 1.0, "dists": 0.5}, np.full((1, 512), picture[0, 0, 0], dtype=np.float32))

    def features(self, picture: Pixels) -> NDArray[np.float32]:
        return np.full((1, 512), picture[0, 0, 0], dtype=np.float32)


def test_a_point_without_a_metric_that_is_there_now_is_measured_again(tmp_path: Path) -> None:
    write_pictures(tmp_path / "pictures", 1)
    images, results = find_images(tmp_path / "pictures"), tmp_path / "results.jsonl"
    codec = Flat("ours", (4,))
    assert run(images, tools(codec), results).points[0].dists is None
    second = run(images, tools(codec, metrics=WithDists(None)), results)
    assert (second.measured, second.points[0].dists) == (1, 0.5)
    assert run(images, tools(codec, metrics=WithDists(None)), results).measured == 0


def test_what_the_store_lacks_is_made_again(tmp_path: Path) -> None:
    write_pictures(tmp_path / "pictures", 2)
    images, results = find_images(tmp_path / "pictures"), tmp_path / "results.jsonl"
    own = tools(Flat("ours", (4, 8)), metrics=WithDists(None))
    run(images, own, results)
    store = Store(tmp_path, wants_pictures=True, wants_features=True)
    with_store = run(images, own, results, store=store)
    assert with_store.measured == 4
    assert run(images, own, results, store=store).measured == 0
    point = with_store.points[0]
    with Image.open(store.picture(point.key)) as picture, Image.open(images["0.png"]) as original:
        assert picture.size == original.size
    distances = frechet_distances(with_store.points, store)
    assert distances == {("ours", 4): pytest.approx(0), ("ours", 8): pytest.approx(0)}  # the first pixel is kept
    store.picture(point.key).unlink()
    assert run(images, own, results, store=store).measured == 1
    assert store.picture(point.key).is_file()


def test_a_picture_that_fails_is_named_and_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    write_pictures(folder, 3)
    (folder / "1.png").write_bytes(b"\x89PNG no picture")
    codecs = [Flat("ours", (4,)), Flat("other", (9,), fails_on=40)]
    done: list[int] = []
    result = run(find_images(folder), tools(*codecs), tmp_path / "r", progress=done.append)
    assert [failure.split(": ")[0] for failure in result.failures] == [str(folder / "1.png"), str(folder / "2.png")]
    assert "other: encoder error -2" in result.failures[1]
    assert {point.image for point in result.points} == {"0.png"}
    assert sum(done) == count_points(3, codecs)
