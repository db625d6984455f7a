from __future__ import annotations

import math
from dataclasses import replace

import pytest

from vqcodec.benchmarks.common.text_table import table
from vqcodec.benchmarks.rate_distortion.bd_rate import bd_rate, envelope, pareto_front
from vqcodec.benchmarks.rate_distortion.points import RDPoint
from vqcodec.benchmarks.rate_distortion.summary import (
    ALL_ANCHORS,
    BOTH,
    Summary,
    WinRate,
    anchor_groups,
    curve_of,
    summary,
)
from vqcodec.benchmarks.rate_distortion.tables import bd_rates_table, means_table, win_rates_table

PIXELS = 800
POINT = RDPoint(
    codec="vq",
    setting=1,
    image="1",
    pixels_crc32=5,
    bytes=100,
    width=40,
    height=20,
    psnr_db=20.0,
    ms_ssim=None,
    lpips=0.2,
    lpips_vgg=None,
    dists=0.2,
    encode_seconds=0.5,
    decode_seconds=0.25,
)


def point(codec: str, image: str, size: int, lpips: float, dists: float, setting: int = 1) -> RDPoint:
    """PSNR follows from the bytes."""
    psnr_db = 10 * math.log10(size)
    return replace(
        POINT, codec=codec, image=image, bytes=size, lpips=lpips, dists=dists, setting=setting, psnr_db=psnr_db
    )


def points() -> list[RDPoint]:
    """Two pictures; ours has 100 and 200 bytes."""
    return [
        point("vq", "1", 100, 0.2, 0.2),
        point("vq", "2", 200, 0.2, 0.2),
        # at 100 bytes 0.25 / 0.15; at 200 0.2 / 0.1: equal in LPIPS
        point("a", "1", 50, 0.3, 0.2, 10),
        point("a", "1", 200, 0.2, 0.1, 20),
        point("a", "2", 50, 0.3, 0.3, 10),
        point("a", "2", 200, 0.2, 0.3, 20),
        # on the first picture its largest file is smaller than ours, and better; on the second none is as small
        point("a/2", "1", 10, 0.01, 0.01, 10),
        point("a/2", "1", 20, 0.01, 0.01, 20),
        point("a/2", "2", 201, 0.01, 0.01, 10),
        point("a/2", "2", 300, 0.01, 0.01, 20),
        point("b", "1", 100, 0.3, 0.3, 5),
        point("b", "2", 200, 0.1, 0.3, 5),
    ]


def wins_of(result: Summary, anchor: str) -> dict[str, tuple[int, int]]:
    """Wins and pictures compared, by metric."""
    return {win.metric: (win.wins, win.images) for win in result.win_rates if win.anchor == anchor}


def test_win_rates_at_equal_bytes() -> None:
    result = summary(points(), ["vq"])
    assert wins_of(result, "a") == {"psnr_db": (0, 2), "lpips": (1, 2), "dists": (1, 2), BOTH: (0, 2)}
    assert wins_of(result, "a/2") == {"psnr_db": (1, 1), "lpips": (0, 1), "dists": (0, 1), BOTH: (0, 1)}
    assert wins_of(result, "a/*") == {"psnr_db": (0, 2), "lpips": (0, 2), "dists": (1, 2), BOTH: (0, 2)}
    assert wins_of(result, "b") == {"psnr_db": (0, 2), "lpips": (1, 2), "dists": (2, 2), BOTH: (1, 2)}
    assert wins_of(result, ALL_ANCHORS) == {"psnr_db": (0, 2), "lpips": (0, 2), "dists": (1, 2), BOTH: (0, 2)}


def test_means_are_over_pictures_and_seconds_are_medians() -> None:
    given = points()
    given[1] = replace(given[1], encode_seconds=0.9, decode_seconds=0.75)
    result = summary(given, ["vq"], {("vq", 1): 12.5})
    assert [(mean.codec, mean.setting, mean.images) for mean in result.means] == [
        ("vq", 1, 2),
        ("a", 10, 2),
        ("a", 20, 2),
        ("a/2", 10, 2),
        ("a/2", 20, 2),
        ("b", 5, 2),
    ]
    mean = result.means[0]
    assert mean.bytes == 150
    assert mean.bits_per_pixel == pytest.approx(8 * 150 / PIXELS)
    assert (mean.lpips, mean.ms_ssim) == (pytest.approx(0.2), None)
    assert (mean.encode_seconds, mean.decode_seconds) == (pytest.approx(0.7), pytest.approx(0.5))
    assert [mean.frechet_vgg16_relu5_3 for mean in result.means[:2]] == [12.5, None]


def test_a_metric_that_is_missing_or_infinite_anywhere_has_no_mean() -> None:
    given = points()
    given[0] = replace(given[0], psnr_db=math.inf)
    given[2] = replace(given[2], lpips=None)
    result = summary(given, ["vq"])
    assert [mean.psnr_db is None for mean in result.means[:2]] == [True, False]
    assert [mean.lpips is None for mean in result.means[:2]] == [False, True]
    assert wins_of(result, "a")["lpips"] == (0, 1)  # the other picture has it
    assert wins_of(result, "a")["psnr_db"] == (1, 2)


