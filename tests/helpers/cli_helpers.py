"""What the tests of the command line share: running it in this process, pictures, streams, a second model."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

from click.testing import CliRunner, Result
from PIL import Image

from vqcodec.benchmarks.speed.stages import synthetic_picture
from vqcodec.cards.model_card import load_model_folder
from vqcodec.cli.main import main


def vqcodec(*arguments: object, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], input=stdin)


def make_picture(path: Path, width: int = 48, height: int = 33, *, mode: str = "RGB", seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(synthetic_picture(width, height, seed=seed)).convert(mode).save(path)
    return path


def make_stream(path: Path, model: Path, *options: object, width: int = 48, height: int = 33, seed: int = 0) -> Path:
    picture = make_picture(path.with_suffix(".source.png"), width, height, seed=seed)
    result = vqcodec("encode", picture, path, "--model", model, "--device", "cpu", *options)
    assert result.exit_code == 0, result.output
    picture.unlink()
    return path


def make_other_model(folder: Path, model: Path) -> Path:
    """A model with the weights of `model` and without static frequencies: another id."""
    folder.mkdir(parents=True)
    shutil.copy(load_model_folder(model).weights_path, folder)
    dataclasses.replace(load_model_folder(model).card, name="other", static_frequencies=()).save(folder)
    return folder


def names_in(folder: Path) -> list[str]:
    """Every file below a folder, hidden ones too."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def only_error(result: Result, code: int = 1) -> str:
    """The one line of stderr of a command that failed and printed nothing else."""
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    return lines[0]
