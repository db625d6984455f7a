from __future__ import annotations

import base64
import io
import math
from dataclasses import replace

from PIL import Image

from vqcodec.benchmarks.pages.viewer import Shown, ViewerPicture, data_uri, first_view, thumbnail, viewer_values
from vqcodec.benchmarks.pages.writing import render

OURS = Shown("vq:a:1:s", "1 level", "a", 100, 0.05, {"psnr_db": 20.0, "dists": 0.3}, "pictures/1.webp")


def other(codec: str, size: int, dists: float | None) -> Shown:
    metrics = {"psnr_db": 20.0, "dists": dists}
    return replace(OURS, codec=codec, label=codec, setting=str(size), bytes=size, metrics=metrics)


def picture(*shown: Shown) -> ViewerPicture:
    return ViewerPicture("1.png", 40, 20, "data:,", "pictures/original.webp", shown)


def test_the_first_view_is_our_smallest_file_beside_the_strongest_near_it() -> None:
    larger = replace(OURS, setting="2 levels", bytes=200)
    others = [other("smaller", 99, 0.1), other("weak", 101, 0.5), other("strong", 124, 0.2), other("far", 126, 0.1)]
    assert first_view(picture(*others, larger, OURS), [OURS.codec]) == (OURS, others[2])
    assert first_view(picture(others[0], others[3], OURS), [OURS.codec]) == (OURS, others[0]), (
        "nearest, if none is near"
    )


def test_the_strongest_is_found_by_what_all_have() -> None:
    better = replace(other("better", 110, None), metrics={"psnr_db": 30.0, "dists": None})
    assert first_view(picture(other("b", 105, 0.1), better, OURS), [OURS.codec])[1] == better
    unknown = [replace(other("c", size, None), metrics={}) for size in (120, 110)]
    assert first_view(picture(*unknown, OURS), [OURS.codec])[1] == unknown[1]


def test_without_opponents_the_first_view_is_the_original() -> None:
    assert first_view(picture(OURS), [OURS.codec]) == (None, OURS)
    assert first_view(picture(OURS), []) == (None, OURS)
    assert first_view(picture(), []) == (None, None)


def test_the_data_has_the_numbers_as_they_are_read() -> None:
    lossless = replace(other("avif", 90, 0.12345), metrics={"psnr_db": math.inf, "dists": None, "lpips": None})
    values = viewer_values([picture(OURS, lossless)], (OURS, None))
    assert [row["label"] for row in values["rows"]] == ["bytes", "bits per pixel", "PSNR, dB", "DISTS"]
    data = values["data"]
    assert data["codecs"] == [{"name": "vq:a:1:s", "label": "a"}, {"name": "avif", "label": "avif"}]
    assert data["higher"] == [True, False]
    assert data["first"] == [["vq:a:1:s", "1 level"], None]
    assert data["pictures"][0]["shown"] == [
        [1, "90", 90, "0.0500", ["∞", None], "pictures/1.webp"],
        [0, "1 level", 100, "0.0500", ["20.00", "0.3000"], "pictures/1.webp"],
    ]


def test_text_is_escaped_in_elements_attributes_and_data() -> None:
    name = '</script><b onload="x">&.png'
    shown = replace(OURS, codec=name, label=name, setting=name)
    values = viewer_values([replace(picture(shown), name=name)], (shown, None))
    page = render("viewer.html", viewer=values)
    assert "<b " not in page
    assert page.count("</script>") == 2, "those of the data and of the script"
    assert "&lt;/script&gt;&lt;b onload=&#34;x&#34;&gt;&amp;.png" in page


def test_a_thumbnail_is_small_and_keeps_its_shape() -> None:
    uri = thumbnail(Image.new("RGBA", (1680, 560), "red"))
    assert uri.startswith("data:image/webp;base64,")
    with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as small:
        assert small.size == (168, 56)
    assert data_uri(b"\x00\xff", "image/x") == "data:image/x;base64,AP8="
