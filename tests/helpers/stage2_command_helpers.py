"""Running `vqcodec train stage2` in this process, and what its run and its prior have become, for the tests of it.

Each run is in the folder `run` of a test's own.
"""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner, Result

from vqcodec.cli.main import main
from vqcodec.training.common.checkpoint import load_checkpoint, newest_checkpoint
from vqcodec.training.stage2.recipe import Stage2Recipe
from vqcodec.training.stage2.trainer import stage2_recipe_of

#: a small transformer, and few tokens
SMALL = ("--set=model.heads=2", "--set=model.width=16", "--set=model.depth=1", "--set=model.token_width=4")
QUICK = ("--steps", 2, "--batch-size", 2, "--crop-size", 32, "--no-tensorboard")


def run(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def succeeded(result: Result) -> Result:
    assert result.exit_code == 0, result.output
    return result


def only_error(result: Result) -> str:
    """The line of a command that could not do its work."""
    assert result.exit_code == 1, result.output
    assert result.stderr.count("\n") == 1, result.stderr
    assert "please report" not in result.stderr
    return result.stderr.rstrip("\n")


def recipe(tmp_path: Path) -> Stage2Recipe:
    path = newest_checkpoint(tmp_path / "run")
    return stage2_recipe_of(path, load_checkpoint(path))


def logged(tmp_path: Path, name: str = "log.jsonl") -> list[dict[str, float]]:
    return [json.loads(line) for line in (tmp_path / "run" / name).read_text().splitlines()]


def exported(tmp_path: Path, folder: Path, run_name: str = "run") -> Result:
    words = ("--name", "new", "--description", "four waves", "--licence", "MIT")
    return succeeded(run("export", newest_checkpoint(tmp_path / run_name), folder, *words))
