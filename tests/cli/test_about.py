"""The commands that tell: info, models, doctor, help."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path

import pytest
from cli_helpers import make_other_model, make_stream, vqcodec

from vqcodec import __version__
from vqcodec.cards import finding
from vqcodec.cards.model_card import load_model_folder
from vqcodec.codec import Codec


@pytest.fixture(autouse=True)
def _installed(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny model, and none that may be embedded."""
    monkeypatch.setattr(finding, "_EMBEDDED", tmp_path / "nothing-embedded")
    monkeypatch.setenv("VQCODEC_MODELS", str(tiny_model.parent))


@pytest.fixture
def stream(tmp_path: Path, tiny_model: Path) -> Path:
    return make_stream(tmp_path / "photo.vq", tiny_model)


# ---- info ----


def test_info_tells_size_rate_levels_and_model(stream: Path, tiny_model: Path) -> None:
    result = vqcodec("info", stream)
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0] == str(stream)
    size = stream.stat().st_size
    assert f"  stream        {size} bytes, {8 * size / (48 * 33):.4f} bits per pixel" in lines
    assert "  size          48 x 33 pixels" in lines
    model_id = load_model_folder(tiny_model).card.model_id.hex()
    assert f"  model         tiny ({model_id})" in lines


def test_info_of_several_streams_as_json_and_from_stdin(stream: Path) -> None:
    result = vqcodec("info", "--json", stream, "-", stdin=stream.read_bytes())
    first, second = (json.loads(line) for line in result.stdout.splitlines())
    assert first | {"file": "-"} == second
    assert first["file"] == str(stream)
    assert (first["width"], first["height"], first["levels"]) == (48, 33, 2)
    assert (first["model"], first["entropy"], first["complete"]) == ("tiny", "static", True)
    assert len(first["level_bytes"]) == 2


