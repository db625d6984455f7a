"""The documents say what is there: links lead somewhere, and files and names that they mention exist."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").glob("*.md")])
#: root folder -> the package that it is, the longest first
PACKAGES = {
    "vqcodec.bitstream": "bitstream",
    "vqcodec.benchmarks": "benchmarks",
    "vqcodec.cli": "cli",
    "vqcodec": "vqcodec",
}
FOLDERS = ("benchmarks", "bitstream", "cli", "core", "docs", "examples", "scripts", "tests", "vqcodec")
_FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_FILE = re.compile(rf"(?:{'|'.join(FOLDERS)})/[\w./-]*")
_NAME = re.compile(r"vqcodec(?:\.\w+)+")


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def prose(path: Path) -> str:
    """Without blocks of code."""
    return _FENCED.sub("", path.read_text(encoding="utf-8"))


def anchors(path: Path) -> set[str]:
    """Of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(path: Path) -> Iterator[tuple[str, str]]:
    """(file, anchor) of each link within the project."""
    for target in _LINK.findall(_CODE.sub("", prose(path))):
        if "://" not in target:
            file, _, anchor = target.partition("#")
            yield file, anchor


def is_there(name: str) -> bool:
    """Whether a dotted name is a module of the project, or stands in one."""
    package = next(package for package in PACKAGES if f"{name}.".startswith(f"{package}."))
    place, inner = ROOT / PACKAGES[package], name.removeprefix(package).split(".")[1:]
    while inner and ((place / inner[0]).is_dir() or (place / inner[0]).with_suffix(".py").is_file()):
        place, inner = place / inner[0], inner[1:]
    if not inner:
        return True
    text = (place / "__init__.py" if place.is_dir() else place.with_suffix(".py")).read_text(encoding="utf-8")
    return all(re.search(rf"\b{re.escape(part)}\b", text) for part in inner[:1])


def test_documents_are_there() -> None:
    assert {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/format.md"} <= {name_of(path) for path in DOCUMENTS}


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_links_lead_somewhere(path: Path) -> None:
    for file, anchor in links(path):
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), f"a link to {file}, which is not there"
        if anchor:
            assert anchor in anchors(target), f"a link to {file}#{anchor}: no such heading"


@pytest.mark.parametrize("path", [path for path in DOCUMENTS if path.name != "CHANGELOG.md"], ids=name_of)
def test_files_and_names_that_are_mentioned_exist(path: Path) -> None:
    for code in _CODE.findall(prose(path)):
        if _FILE.fullmatch(code) and not re.search("NAME|FAMILY", code):
            assert (ROOT / code).exists(), f"{code} is not there"
        if _NAME.fullmatch(code) and not code.endswith(".X"):
            assert is_there(code), f"{code} is not there"


@pytest.mark.skipif(sys.platform == "win32", reason="the scripts are for POSIX shells")
@pytest.mark.parametrize("script", ["demo", "docs", "gpu", "gpu-train", "release", "test"])
def test_a_script_says_how_it_is_used(script: str) -> None:
    done = subprocess.run([ROOT / "scripts" / script, "-h"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: scripts/{script}")


def test_training_on_a_gpu_needs_to_know_on_what() -> None:
    done = subprocess.run([ROOT / "scripts" / "gpu-train", "weights"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: scripts/gpu-train WEIGHTS OUT PHOTOS")
