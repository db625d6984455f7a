from __future__ import annotations

import math

import pytest

from vqcodec.benchmarks.rate_distortion.labels import (
    CURVE_KINDS,
    METRIC_NOTES,
    codec_label,
    codec_labels,
    direction,
    number,
    setting_label,
)


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("vq:photo-1:580b7e7c:static", "photo-1"),
        ("avif", "AVIF at full size"),
        ("avif/2", "AVIF at 1/2 size"),
        ("jpeg2000/*", "JPEG 2000, best scale"),
        ("all", "all of these"),
        ("some-net", "some-net"),
        ("some-net/3", "some-net at 1/3 size"),
    ],
)
def test_codecs_have_names_that_people_use(name: str, label: str) -> None:
    assert codec_label(name) == label


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (["vq:a:11:static", "avif"], ["a", "AVIF at full size"]),
        (["vq:a:11:static", "vq:a:11:uniform"], ["a, static", "a, uniform"]),
        (["vq:a:11:static", "vq:a:22:static"], ["a (11)", "a (22)"]),
        (
            ["vq:a:11:static", "vq:a:11:uniform", "vq:a:22:static"],
            ["a (11), static", "a (11), uniform", "a (22), static"],
        ),
        (["vq:a", "vq:a:::x"], ["vq:a", "vq:a:::x"]),
    ],
)
def test_models_of_one_name_are_told_apart(names: list[str], labels: list[str]) -> None:
    assert list(codec_labels(names).values()) == labels


def test_settings_are_named_as_their_codec_names_them() -> None:
    asked = [("vq:a:1:static", 1), ("vq:a:1:static", 3), ("avif/2", 15), ("jxl", 2.5), ("jpeg2000", 600), ("net", 7)]
    told = ["1 level", "3 levels", "quality 15", "distance 2.5", "1 : 600", "setting 7"]
    assert [setting_label(*each) for each in asked] == told


def test_every_metric_has_a_note_with_its_direction() -> None:
    for name in CURVE_KINDS:
        assert direction(name) in METRIC_NOTES[name].lower()


def test_numbers() -> None:
    assert [number(value, 2) for value in (None, 1.005, -3, math.inf)] == ["\u2013", "1.00", "\u22123.00", "∞"]