def test_info_goes_on_after_a_damaged_file(stream: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.vq").write_bytes(b"bad")
    result = vqcodec("info", tmp_path / "bad.vq", stream, tmp_path)
    assert result.exit_code == 1
    assert result.stdout.startswith(f"{stream}\n")
    first, second = result.stderr.splitlines()
    assert first.startswith(f"error: {tmp_path / 'bad.vq'}: not a .vq stream")
    assert second == f"error: {tmp_path}: is a folder: name the files in it"


def test_info_says_how_much_of_a_cut_off_stream_is_whole(stream: Path) -> None:
    stream.write_bytes(stream.read_bytes()[:-1])
    result = vqcodec("info", stream)
    assert result.exit_code == 0
    assert "1 of 2 levels are whole (vqcodec decode --partial)" in result.stdout
    stream.write_bytes(stream.read_bytes()[:16])
    assert "0 of 2 levels are whole" in vqcodec("info", stream).stdout


def test_info_needs_no_model(stream: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for models in ("", str(tmp_path / "gone")):
        monkeypatch.setenv("VQCODEC_MODELS", models)
        result = vqcodec("info", stream)
        assert result.exit_code == 0
        assert "not installed (" in result.stdout


def test_info_without_files_is_wrong_usage() -> None:
    assert vqcodec("info").exit_code == 2


# ---- models ----


def test_models_lists_name_rates_data_and_licence(tiny_model: Path) -> None:
    result = vqcodec("models")
    assert (result.exit_code, result.stderr) == (0, "")
    for part in ("tiny\n", "0.020, 0.039 bits per pixel with 1 to 2 levels", "none: random weights\n", "MIT", "f = 16"):
        assert part in result.stdout
    values = json.loads(vqcodec("models", "--json").stdout)
    assert (values["name"], values["folder"], values["licence"]) == ("tiny", str(tiny_model), "MIT")
    assert values["bytes"] == sum(path.stat().st_size for path in tiny_model.iterdir())


def test_models_without_any(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VQCODEC_MODELS", "")
    assert vqcodec("models").stdout == "no models installed\n"
    assert vqcodec("models", "--json").stdout == ""


def test_models_shows_the_good_ones_and_names_a_damaged_one(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = make_other_model(tmp_path / "models" / "other", tiny_model)
    (damaged / "card.json").write_text("{}")
    monkeypatch.setenv("VQCODEC_MODELS", os.pathsep.join([str(tiny_model.parent), str(damaged.parent)]))
    result = vqcodec("models")
    assert result.exit_code == 0
    assert result.stdout.startswith("tiny\n")
    assert result.stderr.startswith(f"warning: {damaged / 'card.json'}: ")
    assert len(result.stderr.splitlines()) == 1


# ---- doctor ----


def test_doctor_tests_every_model(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = make_other_model(tmp_path / "models" / "other", tiny_model)
    monkeypatch.setenv("VQCODEC_MODELS", os.pathsep.join([str(tiny_model.parent), str(other.parent)]))
    result = vqcodec("doctor")
    assert (result.exit_code, result.stderr) == (0, "")
    assert __version__ in result.stdout
    for name in ("torch", "pillow", "constriction", "core", "chosen", "nearest codes", "formats"):
        assert f"\n{name}" in result.stdout
    assert result.stdout.count("self test      ok: 96 x 64 pixels in ") == 2

    (other / "stage1.safetensors").write_bytes(b"damaged")
    result = vqcodec("doctor")
    assert result.exit_code == 1
    assert result.stdout.count("self test      ok: ") == 1
    assert result.stderr.startswith(f"error: self test of other: {other / 'stage1.safetensors'}: ")


def test_doctor_tests_a_model_of_one_size_by_that_size(one_size_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VQCODEC_MODELS", str(one_size_model.parent))
    result = vqcodec("doctor")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "self test      ok: 32 x 32 pixels in " in result.stdout


def test_doctor_does_not_test_a_model_that_takes_no_pictures(
    edges_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VQCODEC_MODELS", str(edges_model.parent))
    result = vqcodec("doctor")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "self test      none, model tiny-edges is of edges" in result.stdout


def test_doctor_without_a_model_fails_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VQCODEC_MODELS", "")
    result = vqcodec("doctor")
    assert result.exit_code == 1
    assert "torch" in result.stdout
    assert result.stderr.startswith("error: no model is installed: install vqcodec again, or name a folder")


def test_doctor_fails_when_a_stream_gives_other_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenize = Codec.tokenize
    calls = []

    def unstable(codec, images, **options):  # type: ignore[no-untyped-def]
        calls.append(images)
        return [(grid + len(calls)) % 32 for grid in tokenize(codec, images, **options)]

    monkeypatch.setattr(Codec, "tokenize", unstable)
    result = vqcodec("doctor")
    assert result.exit_code == 1
    assert "error: self test of tiny: the stream gives other tokens" in result.stderr


# ---- help ----


def test_help_names_every_command_in_one_line_each() -> None:
    result = vqcodec("--help")
    assert result.exit_code == 0
    for command in (
        "encode",
        "decode",
        "info",
        "compare",
        "models",
        "doctor",
        "generate",
        "complete",
        "train",
        "export",
        "bench",
    ):
        assert f"\n  {command} " in result.stdout
        assert vqcodec(command, "-h").exit_code == 0
    assert "..." not in result.stdout.split("Everyday:")[1]  # cut off, it would say less than nothing
    assert "Exit code" in result.stdout
    assert vqcodec("--version").stdout == f"vqcodec, version {__version__}\n"


def test_an_unknown_command_or_option_is_wrong_usage() -> None:
    for arguments in (("frobnicate",), ("encode", "--frobnicate"), ("--frobnicate",)):
        result = vqcodec(*arguments)
        assert (result.exit_code, result.stdout) == (2, "")
        assert "frobnicate" in result.stderr


def test_a_name_of_a_card_steers_no_terminal(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "models" / "evil"
    folder.mkdir(parents=True)
    shutil.copy(load_model_folder(tiny_model).weights_path, folder)
    card = dataclasses.replace(load_model_folder(tiny_model).card, static_frequencies=())
    dataclasses.replace(card, name="evil\x1b[2J\nname", licence="\x1b]0;title\x07").save(folder)
    monkeypatch.setenv("VQCODEC_MODELS", str(folder.parent))
    stream = make_stream(tmp_path / "a.vq", folder)
    levels = ("encode", tmp_path / "none.png", tmp_path / "b.vq", "--levels", 99, "--model", folder)
    for arguments in (("models",), ("info", stream), levels):
        result = vqcodec(*arguments)
        assert "\x1b" not in result.output
        assert r"evil\x1b[2J\nname" in result.output