def test_anchors_are_compared_alone_by_format_and_all_together() -> None:
    assert anchor_groups(["a", "a/2", "b"]) == {
        "a": ["a"],
        "a/2": ["a/2"],
        "b": ["b"],
        "a/*": ["a", "a/2"],
        "b/*": ["b"],
        "all": ["a", "a/2", "b"],
    }
    assert anchor_groups([]) == {}
    assert summary(points()[:2], ["vq"]).win_rates == ()


def test_the_front_leaves_out_what_another_point_beats() -> None:
    assert pareto_front([(3, 3), (1, 1), (2, 0.5), (1, 2), (4, 3), (5, 4)]) == [(1, 2), (3, 3), (5, 4)]
    assert pareto_front([]) == []
    means = summary(points(), ["vq"]).means
    assert curve_of(means, ["a", "a/2"], "lpips") == [
        (pytest.approx(0.5), pytest.approx(0.3)),
        (pytest.approx(1.055), 0.01),
    ]
    assert curve_of(means, ["vq"], "ms_ssim") == []


def test_the_envelope_is_the_best_curve_at_each_rate() -> None:
    small, large = [(1.0, 1.0), (4.0, 3.0), (16.0, 3.5)], [(4.0, 2.0), (16.0, 6.0)]
    # at rate 8 the second curve is at 4, above 3.2 and the third's point
    assert envelope([small, large, [(8.0, 3.9)]]) == [(1.0, 1.0), (4.0, 3.0), (16.0, 6.0)]
    assert envelope([small, large, [(8.0, 4.1)]]) == [(1.0, 1.0), (4.0, 3.0), (8.0, 4.1), (16.0, 6.0)]
    assert envelope([small]) == small
    assert envelope([[], small]) == small
    assert envelope([]) == []


def test_bd_rate_of_half_the_bytes_is_minus_fifty_percent() -> None:
    anchor = [(0.1, 20.0), (0.2, 25.0), (0.4, 28.0), (0.8, 30.0)]
    halved = [(rate / 2, quality) for rate, quality in anchor]
    rate = bd_rate("x", "y", "psnr_db", halved, anchor, higher_is_better=True)
    assert (rate.percent, rate.worst, rate.best) == (pytest.approx(-50), 20, 30)
    rate = bd_rate("x", "y", "psnr_db", anchor, halved, higher_is_better=True)
    assert rate.percent == pytest.approx(100)
    lower = [[(rate, -quality) for rate, quality in curve] for curve in (halved, anchor)]
    rate = bd_rate("x", "y", "lpips", *lower, higher_is_better=False)
    assert (rate.percent, rate.worst, rate.best) == (pytest.approx(-50), -20, -30)


def test_bd_rate_is_over_the_overlap_alone() -> None:
    anchor = [(0.1, 20.0), (0.2, 22.0), (0.4, 24.0)]
    own = [(0.15, 22.0), (0.3, 24.0), (0.6, 26.0)]
    rate = bd_rate("x", "y", "psnr_db", own, anchor, higher_is_better=True)
    assert (rate.percent, rate.worst, rate.best) == (pytest.approx(-25), 22, 24)


@pytest.mark.parametrize("own", [[(0.1, 30.0), (0.2, 31.0)], [(0.1, 10.0), (0.2, 20.0)], [(0.1, 22.0)]])
def test_curves_without_overlap_have_no_bd_rate(own: list[tuple[float, float]]) -> None:
    anchor = [(0.1, 20.0), (0.2, 22.0), (0.4, 24.0)]
    rate = bd_rate("x", "y", "psnr_db", own, anchor, higher_is_better=True)
    assert (rate.percent, rate.worst, rate.best) == (None, None, None)
    assert "no overlap" in bd_rates_table([rate])


def test_tables_show_every_result() -> None:
    result = summary(points(), ["vq"], {("vq", 1): 12.5})
    text = means_table(result.means)
    assert "Fréchet" in text
    assert "12.50" in text
    assert "Fréchet" not in means_table(summary(points(), ["vq"]).means)
    rows = win_rates_table(result.win_rates).splitlines()
    assert [row.split("  ")[0] for row in rows] == ["codec", *["vq"] * 6]
    assert "1 of 2" in rows[1]
    assert "0 of 1" in rows[2]
    assert len(bd_rates_table(result.bd_rates).splitlines()) == 7
    assert win_rates_table([WinRate("vq", 1, "a", BOTH, 3, 2)]).splitlines()[1].endswith("2 of 3")


def test_a_table_is_padded() -> None:
    headers, rows = ("name", "n"), [("a", "10"), ("longer", "7")]
    assert table(headers, rows) == "name     n\na       10\nlonger   7"
    assert table(headers, rows, markdown=True).splitlines() == [
        "| name   |  n |",
        "| ------ | -: |",
        "| a      | 10 |",
        "| longer |  7 |",
    ]
