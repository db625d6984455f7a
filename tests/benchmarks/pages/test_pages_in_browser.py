"""The pages as they are used: in a browser, by mouse and keyboard, without a network."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from browser_helpers import OpenPage, PageOpener
from report_helpers import CODECS, IMAGES, OURS, make_points, make_report

from vqcodec.benchmarks.pages.comparison import ComparedFile, comparison_page
from vqcodec.benchmarks.rate_distortion.metrics import Metrics
from vqcodec.benchmarks.rate_distortion.points import RDPoint
from vqcodec.benchmarks.speed.stages import synthetic_picture

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytest.importorskip("playwright.sync_api", reason="no playwright: pip install 'vqcodec[test]'")
pytest.importorskip("plotly", reason="the report needs plotly: pip install 'vqcodec[bench]'")
pytest.importorskip("bjontegaard", reason="BD-rates need bjontegaard: pip install 'vqcodec[bench]'")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_report(tmp_path_factory.mktemp("report"))


def clip(page: Page) -> str:
    return str(page.evaluate("getComputedStyle(document.querySelector('[data-layer=right]')).clipPath"))


def until(is_so: Callable[[], bool]) -> None:
    """Waits for it, 20 s at most. Playwright's own waiting for a function needs eval, which the pages forbid."""
    end = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)


def natural_width(page: Page, side: str) -> int:
    """Of the picture that the browser has loaded, in pixels."""
    return int(page.locator(f"[data-layer={side}] img").evaluate("(image) => image.naturalWidth"))


def numbers(page: Page, side: str) -> list[str]:
    return page.locator(f".numbers td[data-side={side}]").all_inner_texts()


def point(codec: str, setting: float, image: str) -> RDPoint:
    [found] = [each for each in make_points() if (each.codec, each.setting, each.image) == (codec, setting, image)]
    return found


def expected(of: RDPoint) -> list[str]:
    """The numbers of a point as the viewer writes them: bytes, rate, PSNR, MS-SSIM, LPIPS twice."""
    metrics = [f"{of.psnr_db:.2f}", f"{of.ms_ssim:.4f}", f"{of.lpips:.4f}", f"{of.lpips_vgg:.4f}"]
    return [f"{of.bytes:,}", f"{of.bits_per_pixel:.4f}", *metrics]


def choose(page: Page, side: str, what: str, value: str) -> None:
    page.locator(f"#viewer-{side}-{what}").select_option(value)


def setting_of(page: Page, side: str) -> str:
    return page.locator(f"#viewer-{side}-setting").input_value()


def test_codec_setting_and_picture_decide_what_is_seen(report: Path, open_page: PageOpener) -> None:
    opened = open_page(report)
    page = opened.page
    assert numbers(page, "left") == expected(point(OURS, 1, IMAGES[0]))
    assert numbers(page, "right") == expected(point("avif/2", 20, IMAGES[0])), "the strongest near it"
    assert page.locator(".numbers td[data-side=left].better").count() == 4

    options = page.locator("#viewer-right-codec option")
    assert options.evaluate_all("(all) => all.map((option) => option.value)") == ["", *CODECS]
    labels = ["Original", "tiny", "AVIF at full size", "AVIF at 1/2 size", "JPEG XL at full size"]
    assert options.all_inner_texts() == labels
    choose(page, "right", "codec", "jxl")
    assert setting_of(page, "right") == "distance 2.5", "nearest to 100 bytes"
    choose(page, "left", "setting", "2 levels")
    assert setting_of(page, "right") == "distance 2.5", "98 bytes are nearer to 200 than 390"
    choose(page, "right", "codec", "avif/2")
    assert setting_of(page, "right") == "quality 20"
    choose(page, "right", "setting", "quality 60")
    choose(page, "left", "setting", "1 level")
    assert setting_of(page, "right") == "quality 60", "the user chose it"
    assert numbers(page, "right") == expected(point("avif/2", 60, IMAGES[0]))

    second = [url for url in opened.requests if "script" in url]
    assert second == [], "pictures are loaded when they are shown"
    page.locator(".thumb").nth(2).click()
    assert IMAGES[2] in page.locator(".picture-name").inner_text()
    assert numbers(page, "left") == expected(point(OURS, 1, IMAGES[2]))
    assert numbers(page, "right") == expected(point("avif/2", 60, IMAGES[2]))
    until(lambda: natural_width(page, "right") == 48)
    assert [url for url in opened.requests if "script" in url]

    page.locator(".swap").click()
    assert numbers(page, "left") == expected(point("avif/2", 60, IMAGES[2]))
    choose(page, "right", "codec", "")
    assert numbers(page, "right") == ["\u2013"] * 6, "the original has no numbers"

    again = open_page(report, fragment="#" + page.url.partition("#")[2]).page
    assert IMAGES[2] in again.locator(".picture-name").inner_text()
    assert [numbers(again, side) for side in ("left", "right")] == [numbers(page, side) for side in ("left", "right")]


def test_the_divider_moves_by_mouse_and_keyboard(report: Path, open_page: PageOpener) -> None:
    page = open_page(report).page
    assert clip(page) == "inset(0px 0px 0px 50%)"
    page.locator(".view").scroll_into_view_if_needed()
    box = page.locator(".view").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 30)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 40, steps=3)
    page.mouse.up()
    assert clip(page) == "inset(0px 0px 0px 25%)"
    page.keyboard.press("ArrowRight")
    assert clip(page) == "inset(0px 0px 0px 26%)"
    page.keyboard.press("Home")
    assert clip(page) == "inset(0px 0px 0px 0%)"
    assert "split=0&" in page.url

    original = page.get_by_role("button", name="Original")
    original.click()
    assert page.locator("[data-layer=original]").is_visible()
    original.click()
    assert not page.locator("[data-layer=original]").is_visible()


