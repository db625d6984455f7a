"""What the wheel holds, and that it works where only the wheel is."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

import vqcodec
from vqcodec.cards.finding import DEFAULT_MODEL

ROOT = Path(__file__).parent.parent
#: root folder -> where the wheel has it; the order is that of longest match
PLACES = {
    "vqcodec": "vqcodec",
    "bitstream": "vqcodec/bitstream",
    "cli": "vqcodec/cli",
    "benchmarks": "vqcodec/benchmarks",
}
#: below these roots, but for use in a checkout only
NOT_SHIPPED = {ROOT / "benchmarks" / "hot"}
#: what grows in a checkout and is no part of it
LITTER = shutil.ignore_patterns(
    ".git",
    ".venv",
    ".*_cache",
    ".hypothesis",
    "__pycache__",
    "*.egg-info",
    "*.so",
    "build",
    "dist",
    "man",
    "runs",
    "demo-output",
    "site",
)


def modules(folder: str) -> list[Path]:
    """The modules below a root folder that are in the wheel."""
    return [path for path in (ROOT / folder).rglob("*.py") if path.parent not in NOT_SHIPPED]


def run(*command: str | Path, cwd: Path, **variables: str) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy, so that the checkout stays clean."""
    return shutil.copytree(ROOT, tmp_path_factory.mktemp("packaging") / "checkout", ignore=LITTER, symlinks=True)


def build(kind: str, checkout: Path) -> Path:
    """A wheel or an sdist, built offline."""
    folder = checkout.parent / kind
    run(sys.executable, "-m", "build", f"--{kind}", "--no-isolation", "--outdir", folder, cwd=checkout)
    [built] = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def wheel(checkout: Path) -> Path:
    return build("wheel", checkout)


