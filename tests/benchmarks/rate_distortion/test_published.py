from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vqcodec.benchmarks.rate_distortion.published import PublishedError, PublishedPoint, read_published


def curve(**changes: Any) -> dict[str, Any]:
    points = [{"bits_per_pixel": 0.2, "lpips": 0.1, "psnr_db": 25}, {"bits_per_pixel": 0.1, "dists": 0.3}]
    return {
        "codec": "Net",
        "accuracy": "plot",
        "source": "a paper",
        "parameters_millions": 3,
        "points": points,
    } | changes


def write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_curves_are_read_and_their_points_sorted(tmp_path: Path) -> None:
    path = write(tmp_path / "published.json", {"note": "x", "kodak": [curve()], "clic": [curve(codec="Other")]})
    [read] = read_published(path)
    assert (read.codec, read.accuracy, read.source) == ("Net", "plot", "a paper")
    assert read.points == (
        PublishedPoint(0.1, {"dists": 0.3}),
        PublishedPoint(0.2, {"lpips": 0.1, "psnr_db": 25.0}),
    )
    assert read_published(path, "clic")[0].codec == "Other"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", "not JSON"),
        ([], "has no list under 'kodak'"),
        ({"kodak": {}}, "has no list under 'kodak'"),
        ({"kodak": [1]}, "kodak[0]: is not an object"),
        ({"kodak": [curve(), curve(codec="")]}, "kodak[1]: codec must be a text, not ''"),
        ({"kodak": [curve(source=None)]}, "kodak[0]: source must be a text, not None"),
        ({"kodak": [curve(points=[])]}, "kodak[0]: points must be a list"),
        ({"kodak": [curve(points=[3])]}, "kodak[0].points[0]: is not an object"),
        ({"kodak": [curve(points=[{"bits_per_pixel": 1, "lpip": 1}])]}, "'lpip' is not known"),
        ({"kodak": [curve(points=[{"bits_per_pixel": 1, "lpips": "1"}])]}, "lpips must be a number, not '1'"),
        ({"kodak": [curve(points=[{"bits_per_pixel": 1, "lpips": True}])]}, "lpips must be a number, not True"),
        ('{"kodak": [{"codec": "a", "accuracy": "b", "source": "c", "points": [{"lpips": NaN}]}]}', "not nan"),
        ({"kodak": [curve(points=[{"lpips": 1}])]}, "needs bits_per_pixel"),
        ({"kodak": [curve(points=[{"bits_per_pixel": 0, "lpips": 1}])]}, "needs bits_per_pixel"),
        ({"kodak": [curve(points=[{"bits_per_pixel": 1}])]}, "and a metric"),
    ],
)
def test_a_bad_file_is_one_line_with_the_place(content: Any, complaint: str, tmp_path: Path) -> None:
    path = write(tmp_path / "published.json", content)
    with pytest.raises(PublishedError) as caught:
        read_published(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PublishedError, match=r"nowhere\.json: cannot be read"):
        read_published(tmp_path / "nowhere.json")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PublishedError, match=r"binary\.json: not JSON"):
        read_published(tmp_path / "binary.json")
