"""Finds and loads the core in C, and says which one computes. Imports no torch.

`VQCODEC_CORE`: "auto" (the default) takes the core where it was built, "native" raises CoreError where it was not,
"torch" never takes it: numpy and torch compute then. `VQCODEC_UNIT` names the unit of the processor ("avx2", say);
`VQCODEC_THREADS` how many threads the core takes, by default as many as the process has processors, or OMP_NUM_THREADS.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import POINTER, c_char_p, c_float, c_int32, c_int64, c_void_p
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, TypeAlias

Library: TypeAlias = ctypes.CDLL

#: VQ_CORE_VERSION of core/vqcore.h
_VERSION: Final = 4
#: MOST_THREADS of core/team.h
_MOST_THREADS: Final = 64
_FILE: Final = Path(__file__).with_name("_core.so")
_CHOICES: Final = ("auto", "native", "torch")


class CoreError(RuntimeError):
    """The core in C was asked for and cannot be had, or the variables that choose it have wrong values."""


class Grid(ctypes.Structure):
    """`Grid` of core/vqcore.h: (rows, cols, channels), `stride` floats a position."""

    _fields_ = (
        ("rows", c_int32),
        ("cols", c_int32),
        ("channels", c_int32),
        ("stride", c_int32),
        ("values", c_void_p),
    )


class Layer(ctypes.Structure):
    """`Layer` of core/vqcore.h."""

    _fields_ = (
        ("kind", c_int32),
        ("source", c_int32),
        ("second", c_int32),
        ("to", c_int32),
        ("inputs", c_int32),
        ("outputs", c_int32),
        ("factor", c_int32),
        ("lap", c_int32),
        ("flags", c_int32),
        ("unused", c_int32),
        ("weight", c_int64),
        ("bias", c_int64),
        ("gain", c_int64),
        ("shift", c_int64),
    )


class Level(ctypes.Structure):
    """`Level` of core/vqcore.h."""

    _fields_ = (
        ("codes", c_int32),
        ("dimension", c_int32),
        ("channels", c_int32),
        ("lookup", c_int32),
        ("inverse_deviation", c_float),
        ("lift", c_float),
        ("project", c_void_p),
        ("bias", c_void_p),
        ("mean", c_void_p),
        ("code_vectors", c_void_p),
        ("table", c_void_p),
    )


_FLOATS, _INTS, _BYTES = c_void_p, c_void_p, c_void_p
_SIGNATURES: Final[dict[str, tuple[Any, list[Any]]]] = {
    "vq_core_version": (c_int32, []),
    "vq_unit": (c_char_p, []),
    "vq_unit_name": (c_char_p, [c_int32]),
    "vq_unit_choose": (c_int32, [c_char_p]),
    "vq_packed_size": (c_int64, [POINTER(Layer)]),
    "vq_pack": (None, [POINTER(Layer), _FLOATS, _FLOATS]),
    "vq_plan": (c_int64, [POINTER(Layer), c_int32, POINTER(Grid), POINTER(c_int64), c_int32]),
    "vq_run": (c_int32, [POINTER(Layer), c_int32, _FLOATS, POINTER(Grid), _FLOATS, c_int32]),
    "vq_from_pixels": (None, [_BYTES, *[c_int32] * 5, POINTER(Grid)]),
    "vq_to_pixels": (None, [POINTER(Grid), *[c_int32] * 4, _BYTES, c_int32]),
    "vq_tokens": (c_int32, [POINTER(Level), POINTER(Grid), _INTS, c_int32]),
    "vq_distances": (c_int32, [POINTER(Level), POINTER(Grid), _FLOATS, c_int32]),
    "vq_add_codes": (None, [POINTER(Level), _INTS, c_int32, POINTER(Grid), c_int32]),
}


def core() -> Library | None:
    """The core where it is to be used, else None. Raises CoreError."""
    choice = os.environ.get("VQCODEC_CORE", "auto")
    if choice not in _CHOICES:
        raise CoreError(f"VQCODEC_CORE={choice}: take one of {', '.join(_CHOICES)}")
    if choice == "torch":
        return None
    library = _loaded()
    if library is None and choice == "native":
        raise CoreError(f"VQCODEC_CORE=native, but {missing()}")
    return library


def missing() -> str | None:
    """Why the core cannot be used, or None where it can."""
    if not _FILE.exists():
        return "the core in C was not built: install a C compiler (gcc or clang), then vqcodec again"
    return None if _loaded() is not None else f"{_FILE} does not load or is of another version: install vqcodec again"


def unit() -> str:
    """The unit of the processor that the core uses, "avx2", say. Raises CoreError where there is no core."""
    library = core()
    if library is None:
        raise CoreError(missing() or "VQCODEC_CORE=torch")
    name: bytes = library.vq_unit()
    return name.decode()


def units(library: Library) -> list[str]:
    """Those that this processor has, best first."""
    names: list[str] = []
    while name := library.vq_unit_name(len(names)):
        names.append(name.decode())
    return names


_wanted_threads: int | None = None


def use_threads(count: int | None) -> None:
    """Let the core take so many threads in this process, whatever the variables say; None for what they say."""
    global _wanted_threads
    _wanted_threads = count


@contextmanager
def threads_among(calls: int) -> Iterator[None]:
    """While it is open, so many calls at a time share the threads that one would take."""
    before = _wanted_threads
    use_threads(max(1, thread_count() // calls))
    try:
        yield
    finally:
        use_threads(before)


def thread_count() -> int:
    """How many threads the core takes, 1 to 64. Raises CoreError."""
    if _wanted_threads:
        return min(_wanted_threads, _MOST_THREADS)
    name = "VQCODEC_THREADS" if os.environ.get("VQCODEC_THREADS") else "OMP_NUM_THREADS"
    value = os.environ.get(name, "").split(",")[0].strip()
    if value and not (value.isdecimal() and int(value)):
        raise CoreError(f"{name}={value}: take a number of threads above 0")
    if value:
        return min(int(value), _MOST_THREADS)
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(processors, _MOST_THREADS)


@lru_cache(maxsize=1)
def _loaded() -> Library | None:
    try:
        return load(_FILE)
    except OSError:
        return None


def load(file: Path) -> Library:
    """A built core. Raises OSError for a file that is none or another version, CoreError for a wrong VQCODEC_UNIT."""
    library = ctypes.CDLL(str(file))
    if not hasattr(library, "vq_core_version") or library.vq_core_version() != _VERSION:
        raise OSError(f"{file} is of another version")
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    wanted = os.environ.get("VQCODEC_UNIT")
    if wanted and library.vq_unit_choose(wanted.encode()):
        raise CoreError(f"VQCODEC_UNIT={wanted}: this processor has {', '.join(units(library))}")
    return library
