"""scripts/demo and scripts/test: arguments, and when they install. A stand-in for Python makes it quick and offline."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the scripts are for POSIX shells")

#: A Python that makes environments of itself and notes what it is asked to install or run.
PRETENDER = """#!/bin/sh
case "$*" in
*version_info*) exit "${PRETEND_UNSUPPORTED:-0}" ;;
*ensurepip*) exit "${PRETEND_NO_VENV:-0}" ;;
--version) echo "Python 3.12.0" ;;
"-m venv "*)
    mkdir -p "$3/bin"
    cp "$0" "$3/bin/python"
    [ -z "${PRETEND_VENV_FAILS:-}" ] || exit 1
    ;;
"-m pip --version") ;;
"-m pip install"*)
    shift 3
    echo "pip $*" >>"$NOTES"
    [ -z "${PRETEND_OFFLINE:-}" ] || exit 1
    printf '#!/bin/sh\\necho "vqcodec $*" >>"$NOTES"\\n' >"$(dirname "$0")/vqcodec"
    chmod +x "$(dirname "$0")/vqcodec"
    ;;
*) echo "python $*" >>"$NOTES" ;;
esac
"""


class Checkout:
    """A copy of the scripts and what they read, in a folder with a space in its name."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "a checkout"
        self.elsewhere = folder / "elsewhere"
        self.python = folder / "pretender"
        self._notes = folder / "notes"
        self.elsewhere.mkdir()
        for name in ("scripts/demo", "scripts/test", "scripts/setup", "pyproject.toml", "constraints.txt"):
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, self.root / name)
        shutil.copytree(ROOT / "examples", self.root / "examples")
        self.python.write_text(PRETENDER)
        self.python.chmod(0o755)

    def run(self, script: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        self._notes.write_text("")
        return subprocess.run(
            [str(self.root / "scripts" / script), *arguments],
            cwd=self.elsewhere,
            env={**os.environ, "PYTHON": str(self.python), "NOTES": str(self._notes), **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    @property
    def notes(self) -> list[str]:
        """What the last run installed and ran."""
        return self._notes.read_text().splitlines()

    @property
    def installations(self) -> list[str]:
        return [note for note in self.notes if note.startswith("pip ")]


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_demo_encodes_and_decodes_the_example_at_both_ends_of_the_scale(checkout: Checkout) -> None:
    done = checkout.run("demo")
    assert done.returncode == 0, done.stderr
    example = checkout.root / "examples" / "coffee.jpg"
    out = "demo-output/coffee"
    assert checkout.notes == [
        "pip --quiet -c constraints.txt -e .",
        f"vqcodec encode {example} {out}-level-1.vq -f --levels 1",
        f"vqcodec decode {out}-level-1.vq {out}-level-1.png -f",
        f"vqcodec encode {example} {out}-all-levels.vq -f",
        f"vqcodec decode {out}-all-levels.vq {out}-all-levels.png -f",
    ]
    assert (checkout.root / "demo-output").is_dir()
    assert str(checkout.root / "demo-output") in done.stdout


def test_demo_finds_a_picture_from_the_folder_it_is_called_in(checkout: Checkout) -> None:
    (checkout.elsewhere / "my photo.png").write_bytes(b"any")
    done = checkout.run("demo", "my photo.png")
    assert done.returncode == 0, done.stderr
    picture = checkout.elsewhere / "my photo.png"
    assert f"vqcodec encode {picture} demo-output/my photo-level-1.vq -f --levels 1" in checkout.notes


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (["missing.png"], 1, "demo: missing.png: no such file\n"),
        (["."], 1, "demo: .: no such file\n"),
        (["a.png", "b.png"], 2, "usage: scripts/demo [IMAGE]"),
        (["--levels"], 2, "usage: scripts/demo [IMAGE]"),
    ],
)
def test_demo_refuses_wrong_arguments_before_it_sets_anything_up(
    checkout: Checkout, arguments: list[str], code: int, error: str
) -> None:
    done = checkout.run("demo", *arguments)
    assert done.returncode == code
    assert done.stderr.startswith(error)
    assert done.stdout == ""
    assert not (checkout.root / ".venv").exists()


@pytest.mark.parametrize("script", ["demo", "test"])
def test_help_sets_nothing_up(checkout: Checkout, script: str) -> None:
    done = checkout.run(script, "-h")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: scripts/{script}")
    assert not (checkout.root / ".venv").exists()


def test_test_checks_everything_and_only_runs_pytest_when_given_arguments(checkout: Checkout) -> None:
    assert checkout.run("test").returncode == 0
    assert checkout.notes == [
        "pip --quiet -c constraints.txt -e .[dev]",
        "python -m ruff check .",
        "python -m ruff format --check .",
        "python -m mypy",
        "python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=10",
    ]
    assert checkout.run("test", "-x", "tests/test_image.py").returncode == 0
    assert checkout.notes == ["python -m pytest -x tests/test_image.py"]


def test_test_builds_the_core_anew_only_when_it_has_changed(checkout: Checkout) -> None:
    source, library = checkout.root / "core" / "network.c", checkout.root / "vqcodec" / "native" / "_core.so"
    for file in (source, library):
        file.parent.mkdir(parents=True)
        file.touch()
    build, pytest_alone = "python setup.py -q build_ext --inplace", "python -m pytest -x"
    for time, notes in ((2**31, [pytest_alone]), (1, [build, pytest_alone])):
        os.utime(library, (time, time))
        checkout.run("test", "-x")
        assert checkout.notes[-len(notes) :] == notes
        assert (build in checkout.notes) == (build in notes)
    library.unlink()
    checkout.run("test", "-x")
    assert checkout.notes == [pytest_alone], "without a compiler there is none"


def test_installs_again_only_when_something_changed(checkout: Checkout) -> None:
    checkout.run("demo")
    assert len(checkout.installations) == 1
    checkout.run("demo")
    assert checkout.installations == []
    for name in ("pyproject.toml", "constraints.txt"):
        stamp = (checkout.root / ".venv" / "vqcodec-installed").stat().st_mtime
        os.utime(checkout.root / name, (stamp + 1, stamp + 1))
        checkout.run("demo")
        assert len(checkout.installations) == 1
        os.utime(checkout.root / name, (stamp - 1, stamp - 1))
    checkout.run("test", "-x")
    assert len(checkout.installations) == 1, "demo's environment lacks what the tests need"
    checkout.run("demo")
    assert checkout.installations == [], "the environment of the tests has all that demo needs"


def test_installs_again_after_the_checkout_was_moved(checkout: Checkout) -> None:
    checkout.run("demo")
    checkout.root = checkout.root.rename(checkout.root.with_name("moved"))
    checkout.run("demo")
    assert len(checkout.installations) == 1


def test_an_installation_that_failed_is_said_and_tried_again(checkout: Checkout) -> None:
    checkout.run("demo")
    os.utime(checkout.root / "pyproject.toml", (2**32, 2**32))
    done = checkout.run("demo", PRETEND_OFFLINE="1")
    assert done.returncode == 1
    assert "network" in done.stderr.splitlines()[-1]
    os.utime(checkout.root / "pyproject.toml", (1, 1))
    assert checkout.run("demo").returncode == 0
    assert len(checkout.installations) == 1


@pytest.mark.parametrize(
    ("variable", "error"),
    [
        ("PRETEND_UNSUPPORTED", "is not a Python 3.10 to 3.13 that runs"),
        ("PRETEND_NO_VENV", "apt install python3-venv"),
        ("PRETEND_VENV_FAILS", "could not make a virtual environment"),
    ],
)
def test_a_python_that_will_not_do_is_named_and_leaves_nothing_behind(
    checkout: Checkout, variable: str, error: str
) -> None:
    done = checkout.run("demo", **{variable: "1"})
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert error in done.stderr
    assert not (checkout.root / ".venv").exists()


def test_a_broken_environment_is_left_alone_and_named(checkout: Checkout) -> None:
    (checkout.root / ".venv").mkdir()
    done = checkout.run("demo")
    assert done.returncode == 1
    assert done.stderr.startswith("demo: .venv is no virtual environment")
    assert (checkout.root / ".venv").is_dir()