def assert_it_fits(page: Page, width: int) -> None:
    """The page does not scroll sideways, and neither axis nor legend crowd the curves."""
    page.locator("#rd-plot .point").first.wait_for()
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    plot = page.locator("#rd-plot .nsewdrag").bounding_box()
    assert plot is not None
    assert plot["width"] > 0.6 * width


def test_a_narrow_page_fits_and_enlarges_pictures_by_whole_pixels(report: Path, open_page: PageOpener) -> None:
    page = open_page(report, width=390).page
    assert_it_fits(page, 390)
    image = page.locator("[data-layer=left] img")
    fitting = image.bounding_box()
    assert fitting is not None
    assert fitting["width"] % 48 == 0, "a whole number of screen pixels for each"
    page.get_by_role("button", name="4:1").click()
    enlarged = image.bounding_box()
    assert enlarged is not None
    assert (enlarged["width"], enlarged["height"]) == (4 * 48, 4 * 40)
    assert image.evaluate("(image) => getComputedStyle(image).imageRendering") == "pixelated"
    assert "zoom=4" in page.url


def test_metrics_switch_and_points_tell_their_value(report: Path, open_page: PageOpener) -> None:
    page = open_page(report, width=1400).page
    assert_it_fits(page, 1400)
    assert page.get_by_role("button", name="LPIPS (AlexNet)").get_attribute("aria-pressed") == "true"
    page.get_by_role("button", name="PSNR, dB").click()
    page.locator("#rd-plot .ytitle", has_text="PSNR").wait_for()
    assert page.locator("[data-note=psnr_db]").is_visible()
    assert not page.locator("[data-note=lpips]").is_visible()
    assert page.locator("[data-curve='quoted:0']").is_disabled(), "it has no PSNR"

    curves = page.locator("#rd-plot .trace")
    until(lambda: curves.count() == 3)  # ours and two formats
    page.locator("[data-curve='jxl/*']").click()
    until(lambda: curves.count() == 2)

    # ours is drawn last, above the others
    box = curves.last.locator(".point").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_selector("#rd-plot .hoverlayer .hovertext")
    told = page.locator("#rd-plot .hoverlayer .hovertext").first.text_content()
    mean = sum(point(OURS, 1, image).psnr_db for image in IMAGES) / len(IMAGES)
    assert told == f"tiny, 1 level0.4583 bpp, 110 bytesPSNR, dB {mean:.2f}"


def test_a_picture_that_is_gone_is_named(report: Path, open_page: PageOpener, tmp_path: Path) -> None:
    copy = tmp_path / "report.html"
    copy.write_bytes(report.read_bytes())  # without the pictures
    opened = open_page(copy)
    missing = opened.page.locator("[data-layer=left] .missing")
    missing.wait_for(state="visible")
    assert re.fullmatch(r"pictures/plain\.png-\w+/vq-tiny\S+\.webp cannot be loaded", missing.inner_text())
    assert all("ERR_FILE_NOT_FOUND" in error for error in opened.errors)
    opened.errors.clear()


def assert_it_can_be_moved(page: Page) -> None:
    """A picture of 200 x 240 in a narrower window, by mouse and keyboard; the divider stays where it is."""

    def place() -> tuple[float, float]:
        box = page.locator("[data-layer=left] img").bounding_box()
        assert box is not None
        return box["x"], box["y"]

    page.get_by_role("button", name="4:1").click()
    page.locator(".view").scroll_into_view_if_needed()
    (left, top), view = place(), page.locator(".view").bounding_box()
    assert view is not None
    page.mouse.move(view["x"] + 60, view["y"] + 60)
    page.mouse.down()
    page.mouse.move(view["x"] + 50, view["y"] + 75)
    page.mouse.up()
    assert place() == pytest.approx((left - 10, top + 15))
    page.keyboard.press("Shift+ArrowLeft")
    assert place() == pytest.approx((left - 10 + view["width"] / 8, top + 15))
    assert clip(page) == "inset(0px 0px 0px 50%)"


def test_a_comparison_needs_nothing_beside_it(open_page: PageOpener, tmp_path: Path) -> None:
    original = ComparedFile("a/<i>.png", "PNG", 5000, synthetic_picture(200, 240, seed=1))
    others = [ComparedFile(f"{name}.vq", "tiny, 1 level", 96, synthetic_picture(200, 240, seed=2)) for name in "xy"]
    (tmp_path / "page.html").write_text(comparison_page(original, others, Metrics(None)), encoding="utf-8")
    opened: OpenPage = open_page(tmp_path / "page.html", width=390)
    page = opened.page
    assert page.locator("h1").inner_text() == "<i>.png"
    assert numbers(page, "left") == numbers(page, "right")
    choose(page, "left", "codec", "")
    assert numbers(page, "left")[:2] == ["5,000", f"{8 * 5000 / 200 / 240:.4f}"]
    until(lambda: natural_width(page, "left") == 200)
    assert_it_can_be_moved(page)
    assert [url for url in opened.requests if not url.startswith("data:")] == [page.url.partition("#")[0]]
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
