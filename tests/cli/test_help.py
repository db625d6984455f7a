"""Help, shell completion and the manual page: all made of the commands themselves."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from cli_helpers import vqcodec
from click.shell_completion import ShellComplete

from vqcodec.cli.common.option_groups import option, takes
from vqcodec.cli.main import main


def commands(group: click.Group, context: click.Context) -> Iterator[click.Context]:
    """Of all commands that are not hidden, and of those below them."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        inner = click.Context(command, context, name)
        if not command.hidden:
            yield inner
        if isinstance(command, click.Group):
            yield from commands(command, inner)


ROOT = click.Context(main, info_name="vqcodec", **main.context_settings)
ALL = {context.command_path: context.command for context in commands(main, ROOT)}


# ---- help ----


def test_help_names_each_command_once_with_a_line_of_its_own() -> None:
    shown = vqcodec("--help").stdout
    titles = re.findall(r"^(\w+):$", shown, re.MULTILINE)
    assert titles == ["Options", "Everyday", "Datasets", "Training", "Measuring"]
    top = [path.removeprefix("vqcodec ") for path in ALL if path.count(" ") == 1]
    lines = re.findall(r"^  ([a-z][a-z-]+)  +(\S.*)$", shown, re.MULTILINE)
    assert sorted(name for name, _ in lines) == sorted(top)
    assert all(text.endswith(".") and not text.endswith("...") for _, text in lines)


@pytest.mark.parametrize("path", ALL)
def test_every_command_and_every_option_says_what_it_is(path: str) -> None:
    command = ALL[path]
    assert command.help
    silent = [
        parameter.name for parameter in command.params if isinstance(parameter, click.Option) and not parameter.help
    ]
    assert set(silent) <= {"seed"}


# ---- option groups ----


def test_a_group_of_options_is_one_argument() -> None:
    @dataclass(frozen=True)
    class Size:
        width: int = option("--width", type=int, default=3, show_default=True, help="Pixels.")
        rows: int = option("-r", "--height", type=int, default=2)

    seen: list[object] = []

    @click.command()
    @click.argument("name")
    @takes(Size, "size")
    @click.option("--last", is_flag=True)
    def command(name: str, size: Size, last: bool) -> None:
        """It."""
        seen.append((name, size, last))

    command(["x", "-r", "5", "--last"], standalone_mode=False)
    command(["y"], standalone_mode=False)
    assert seen == [("x", Size(3, 5), True), ("y", Size(3, 2), False)]
    assert [parameter.name for parameter in command.params] == ["name", "width", "rows", "last"]


# ---- completion ----


def completions(*words: str) -> list[tuple[str, str]]:
    """(value, type) of what a shell offers for the last word."""
    found = ShellComplete(main, {}, "vqcodec", "_VQCODEC_COMPLETE").get_completions(list(words[:-1]), words[-1])
    return [(item.value, item.type) for item in found]


def test_commands_options_values_models_and_files_are_completed(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VQCODEC_MODELS", str(tiny_model.parent))
    assert completions("enc") == [("encode", "plain")]
    assert completions("man") == []
    assert completions("encode", "--max-b") == [("--max-bytes", "plain")]
    assert completions("encode", "--entropy", "s") == [("static", "plain")]
    assert completions("encode", "--model", "ti") == [("tiny", "plain")]
    assert completions("encode", "--model", "./ti") == [("./ti", "dir")]
    for command in (["encode"], ["decode"], ["info"], ["complete"], ["upscale", "in.png"], ["generate", "--condition"]):
        assert completions(*command, "ph") == [("ph", "file")]


def test_a_damaged_model_does_not_stop_completion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VQCODEC_MODELS", "gone")
    assert completions("encode", "--model", "x") == [("x", "dir")]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_script(shell: str) -> None:
    result = vqcodec("completion", shell)
    assert (result.exit_code, result.stderr) == (0, "")
    assert f"_VQCODEC_COMPLETE={shell}_complete" in result.stdout
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=result.stdout, text=True, check=True)


# ---- the manual page ----


def test_the_manual_has_every_command_and_every_option() -> None:
    result = vqcodec("man")
    assert (result.exit_code, result.stderr) == (0, "")
    page = result.stdout.replace("\\-", "-")
    for path, command in ALL.items():
        section = page.partition(f'.SS "{path}"\n')[2].partition("\n.SS")[0]
        assert section, path
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.opts[-1] in section, (path, parameter.opts)


@pytest.mark.skipif(shutil.which("groff") is None, reason="no groff")
def test_troff_has_nothing_to_say_against_the_manual(tmp_path: Path) -> None:
    page = tmp_path / "vqcodec.1"
    page.write_text(vqcodec("man").stdout, encoding="utf-8")
    done = subprocess.run(["groff", "-man", "-Tutf8", "-ww", page], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert "vqcodec encode photo.jpg photo.vq" in re.sub("\x1b\\[[0-9;]*m", "", done.stdout)
