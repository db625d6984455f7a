"""The core, compiled in other ways than the installed one was. A build is made once for a run of the tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from vqcodec.native import library

ROOT = Path(__file__).parent.parent.parent
SOURCES = sorted((ROOT / "core").glob("*.c"))
_NATIVE = ("-std=c11", "-ffp-contract=off", "-fno-math-errno", "-Wno-psabi", "-pthread", "-shared", "-fPIC")
#: name -> compiler and flags
_COMMANDS = {
    # as slow and plain as can be: no vectors, nothing optimised
    "scalar": ("gcc", "-O0", "-DVQ_SCALAR", *_NATIVE),
    "sanitized": ("gcc", "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover", *_NATIVE),
    "races": ("gcc", "-O1", "-g", "-fsanitize=thread", *_NATIVE),
    "wasm": (
        *("clang", "--target=wasm32", "-std=c11", "-O3", "-msimd128", "-ffp-contract=off", "-fno-math-errno"),
        *("-nostdlib", "-Wl,--no-entry", "-Wl,--stack-first", "-Wl,-z,stack-size=262144"),
    ),
    # a program with its own `main`, for qemu
    "neon": ("aarch64-linux-gnu-gcc", "-O3", *_NATIVE[:-2], "-static", str(ROOT / "tests" / "native" / "run_image.c")),
}
#: name -> (CC, CFLAGS) for setup.py, which has its own flags
_BY_SETUP = {
    "clang": ("clang", ""),
    "gcc, reckless": ("gcc", "-Ofast -ffast-math -march=native -fassociative-math -ffinite-math-only -flto"),
    "clang, reckless": ("clang", "-Ofast -ffast-math -march=native -fassociative-math -ffinite-math-only -flto"),
}
_ALSO_NEEDED = {"wasm": ("wasm-ld", "node"), "neon": ("qemu-aarch64",)}
NATIVE = ["scalar", *_BY_SETUP]


def installed() -> library.Library:
    """The core that was built with the installation, or the test is skipped."""
    if not library._FILE.exists():
        pytest.skip("the core was not built")
    return library.load(library._FILE)


def built(name: str, factory: pytest.TempPathFactory) -> Path:
    """The library of a build; the test is skipped where a tool is missing."""
    compiler = (_BY_SETUP.get(name) or _COMMANDS[name])[0]
    for tool in (compiler, *_ALSO_NEEDED.get(name, ())):
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool}")
    base = factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base  # what all workers have
    file = shared / "core" / f"{name.replace(', ', '-')}.so"
    if not file.exists():
        file.parent.mkdir(exist_ok=True)
        fresh = factory.mktemp("build")
        os.replace(_setup(name, fresh) if name in _BY_SETUP else _compile(name, fresh / "core"), file)
    return file


def _compile(name: str, to: Path) -> Path:
    return _run([*_COMMANDS[name], *map(str, SOURCES), "-o", str(to)], {}) or to


def _setup(name: str, folder: Path) -> Path:
    cc, flags = _BY_SETUP[name]
    command = [sys.executable, "setup.py", "-q", "build_ext", "--build-lib", folder, "--build-temp", folder / "objects"]
    _run([str(part) for part in command], {"CC": cc, "CFLAGS": flags})
    return folder / "vqcodec" / "native" / "_core.so"


def _run(command: list[str], variables: dict[str, str]) -> None:
    done = subprocess.run(command, cwd=ROOT, env=os.environ | variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
