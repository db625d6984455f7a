"""The core gives the same bits however it is compiled, on every unit of the processor, with any number of threads."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import native_builds
import native_program
import pytest
from native_builds import NATIVE, built, installed

from vqcodec.native.library import load, units

#: where the memory of a program begins in WebAssembly, and 2^16 times that where it is emulated
BASE = 1 << 20


@pytest.fixture(autouse=True)
def _any_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VQCODEC_UNIT", raising=False)


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    return native_program.digests(installed(), 1)


def without_workspace(digests: dict[str, Any]) -> dict[str, Any]:
    """But for what vq_plan returns, as every thread takes memory of its own."""
    return digests | {"results": digests["results"][1:]}


@pytest.mark.parametrize("threads", [1, 2, 4, 100])
def test_units_and_threads_change_nothing(threads: int, expected: dict[str, Any]) -> None:
    library = installed()
    best = library.vq_unit()
    try:
        for unit in units(library):
            assert library.vq_unit_choose(unit.encode()) == 0
            made = native_program.digests(library, threads)
            assert without_workspace(made) == without_workspace(expected), unit
    finally:
        library.vq_unit_choose(best)


@pytest.mark.parametrize("name", NATIVE)
def test_compilers_change_nothing(
    name: str, expected: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    library = load(built(name, tmp_path_factory))
    for unit in units(library):
        library.vq_unit_choose(unit.encode())
        assert native_program.digests(library, 1) == expected, unit
    assert units(library) == (["scalar"] if name == "scalar" else units(installed()))


def test_webassembly_gives_the_same(
    expected: dict[str, Any], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    module, text = built("wasm", tmp_path_factory), tmp_path / "program.json"
    text.write_text(native_program.everything(installed(), 1, BASE, pointer_bytes=4).for_wasm(tmp_path / "image"))
    command = ["node", str(Path(__file__).with_name("run_wasm.mjs")), str(module), str(text)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == expected


@pytest.mark.parametrize("threads", [1, 3])
def test_neon_gives_the_same(
    threads: int, expected: dict[str, Any], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    runner, image, calls = built("neon", tmp_path_factory), tmp_path / "image", tmp_path / "calls"
    program = native_program.everything(installed(), threads, BASE << 16)
    calls.write_text(program.for_emulator(image))
    command = ["qemu-aarch64", str(runner), str(image), str(calls)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert without_workspace(program.from_emulator(image, done.stdout)) == without_workspace(expected)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere sanitizers are loaded in other ways")
@pytest.mark.parametrize(
    ("name", "runtime", "threads"),
    [("sanitized", "libasan.so", 1), ("sanitized", "libasan.so", 3), ("races", "libtsan.so", 4)],
)
def test_sanitizers_find_nothing(
    name: str, runtime: str, threads: int, expected: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    library = built(name, tmp_path_factory)
    found = subprocess.run(["gcc", f"-print-file-name={runtime}"], capture_output=True, text=True, check=True)
    variables = {"LD_PRELOAD": found.stdout.strip(), "ASAN_OPTIONS": "detect_leaks=0", "PYTHONMALLOC": "malloc"}
    command = [sys.executable, native_program.__file__, str(library), str(threads)]
    done = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, check=False)
    if "unexpected memory mapping" in done.stderr:
        pytest.skip("ThreadSanitizer cannot have the memory that it needs on this system")
    assert (done.returncode, done.stderr) == (0, "")
    assert without_workspace(json.loads(done.stdout)) == without_workspace(expected)


@pytest.mark.parametrize("name", ["installed", "clang", "gcc, reckless", "clang, reckless"])
def test_no_build_multiplies_and_adds_at_once(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    if shutil.which("objdump") is None:
        pytest.skip("no objdump")
    installed()
    file = native_builds.library._FILE if name == "installed" else built(name, tmp_path_factory)
    code = subprocess.run(["objdump", "-d", str(file)], capture_output=True, text=True, check=True).stdout
    assert re.search(r"\b(v?mulps|fmul)\b", code), "nothing that objdump can read"
    assert not re.search(r"\b(vfn?m(add|sub)\w*|fn?m(add|sub|la|ls))\b", code)
    assert "set_fast_math" not in code
    assert not re.search(r"\bv?(rsqrt|rcp)(14|28)?[sp][sd]\b|\bfr(sqrt|ecp)[es]\b", code)