@pytest.fixture(scope="module")
def sdist(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Without the priors that make pictures up, of which it would be twice as large."""
    small = tmp_path_factory.mktemp("small") / "checkout"
    return build("sdist", shutil.copytree(checkout, small, ignore=shutil.ignore_patterns("prior-*"), symlinks=True))


def has_compiler() -> bool:
    return sys.platform != "win32" and any(shutil.which(name) for name in (os.environ.get("CC", "cc"), "gcc", "clang"))


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if not name.endswith("/")}


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> dict[str, str]:
    """The dist-info files by name."""
    with zipfile.ZipFile(wheel) as archive:
        return {
            name.partition(".dist-info/")[2]: archive.read(name).decode()
            for name in archive.namelist()
            if ".dist-info/" in name
        }


def test_every_package_folder_is_listed(project: dict[str, Any]) -> None:
    found = set()
    for folder, place in PLACES.items():
        for init in (ROOT / folder).rglob("__init__.py"):
            found.add(".".join((PurePosixPath(place) / init.parent.relative_to(ROOT / folder).as_posix()).parts))
        for module in modules(folder):
            assert (module.parent / "__init__.py").exists(), f"{module.parent} has modules and no __init__.py"
    assert found == set(project["tool"]["setuptools"]["packages"])


def test_the_type_checker_sees_every_root_folder() -> None:
    links = {link.name: link.resolve() for link in (ROOT / "scripts" / "typing" / "vqcodec").iterdir()}
    assert links == {folder: ROOT / folder for folder in PLACES if folder != "vqcodec"}


def test_the_wheel_has_the_name_of_its_version_and_is_for_every_python(wheel: Path, names: set[str]) -> None:
    version, python, abi, platform = wheel.stem.removeprefix("vqcodec-").split("-")
    assert (version, python, abi) == (vqcodec.__version__, "py3", "none")
    assert ("vqcodec/native/_core.so" in names) == has_compiler() == (platform != "any")


def test_the_wheel_holds_what_the_checkout_says_and_nothing_else(wheel: Path, names: set[str], tmp_path: Path) -> None:
    check = (sys.executable, ROOT / "scripts" / "wheel_contents.py")
    run(*check, wheel, ROOT, cwd=ROOT)
    assert {"vqcodec/py.typed", "vqcodec/cli/main.py", "vqcodec/benchmarks/pages/templates/report.html"} <= names
    damaged = shutil.copy(wheel, tmp_path)
    with zipfile.ZipFile(damaged, "a") as archive:
        archive.writestr("vqcodec/benchmarks/hot/bench.py", "")
    done = subprocess.run([*map(str, check), damaged, ROOT], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "not expected: vqcodec/benchmarks/hot/bench.py\n")


def test_the_wheel_holds_a_model_with_its_prior(names: set[str]) -> None:
    models = {"/".join(name.split("/")[:3]) for name in names if name.startswith("vqcodec/pretrained/")}
    assert models
    for folder in models:
        files = ("card.json", "stage1.safetensors", "prior/prior.json", "prior/prior.safetensors")
        assert {f"{folder}/{file}" for file in files} <= names


def test_the_source_distribution_holds_the_core(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    sources = {f"core/{path.name}" for path in (ROOT / "core").iterdir()}
    assert {"setup.py", "pyproject.toml", *sources} <= names
    assert not {name for name in names if name.endswith((".o", ".so")) or name.startswith("tests/")}


def test_the_wheel_names_its_licence_and_its_command(metadata: dict[str, str]) -> None:
    assert metadata["licenses/LICENSE"] == (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "License-Expression: MIT" in metadata["METADATA"]
    assert re.search(r"^vqcodec\s*=\s*vqcodec\.cli\.main:main$", metadata["entry_points.txt"], re.MULTILINE)


def test_requirements_leave_torch_uncapped_and_the_core_small(project: dict[str, Any]) -> None:
    core = {re.split(r"[^\w-]", requirement)[0]: requirement for requirement in project["project"]["dependencies"]}
    assert core["torch"] == "torch>=2.6"
    known = {
        "torch",
        "numpy",
        "pillow",
        "simplejpeg",
        "constriction",
        "safetensors",
        "zstandard",
        "click",
        "tqdm",
        "jinja2",
        "threadpoolctl",
    }
    assert set(core) == known
    assert {"train", "bench", "gpu", "dev"} <= set(project["project"]["optional-dependencies"])


def install(target: Path, file: Path, *options: str | Path, **variables: str) -> None:
    pip: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--no-deps",
        "--no-index",
        "--no-compile",
        "--quiet",
        *options,
    ]
    run(*pip, "--disable-pip-version-check", "--target", target, file, cwd=target.parent, **variables)


def test_the_installed_wheel_works_by_itself(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "installed"
    install(target, wheel)
    program = (
        f"import sys; sys.path.insert(0, {str(target)!r})\n"
        "import vqcodec.bitstream, vqcodec.cli, vqcodec.benchmarks, vqcodec.cards.model_card\n"
        "from vqcodec.native.library import core\n"
        "for module in (vqcodec, vqcodec.bitstream, vqcodec.cli, vqcodec.benchmarks):\n"
        "    print(module.__file__)\n"
        "print([model.card.name for model in vqcodec.installed_models()])\n"
        "print(core() is not None)\n"
    )
    *files, models, has_core = run(sys.executable, "-c", program, cwd=tmp_path, VQCODEC_CORE="auto").splitlines()
    assert all(Path(file).is_relative_to(target) for file in files)
    assert DEFAULT_MODEL in models
    assert "photo-5" in models  # whose streams are promised to be read
    assert has_core == str(has_compiler())


@pytest.mark.skipif(sys.platform == "win32", reason="CC is for others")
def test_without_a_compiler_it_installs_and_works(sdist: Path, tmp_path: Path) -> None:
    target = tmp_path / "installed"
    log = tmp_path / "log"
    install(target, sdist, "--no-build-isolation", "--log", log, CC="/bin/false")
    said = log.read_text(encoding="utf-8")
    assert re.search(r"vqcodec: the core in C was not built \(.+\): numpy and torch compute in its place", said)
    assert not list(target.rglob("*.so"))
    program = (
        f"import sys; sys.path.insert(0, {str(target)!r})\n"
        "import numpy as np\n"
        "from vqcodec import Codec\n"
        "from vqcodec.native import library\n"
        "codec = Codec.load()\n"
        "picture = np.full((40, 50, 3), 128, np.uint8)\n"
        "print(library.core(), library.missing())\n"
        "print(codec.decode(codec.encode(picture)).size)\n"
    )
    without, size = run(sys.executable, "-c", program, cwd=tmp_path, VQCODEC_CORE="auto").splitlines()
    assert without.startswith("None the core in C was not built: install a C compiler (gcc or clang)")
    assert size == "(50, 40)"


def test_an_editable_build_leaves_no_library_of_other_sources(checkout: Path) -> None:
    stale = checkout / "vqcodec" / "native" / "_core.so"
    stale.write_bytes(b"of other sources")
    run(sys.executable, "setup.py", "-q", "build_ext", "--inplace", cwd=checkout, CC="/bin/false")
    assert not stale.exists()
