"""Pickles of CIFAR-10 (its "python version"), read without running anything that they name.

A pickle is a program. This one may only put numbers, strings, lists, dictionaries and numpy's byte arrays together; in
the place of numpy's own functions stand inert records, which keep what they are given and are looked at afterwards.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vqcodec.training.data.types import DataError

__all__ = ["read_cifar_pickle"]

#: colour planes, rows and columns of one picture
_PICTURE_BYTES = 3 * 32 * 32

# Left out: persistent and registered objects, calls in other ways than REDUCE, what allocates before it reads, and the
# text of protocol 0.
_ALLOWED = """
PROTO FRAME STOP MARK NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT
BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINBYTES8 BINUNICODE SHORT_BINUNICODE
EMPTY_DICT SETITEM SETITEMS EMPTY_LIST APPEND APPENDS EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3
BINPUT LONG_BINPUT MEMOIZE BINGET LONG_BINGET GLOBAL STACK_GLOBAL REDUCE BUILD
"""
_OPCODES = frozenset(_ALLOWED.split())


class _Record:
    """What stands in a pickle for numpy's object: the arguments it was called with, and its state."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Array(_Record):
    """State: version, shape, dtype, whether in Fortran's order, bytes."""


class _DType(_Record):
    """First argument: its code, as in "u1"."""


_STAND_INS = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _DType,
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,  # since numpy 2
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type[_Record]:
        stand_in = _STAND_INS.get((module, name))
        if stand_in is None:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, and only numpy arrays are allowed")
        return stand_in


def read_cifar_pickle(content: bytes, name: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Pictures (N, 3, 32, 32) and labels (N,), 0..255, from the content of a pickle called `name`.

    Nothing that the pickle names is imported or called. Raises DataError when it is damaged, or holds anything else.
    """
    try:
        _check_opcodes(content)
        found = _Unpickler(io.BytesIO(content), encoding="bytes").load()
        return _pictures(found), _labels(found)
    except Exception as error:  # a damaged pickle can make the reader raise whatever there is
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{name}: not a readable batch of CIFAR-10 ({reason}); download it again") from error


def _check_opcodes(content: bytes) -> None:
    """Every opcode is a known one, its bytes are there, and no place in the memo asks for a table of gigabytes."""
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name not in _OPCODES:
            raise pickle.UnpicklingError(f"it holds the opcode {opcode.name}, which no batch of CIFAR-10 needs")
        if opcode.name == "LONG_BINPUT" and isinstance(argument, int) and argument > len(content):
            raise pickle.UnpicklingError(f"it memorises an object at place {argument}")


def _entry(found: Any, key: str) -> Any:
    """`found[key]`; Python 2 wrote bytes as keys, a program of today may have written strings."""
    if not isinstance(found, dict):
        raise ValueError(f"a {type(found).__name__} in the place of a dictionary")
    value = found.get(key.encode(), found.get(key))
    if value is None:
        raise ValueError(f"no entry {key!r}")
    return value


def _pictures(found: Any) -> NDArray[np.uint8]:
    array = _entry(found, "data")
    if not isinstance(array, _Array) or array.state is None:
        raise ValueError("its data is no numpy array")
    _, shape, dtype, is_fortran, content = array.state
    if not isinstance(dtype, _DType) or dtype.arguments[:1] not in ((b"u1",), ("u1",)):
        raise ValueError("its data is no array of bytes")
    if len(shape) != 2 or shape[0] < 1 or shape[1] != _PICTURE_BYTES or math.prod(shape) != len(content):
        raise ValueError(f"its data is {len(content)} bytes of shape {shape}, not N pictures of {_PICTURE_BYTES} bytes")
    rows = np.frombuffer(content, np.uint8).reshape(shape, order="F" if is_fortran else "C")
    return rows.reshape(-1, 3, 32, 32)


def _labels(found: Any) -> NDArray[np.uint8]:
    labels = _entry(found, "labels")
    if not isinstance(labels, list) or not all(type(label) is int and 0 <= label <= 255 for label in labels):
        raise ValueError("its labels are no list of numbers")
    return np.array(labels, dtype=np.uint8)
