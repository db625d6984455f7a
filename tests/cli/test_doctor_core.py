"""What vqcodec doctor says of the core in C."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_helpers import vqcodec
from native_builds import installed as built_core

from vqcodec.cards import finding
from vqcodec.native import library


@pytest.fixture(autouse=True)
def _fresh(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The tiny model alone, no variables, and a core that is loaded anew."""
    monkeypatch.setattr(finding, "_EMBEDDED", tmp_path / "nothing-embedded")
    monkeypatch.setenv("VQCODEC_MODELS", str(tiny_model.parent))
    for name in ("VQCODEC_CORE", "VQCODEC_UNIT", "VQCODEC_THREADS"):
        monkeypatch.delenv(name, raising=False)
    library._loaded.cache_clear()
    yield
    library._loaded.cache_clear()


def row() -> str:
    """Of the core."""
    result = vqcodec("doctor")
    assert (result.exit_code, result.stderr) == (0, "")
    [line] = [line for line in result.stdout.splitlines() if line.startswith("core ")]
    return line.removeprefix("core").strip()


def error() -> str:
    result = vqcodec("doctor")
    assert result.exit_code == 1
    [line] = result.stderr.splitlines()
    return line


def test_the_core_with_its_unit_and_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    unit = built_core().vq_unit().decode()
    monkeypatch.setenv("VQCODEC_THREADS", "3")
    assert row() == f"native, {unit}, 3 threads"
    monkeypatch.setenv("VQCODEC_THREADS", "1")
    assert row() == f"native, {unit}, 1 thread"
    monkeypatch.setenv("VQCODEC_THREADS", "1000")
    assert row() == f"native, {unit}, 64 threads"
    monkeypatch.delenv("VQCODEC_THREADS")
    monkeypatch.setenv("OMP_NUM_THREADS", "2,1")
    assert row() == f"native, {unit}, 2 threads"


def test_what_a_compiler_would_bring(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(library, "_FILE", tmp_path / "_core.so")
    assert row().startswith("torch and numpy: the core in C was not built: install a C compiler (gcc or clang)")
    monkeypatch.setenv("VQCODEC_CORE", "native")
    assert error().startswith("error: VQCODEC_CORE=native, but the core in C was not built: install a C compiler")


def test_a_file_that_is_no_core(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(library, "_FILE", tmp_path / "_core.so")
    (tmp_path / "_core.so").write_bytes(b"none")
    assert (
        row() == f"torch and numpy: {tmp_path}/_core.so does not load or is of another version: install vqcodec again"
    )


def test_a_core_that_is_not_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    built_core()
    monkeypatch.setenv("VQCODEC_CORE", "torch")
    assert row() == "torch and numpy: VQCODEC_CORE=torch"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("VQCODEC_CORE", "fortran", "VQCODEC_CORE=fortran: take one of auto, native, torch"),
        ("VQCODEC_UNIT", "avx1024", "VQCODEC_UNIT=avx1024: this processor has "),
        ("VQCODEC_THREADS", "many", "VQCODEC_THREADS=many: take a number of threads above 0"),
        ("VQCODEC_THREADS", "0", "VQCODEC_THREADS=0: take a number of threads above 0"),
        ("OMP_NUM_THREADS", "-1", "OMP_NUM_THREADS=-1: take a number of threads above 0"),
    ],
)
def test_a_wrong_value_is_one_line(name: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    built_core()
    monkeypatch.setenv(name, value)
    assert error().startswith(f"error: {message}")
