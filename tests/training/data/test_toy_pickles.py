"""Pickles of CIFAR-10: read as their authors wrote them, and nothing that they name is run."""

from __future__ import annotations

import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_helpers import cifar_content, few_examples, python2_pickle, small_photos
from hypothesis import given
from hypothesis import strategies as st

from vqcodec.training.data.pictures import PictureSet
from vqcodec.training.data.toy_pickles import read_cifar_pickle
from vqcodec.training.data.types import DataError

PIXELS, NUMBERS = small_photos(3, 0)
CONTENT = cifar_content(PIXELS, NUMBERS)
GENUINE = python2_pickle(CONTENT)


class Calls:
    """An object whose pickle calls `function(*arguments)` when it is read."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def refused(content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=rf"^batch: not a readable batch of CIFAR-10 \([^\n]*{message}[^\n]*; download"):
        read_cifar_pickle(content, "batch")


@pytest.mark.parametrize(
    "content",
    [
        GENUINE,
        *(pickle.dumps(CONTENT, protocol) for protocol in (3, 4)),
        pickle.dumps({key.decode(): value for key, value in CONTENT.items()}, 4),
        python2_pickle(CONTENT | {b"data": np.asfortranarray(CONTENT[b"data"])}),
    ],
    ids=["python 2", "protocol 3", "protocol 4", "text keys", "Fortran's order"],
)
def test_a_batch_as_python_2_and_as_python_3_write_it(content: bytes) -> None:
    planes, numbers = read_cifar_pickle(content, "batch")
    assert np.array_equal(planes.transpose(0, 2, 3, 1), PIXELS)
    assert np.array_equal(numbers, NUMBERS)


def test_the_genuine_form_names_what_python_2_named() -> None:
    assert GENUINE.startswith(b"\x80\x02}")
    assert b"cnumpy.core.multiarray\n_reconstruct\n" in GENUINE
    assert b"_codecs" not in GENUINE


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_a_malicious_pickle_runs_nothing(tmp_path: Path, protocol: int) -> None:
    mark = tmp_path / "was here"
    content = CONTENT | {b"data": Calls(os.mkdir, str(mark))}
    malicious = pickle.dumps(content, protocol)
    (tmp_path / "data_batch_1").write_bytes(malicious)
    refused(malicious, r"it asks for (_codecs\.encode|\w+\.mkdir), and only numpy arrays are allowed")
    with pytest.raises(DataError, match="data_batch_1: not a readable batch of CIFAR-10"):
        PictureSet([tmp_path])
    assert not mark.exists()
    pickle.loads(malicious)  # the trap works
    assert mark.exists()


@pytest.mark.parametrize(
    "function",
    [eval, exec, getattr, np.load, np.frombuffer, pickle.loads, bytearray, os.system],
    ids=lambda function: function.__name__,
)
def test_only_the_three_names_of_an_array_are_known(function: Any) -> None:
    refused(pickle.dumps(CONTENT | {b"data": Calls(function, 1)}, 4), "and only numpy arrays are allowed")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x80\x04" + pickle.BYTEARRAY8 + struct.pack("<Q", 2**40) + b".", "bytearray8"),
        (b"\x80\x02P1\n.", "opcode PERSID"),
        (b"\x80\x02(cnumpy\nndarray\no.", "opcode OBJ"),
        (b"\x80\x02" + pickle.EXT1 + b"\x01.", "opcode EXT1"),
        (b"\x80\x02}" + pickle.LONG_BINPUT + struct.pack("<I", 2**32 - 1) + b".", "at place 4294967295"),
        (b"\x80\x04" + pickle.BINBYTES8 + struct.pack("<Q", 2**40) + b"x.", "bytes"),
        # BUILD on a stand-in itself would change it for all that follow
        (b"\x80\x02cnumpy\nndarray\n}b.", "__setstate__"),
        (b"\x80\x02cnumpy\nndarray\n" + pickle.EMPTY_TUPLE + b"R.", "_Array in the place of a dictionary"),
    ],
    ids=["bytearray", "persistent", "object", "registered", "memo", "length", "stand-in", "bare array"],
)
def test_opcodes_that_a_batch_has_no_need_for(content: bytes, message: str) -> None:
    refused(content, message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({b"data": None}, "no entry 'data'"),
        ({b"labels": None}, "no entry 'labels'"),
        ({b"data": b"bytes"}, "its data is no numpy array"),
        ({b"data": np.zeros((3, 3072), np.float32)}, "no array of bytes"),
        ({b"data": np.zeros((3, 3071), np.uint8)}, r"is 9213 bytes of shape \(3, 3071\)"),
        ({b"data": np.zeros(3072, np.uint8)}, r"of shape \(3072,\)"),
        ({b"data": np.zeros((0, 3072), np.uint8)}, r"of shape \(0, 3072\)"),
        ({b"data": np.array([[None] * 3072])}, "no array of bytes"),
        ({b"labels": [1, 2, 300]}, "its labels are no list of numbers"),
        ({b"labels": [1, 2, True]}, "its labels are no list of numbers"),
        ({b"labels": b"123"}, "its labels are no list of numbers"),
    ],
)
def test_a_batch_of_something_else(change: dict[bytes, Any], message: str) -> None:
    refused(pickle.dumps(CONTENT | change, 4), message)


def test_a_pickle_of_something_else() -> None:
    refused(pickle.dumps([1, 2], 4), "a list in the place of a dictionary")
    refused(b"", "pickle exhausted")
    refused(b"<html>", "")


def test_an_array_whose_bytes_are_fewer_than_its_shape_claims() -> None:
    content = pickle.dumps(CONTENT | {b"data": np.zeros((200, 3072), np.uint8)}, 4)
    claim = pickle.BININT1 + bytes([200]) + pickle.BININT2 + struct.pack("<H", 3072)
    assert content.count(claim) == 1
    refused(content.replace(claim, pickle.BININT1 + bytes([201]) + claim[2:]), r"614400 bytes of shape \(201, 3072\)")


@few_examples
@given(st.data())
def test_a_damaged_batch_is_read_or_refused_in_one_line(data: st.DataObject) -> None:
    content = bytearray(GENUINE)
    first_pixel = content.index(CONTENT[b"data"].tobytes())
    for _ in range(data.draw(st.integers(0, 3))):
        place = data.draw(st.integers(0, first_pixel) | st.integers(first_pixel + CONTENT[b"data"].size, len(content)))
        content[place % len(content)] = data.draw(st.integers(0, 255))
    damaged = bytes(content[: data.draw(st.just(len(content)) | st.integers(0, len(content)))])
    try:
        planes, _ = read_cifar_pickle(damaged, "batch")
    except DataError:
        refused(damaged, "")
    else:
        assert planes.shape[1:] == (3, 32, 32)
