from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from report_helpers import DESCRIBED, IMAGES, OURS, PUBLISHED, Page, make_points, make_report, make_store, read_page

pytest.importorskip("plotly", reason="the report needs plotly: pip install 'vqcodec[bench]'")
pytest.importorskip("bjontegaard", reason="BD-rates need bjontegaard: pip install 'vqcodec[bench]'")

from vqcodec.benchmarks.pages.plot import RDPlot, rd_plot
from vqcodec.benchmarks.pages.report import ReportError, write_report
from vqcodec.benchmarks.pages.tables import bd_rate_table, means_table, seconds_table, win_rate_table
from vqcodec.benchmarks.rate_distortion.bd_rate import BDRate
from vqcodec.benchmarks.rate_distortion.labels import codec_labels
from vqcodec.benchmarks.rate_distortion.store import original_key
from vqcodec.benchmarks.rate_distortion.summary import METRICS, Mean, Summary, curve_of, summary


@pytest.fixture(scope="module")
def summarised() -> Summary:
    return summary(make_points(), [OURS])


@pytest.fixture(scope="module")
def plot(summarised: Summary) -> RDPlot:
    labels = codec_labels(list(dict.fromkeys(mean.codec for mean in summarised.means)))
    return rd_plot(summarised.means, labels, [OURS], [PUBLISHED])


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_report(tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def page(report: Path) -> Page:
    return read_page(report)


# ---- curves ----


@pytest.mark.parametrize("metric", ["psnr_db", "lpips"])
def test_a_format_is_drawn_through_the_points_of_its_bd_rate_curve(
    plot: RDPlot, summarised: Summary, metric: str
) -> None:
    trace = traces_of(plot, metric)["avif/*"]
    drawn = list(zip(trace["x"], trace["y"], strict=True))
    assert drawn == curve_of(summarised.means, ["avif", "avif/2"], metric)
    assert len(drawn) > 2


def traces_of(plot: RDPlot, metric: str) -> dict[str, dict[str, Any]]:
    return {trace["meta"]["key"]: trace for trace in plot.figures[metric]["data"]}


def test_ours_comes_first_and_thick_and_single_scales_wait_in_the_legend(plot: RDPlot) -> None:
    assert [(entry.key, entry.kind, entry.is_shown) for entry in plot.legend] == [
        (OURS, "ours", True),
        ("avif/*", "best", True),
        ("jxl/*", "best", True),
        ("avif", "scale", False),
        ("avif/2", "scale", False),
        ("quoted:0", "quoted", True),
    ]
    traces = traces_of(plot, "lpips")
    assert list(traces) == [entry.key for entry in plot.legend]
    assert max(trace["line"]["width"] for trace in traces.values()) == traces[OURS]["line"]["width"]
    assert {key for key, trace in traces.items() if trace["visible"] == "legendonly"} == {"avif", "avif/2"}
    assert traces["avif/2"]["legendgroup"] == traces["avif/*"]["legendgroup"] == "avif"
    assert traces["jxl/*"]["name"] == "JPEG XL at full size", "the only one of its format"


def test_hovering_tells_codec_setting_rate_bytes_and_value(plot: RDPlot) -> None:
    assert traces_of(plot, "lpips")[OURS]["customdata"][0] == (
        "<b>tiny</b>, 1 level<br>0.4583 bpp, 110 bytes<br>LPIPS (AlexNet) 0.4100"
    )
    best = traces_of(plot, "lpips")["avif/*"]["customdata"]
    assert [text.partition("<br>")[0] for text in best] == [
        "<b>AVIF at 1/2 size</b>, quality 5",
        "<b>AVIF at 1/2 size</b>, quality 20",
        "<b>AVIF at full size</b>, quality 10",
        "<b>AVIF at full size</b>, quality 40",
    ]


def test_published_curves_are_marked_as_quoted(plot: RDPlot) -> None:
    quoted = traces_of(plot, "lpips")["quoted:0"]
    assert quoted["line"]["dash"] == "dash"
    assert quoted["name"] == "Quoted &lt;Net&gt; (quoted)"
    assert "accuracy: plot (read off a figure" in quoted["customdata"][0]
    assert "quoted:0" not in traces_of(plot, "psnr_db"), "it has no PSNR"


def test_only_measured_metrics_have_a_figure(plot: RDPlot, summarised: Summary) -> None:
    assert list(plot.figures) == ["psnr_db", "ms_ssim", "lpips", "lpips_vgg"]
    assert plot.first == "lpips"
    with_distance = [replace(mean, lpips=None, frechet_vgg16_relu5_3=12.5) for mean in summarised.means]
    other = rd_plot(with_distance, codec_labels([mean.codec for mean in with_distance]), [OURS], [])
    assert list(other.figures)[-1] == "frechet_vgg16_relu5_3"
    assert other.first == "psnr_db"
    assert other.figures["psnr_db"]["layout"]["xaxis"]["type"] == "log"


def test_pictures_that_came_back_the_same_have_a_figure_without_points(summarised: Summary) -> None:
    nothing = dict.fromkeys(METRICS) | {"frechet_vgg16_relu5_3": None}
    means = [replace(mean, **nothing) for mean in summarised.means]  # type: ignore[arg-type]
    plot = rd_plot(means, codec_labels([mean.codec for mean in means]), [OURS], [])
    assert list(plot.figures) == [plot.first] == ["psnr_db"]
    assert not any(trace["x"] for trace in plot.figures["psnr_db"]["data"])


# ---- tables ----


def test_bd_rates_tell_sign_range_and_no_overlap() -> None:
    rates = [
        BDRate(OURS, "avif/*", "lpips", -12.34, 0.5, 0.25),
        BDRate(OURS, "avif/*", "psnr_db", 150.4, 20.0, 25.0),
        BDRate(OURS, "jxl/*", "lpips", None, None, None),
    ]
    table = bd_rate_table(rates)
    assert [heading.label for heading in table.headings] == ["Compared with", "PSNR, dB", "LPIPS (AlexNet)"]
    first, second = table.groups[0].rows
    assert (first.label, first.title) == ("AVIF, best scale", "avif/*")
    assert [(cell.text, cell.note, cell.tone) for cell in first.cells] == [
        ("+150 %", "20.00 to 25.00", "bad"),
        ("\u221212.3 %", "0.500 to 0.250", "good"),
    ]
    assert [cell.text for cell in second.cells] == ["\u2013", "no overlap"]


def test_win_rates_tell_wins_and_compared_pictures(summarised: Summary) -> None:
    own = [win for win in summarised.win_rates if win.anchor in ("avif", "all")]
    table = win_rate_table(own, summarised.means)
    assert [(group.label, group.note) for group in table.groups] == [
        ("1 level", "110 bytes, 0.4583 bpp"),
        ("2 levels", "210 bytes, 0.8750 bpp"),
    ]
    by_label = {row.label: row.cells for row in table.groups[0].rows}
    assert [cell.text for cell in by_label["AVIF at full size"]] == ["\u2013"] * len(table.headings[1:])
    lpips = [heading.label for heading in table.headings[1:]].index("LPIPS (AlexNet)")
    assert (by_label["all of these"][lpips].text, by_label["all of these"][lpips].share) == ("3 / 3", 1.0)


def test_means_and_times(summarised: Summary) -> None:
    labels = codec_labels([mean.codec for mean in summarised.means])
    own: list[Mean] = [mean for mean in summarised.means if mean.codec == OURS]
    [group] = means_table(own, labels, [OURS]).groups
    assert (group.label, group.note) == ("tiny", "3 pictures")
    texts = [cell.text for cell in group.rows[0].cells]
    assert texts == ["110", "0.4583", "22.00", "0.6100", "0.4100", "0.2000", "10.0", "2.0"]
    rows = {row.label: [cell.text for cell in row.cells] for row in seconds_table(own, labels, [OURS]).groups[0].rows}
    assert rows == {"tiny": ["10.0", "2.0 to 4.0"]}


# ---- the page ----


def test_the_page_says_what_was_run_and_what_is_missing(page: Page) -> None:
    for text in (
        "tiny: rate and distortion",
        "on 3 pictures",
        "2030-01-02, Some CPU, commit 0123456789",
        "Some CPU, 2 cores, 8 GiB, Linux, torch on 2 threads",
        "vqcodec 9.9",
        "tiny, 1.5 MB, cpu, float32, static",
        "vqcodec bench rd --images '<pictures>'",
        "Left out everywhere: 1 picture that could not be measured.",
        "Not measured: DISTS.",
        "2 processes measured at once",
        "AVIF, best scale",
        "lower is better",
    ):
        assert text in page.text, text


def test_the_page_loads_nothing_from_a_network(page: Page, report: Path) -> None:
    assert page.loads
    for url in page.loads:
        assert url.startswith(("data:", "#")), url
    own_scripts = [script for script in page.scripts if len(script) < 1_000_000]
    assert len(own_scripts) == len(page.scripts) - 1, "all but plotly's"
    for script in own_scripts:
        assert "http:" not in script
        assert "https:" not in script
    assert "default-src 'none'" in report.read_text(encoding="utf-8")


def test_names_are_escaped_wherever_they_stand(page: Page, report: Path) -> None:
    assert "b" not in page.tags
    assert page.tags.count("script") == len(page.scripts)
    for image in IMAGES:
        assert image in page.text
    [data] = [json.loads(script) for script in page.scripts if script.startswith('{"higher"')]
    assert [picture["name"] for picture in data["pictures"]] == list(IMAGES)
    for picture in data["pictures"]:
        for _, _, _, _, _, source in picture["shown"]:
            assert (report.parent / source).is_file()
    assert data["first"] == [[OURS, "1 level"], ["avif/2", "quality 20"]]


def test_pictures_that_are_missing_are_left_out_and_named(tmp_path: Path, summarised: Summary) -> None:
    points = make_points()
    store = make_store(tmp_path, points)
    store.picture(points[0].key).unlink()
    store.picture(original_key(IMAGES[1], 1)).write_bytes(b"damaged")
    write_report(tmp_path / "report.html", summarised, points, store, {}, ours=[OURS])
    page = read_page(tmp_path / "report.html")
    assert "Not here, so that they cannot be chosen: 1 picture: plain.png by tiny." in page.text
    assert f"Left out, because their originals cannot be read here: {IMAGES[1]}." in page.text
    [data] = [json.loads(script) for script in page.scripts if script.startswith('{"higher"')]
    assert [picture["name"] for picture in data["pictures"]] == [IMAGES[0], IMAGES[2]]
    assert len(data["pictures"][0]["shown"]) == len(data["pictures"][1]["shown"]) - 1


def test_without_pictures_the_page_says_so(tmp_path: Path, summarised: Summary) -> None:
    page = read_page(make_report(tmp_path, with_pictures=False))
    assert "There is nothing to look at here. The decoded pictures were not kept." in page.text
    points = make_points()
    store = make_store(tmp_path / "elsewhere", [])
    write_report(tmp_path / "bare.html", summarised, points, store, {})
    page = read_page(tmp_path / "bare.html")
    assert "There is nothing to look at here. Left out, because" in page.text
    assert "BD-rates" not in page.text, "nothing is ours"


def test_no_points_no_plotly_and_no_folder_are_errors(
    tmp_path: Path, summarised: Summary, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "report.html"
    with pytest.raises(ReportError, match=r"report\.html: no report without RD points"):
        write_report(path, summarised, [], None, DESCRIBED)
    with pytest.raises(FileNotFoundError):
        write_report(tmp_path / "nowhere" / "report.html", summarised, make_points(), None, {})
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(ReportError, match=r"needs plotly: pip install"):
        write_report(path, summarised, make_points(), None, DESCRIBED)
    assert list(tmp_path.iterdir()) == []
