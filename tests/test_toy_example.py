"""examples/toy_generation.sh and its sheet of samples. Its training takes minutes: here its commands are only read."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from PIL import Image

from vqcodec.cli.main import main
from vqcodec.models.config import AutoencoderConfig
from vqcodec.prior.config import prior_config
from vqcodec.training.common.overrides import with_settings
from vqcodec.training.data.toy_shapes import TOY_CLASSES
from vqcodec.training.stage1.presets import PRESETS
from vqcodec.training.stage1.recipe import Stage1Recipe
from vqcodec.training.stage2.recipe import Stage2Recipe

ROOT = Path(__file__).parent.parent
SHEET = ROOT / "scripts" / "sample_sheet.py"

#: notes its arguments, one a line, and an empty line
PRETENDER = '#!/bin/sh\nprintf "%s\\n" "$@" "" >>"$NOTES"\n'


def sheet(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SHEET), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def options_of(arguments: list[str]) -> dict[str, object]:
    """Of a call of vqcodec, once all of its options exist and all arguments are there. "": which command it is."""
    command: click.Command = main
    names: list[str] = []
    context = click.Context(command)
    while isinstance(command, click.Group):
        found = command.get_command(context, arguments[len(names)])
        if found is None and names == ["export"]:  # what is no command of it is a checkpoint
            command = command.commands["checkpoint"]
            context = click.Context(command, parent=context)
            break
        names.append(arguments[len(names)])
        assert found, names
        command, context = found, click.Context(found, parent=context, info_name=names[-1])
    options, left, _ = command.make_parser(context).parse_args(arguments[len(names) :])
    assert left == []
    missing = [each.name for each in command.params if each.required and options.get(each.name or "") is None]
    assert missing == []
    return {"": " ".join(names), **options}


@pytest.mark.skipif(sys.platform == "win32", reason="the example is for POSIX shells")
def test_every_command_of_the_example_exists(tmp_path: Path) -> None:
    for name in ("vqcodec", "python"):
        (tmp_path / name).write_text(PRETENDER)
        (tmp_path / name).chmod(0o755)
    notes, out = tmp_path / "notes", tmp_path / "an out folder"
    variables = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "NOTES": str(notes)}
    subprocess.run([ROOT / "examples" / "toy_generation.sh", out], env=variables, check=True, capture_output=True)
    *calls, last = [call.split("\n") for call in notes.read_text().removesuffix("\n\n").split("\n\n")]
    script, *arguments = last
    assert Path(script).samefile(SHEET)
    assert arguments == [f"{out}/samples.png", f"{out}/samples"]
    commands = [options_of(call) for call in calls]
    generated = [command["class_"] for command in commands if command[""] == "generate"]
    assert generated == list(TOY_CLASSES)
    for command in commands:
        if command[""] == "train stage1":
            recipe: Stage1Recipe = PRESETS[str(command["preset"])]
            with_settings(recipe, command.get("settings") or [])
        elif command[""] == "train stage2":
            prior = prior_config(AutoencoderConfig(), "tiny", order=str(command["order"]))
            with_settings(Stage2Recipe(prior), command["settings"])


def test_the_sheet_has_a_row_for_each_folder(tmp_path: Path) -> None:
    colours = {"blue": [(0, 0, 255)], "red": [(255, 0, 0), (200, 0, 0)]}
    for name, shades in colours.items():
        (tmp_path / "in" / name).mkdir(parents=True)
        for number, shade in enumerate(shades):
            Image.new("RGB", (4, 4), shade).save(tmp_path / "in" / name / f"{number}.png")
    assert sheet(tmp_path / "out.png", tmp_path / "in").stderr == ""
    with Image.open(tmp_path / "out.png") as made:
        found = [made.getpixel((90 + 32 + 66 * column, 32 + 66 * row)) for row in (0, 1) for column in (0, 1)]
        assert made.size == (90 + 2 * 66, 2 * 66)
    assert found == [(0, 0, 255), (255, 255, 255), (255, 0, 0), (200, 0, 0)]


def test_a_folder_without_pictures_is_named(tmp_path: Path) -> None:
    done = sheet(tmp_path / "out.png", tmp_path)
    assert (done.returncode, done.stderr) == (1, f"{tmp_path}: no folders of .png files\n")
