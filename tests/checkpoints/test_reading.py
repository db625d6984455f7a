"""Checkpoint files are read as data: both layouts of torch.save and safetensors, trainers' objects, hostile files."""

from __future__ import annotations

import argparse
import collections
import io
import json
import os
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from vqcodec.checkpoints.errors import ForeignCheckpointError
from vqcodec.checkpoints.reading import read_checkpoint

TENSORS = {
    "turned": torch.arange(6.0).view(2, 3).t(),
    "half": torch.tensor([1.5, -2.0]).half(),
    "bfloat": torch.tensor([1.5, -2.0]).bfloat16(),
    "number": torch.tensor(3),
    "parameter": torch.nn.Parameter(torch.ones(2, 2)),
    "view": torch.arange(10.0)[2:5],
}


class Command:
    """Unpickled, it would write a file: the sign that something was run."""

    def __init__(self, sign: Path) -> None:
        self.sign = sign

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.sign}",)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("place", ["", "state_dict", "model"])
def test_tensors_of_both_layouts_are_read(zipped: bool, place: str, tmp_path: Path) -> None:
    content = {place: TENSORS, "epoch": 3, "optimizer": {"state": [torch.ones(7)]}} if place else TENSORS
    torch.save(content, tmp_path / "a.ckpt", _use_new_zipfile_serialization=zipped)
    found = read_checkpoint(tmp_path / "a.ckpt").tensors
    assert found.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert found[name].shape == tuple(tensor.shape)
        wanted = tensor.detach().float() if tensor.is_floating_point() else tensor
        assert torch.equal(found[name].read(), wanted), name


def test_safetensors_are_read_whatever_their_name(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2, 3), "b": torch.ones(2).bfloat16()}, tmp_path / "a.bin")
    found = read_checkpoint(tmp_path / "a.bin").tensors
    assert torch.equal(found["a"].read(), torch.ones(2, 3))
    assert found["b"].read().dtype == torch.float32


def test_averaged_weights_in_a_dict_of_their_own(tmp_path: Path) -> None:
    torch.save({"model": {"a": torch.zeros(1)}, "ema": {"a": torch.ones(1)}}, tmp_path / "a.pt")
    found = read_checkpoint(tmp_path / "a.pt")
    assert found.averaged is not None
    assert (float(found.tensors["a"].read()), float(found.averaged["a"].read())) == (0, 1)


def test_objects_of_trainers_are_passed_by(tmp_path: Path) -> None:
    beside = {
        "args": argparse.Namespace(path=Path("a"), rate=0.1),
        "counts": collections.defaultdict(list, {"a": [1]}),
        "order": collections.OrderedDict(a=1),
        "numpy": __import__("numpy").float64(2.5),
        "sizes": torch.Size([1, 2]),
    }
    torch.save({"state_dict": {"a": torch.ones(2)}, **beside}, tmp_path / "a.ckpt")
    assert torch.equal(read_checkpoint(tmp_path / "a.ckpt").tensors["a"].read(), torch.ones(2))


def test_classes_of_a_trainer_that_is_not_installed(tmp_path: Path) -> None:
    """A callback's class as a key, as Lightning wrote it, and an object of omegaconf."""
    pickled = (
        b"\x80\x02}(X\x09\x00\x00\x00callbacks}cpytorch_lightning.callbacks\nModelCheckpoint\n}s"
        b"X\x06\x00\x00\x00configcomegaconf.dictconfig\nDictConfig\n)\x81}X\x01\x00\x00\x00aK\x01sb"
        b"X\x05\x00\x00\x00modelccollections\nOrderedDict\n)Ru."
    )
    path = write_zip(tmp_path / "a.ckpt", pickled)
    with pytest.raises(ForeignCheckpointError, match="it holds no tensors by name"):
        read_checkpoint(path)


# ---- hostile and damaged files ----


def write_zip(path: Path, pickled: bytes, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        for name, content in members.items():
            archive.writestr(f"archive/data/{name.removeprefix('storage_')}", content)
    return path


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("place", ["tensor", "beside", "alone"])
@pytest.mark.parametrize("name", ["a.ckpt", "a.bin"])
def test_a_command_in_a_file_is_not_run(zipped: bool, place: str, name: str, tmp_path: Path) -> None:
    sign, command = tmp_path / "run", Command(tmp_path / "run")
    content: Any = {
        "tensor": {"state_dict": {"a": torch.ones(2), "b": command}},
        "beside": {"state_dict": {"a": torch.ones(2)}, "callbacks": command},
        "alone": command,
    }[place]
    torch.save(content, tmp_path / name, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ForeignCheckpointError, match=rf"{name}: refused: it asks for (posix|nt)\.system") as caught:
        read_checkpoint(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert not sign.exists()


@pytest.mark.parametrize(
    "asked",
    ["builtins eval", "builtins getattr", "torch.hub load", "torch load", "os system", "numpy load", "runpy run_path"],
)
def test_names_that_could_run_something_are_refused(asked: str, tmp_path: Path) -> None:
    module, attribute = asked.split()
    path = write_zip(tmp_path / "a.pt", f"\x80\x02c{module}\n{attribute}\n.".encode("latin-1"))
    with pytest.raises(ForeignCheckpointError, match=rf"refused: it asks for {module}\.{attribute}"):
        read_checkpoint(path)


def test_opcodes_that_make_objects_in_other_ways_are_refused(tmp_path: Path) -> None:
    for pickled in (b"(S'touch x'\nios\nsystem\n.", b"(cos\nsystem\nS'touch x'\no.", b"\x82\x01."):
        with pytest.raises(ForeignCheckpointError, match="refused"):
            read_checkpoint(write_zip(tmp_path / "a.pt", pickled))


def test_a_pickle_under_the_name_of_safetensors_is_not_opened(tmp_path: Path) -> None:
    for number, content in enumerate((pickle.dumps(Command(tmp_path / "run")), b"", b"PK\x03\x04")):
        path = tmp_path / f"{number}.safetensors"
        path.write_bytes(content)
        with pytest.raises(ForeignCheckpointError, match="no safetensors file, whatever its name says"):
            read_checkpoint(path)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind", ["zip", "old", "safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.9, 0.99])
def test_a_file_that_is_cut_off_is_an_error_of_one_line(kind: str, share: float, tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    tensors = {"a": torch.ones(50), "b": torch.zeros(3)}
    if kind == "safetensors":
        save_file(tensors, path)
    else:
        torch.save({"state_dict": tensors}, path, _use_new_zipfile_serialization=kind == "zip")
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ForeignCheckpointError, match=r"a\.ckpt: ") as caught:
        [tensor.read() for tensor in read_checkpoint(path).tensors.values()]
    assert "\n" not in str(caught.value)


def tensor_pickle(count: int, size: tuple[int, ...], strides: tuple[int, ...], offset: int = 0) -> bytes:
    """{"a": tensor} of the storage "0", as torch.save writes it."""

    def numbers(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(b"J" + struct.pack("<i", value) for value in values) + b"t"

    persistent = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu"
    persistent += b"J" + struct.pack("<i", count) + b"tQ"
    body = persistent + b"J" + struct.pack("<i", offset) + numbers(size) + numbers(strides) + b"\x89ccollections\n"
    return b"\x80\x02}X\x01\x00\x00\x00actorch._utils\n_rebuild_tensor_v2\n(" + body + b"OrderedDict\n)RtRs."


def test_a_tensor_that_lies_outside_its_storage_is_refused(tmp_path: Path) -> None:
    good = write_zip(tmp_path / "a.pt", tensor_pickle(6, (2, 3), (3, 1)), storage_0=bytes(24))
    assert read_checkpoint(good).tensors["a"].read().shape == (2, 3)
    for arguments in (
        (6, (2, 4), (4, 1)),
        (6, (2, 3), (4, 1)),
        (6, (2, 3), (3, 1), 1),
        (6, (2, 3), (3, 1), -1),
        (6, (2, 3), (-3, 1)),
        (6, (1000, 1000), (0, 0)),
        (6, (2, 3), (3,)),
        (7, (2, 3), (3, 1)),  # more than the file has
    ):
        path = write_zip(tmp_path / "b.pt", tensor_pickle(*arguments), storage_0=bytes(24))
        with pytest.raises(ForeignCheckpointError, match="damaged"):
            read_checkpoint(path)


def test_compressed_and_other_archives_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", tensor_pickle(6, (2, 3), (3, 1)))
        archive.writestr("archive/data/0", bytes(24))
    with pytest.raises(ForeignCheckpointError, match="compressed"):
        read_checkpoint(tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "b.pt", "w") as archive:
        archive.writestr("other.txt", b"")
    with pytest.raises(ForeignCheckpointError, match=r"not of torch\.save: 0 data\.pkl"):
        read_checkpoint(tmp_path / "b.pt")


@pytest.mark.parametrize(
    "header",
    [
        {"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 999]}},
        {"a": {"dtype": "F32", "shape": [300], "data_offsets": [0, 12]}},
        {"a": {"dtype": "F32", "shape": [-3], "data_offsets": [0, 12]}},
        {"a": {"dtype": "X", "shape": [3], "data_offsets": [0, 12]}},
        {"a": {"dtype": "F32", "shape": [3], "data_offsets": [-12, 0]}},
        {"a": 3},
    ],
)
def test_headers_of_safetensors_are_checked(header: dict[str, Any], tmp_path: Path) -> None:
    raw = json.dumps(header).encode()
    (tmp_path / "a.safetensors").write_bytes(len(raw).to_bytes(8, "little") + raw + bytes(12))
    with pytest.raises(ForeignCheckpointError):
        read_checkpoint(tmp_path / "a.safetensors")


def test_dicts_that_hold_themselves_end(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.pt", b"\x80\x02}q\x00(X\x01\x00\x00\x00ah\x00X\x01\x00\x00\x00bh\x00u.")
    with pytest.raises(ForeignCheckpointError, match="no tensors"):
        read_checkpoint(path)


def test_other_files_are_told_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "a.ckpt").write_bytes(b"hello")
    with pytest.raises(ForeignCheckpointError, match=r"neither safetensors nor a file of torch\.save"):
        read_checkpoint(tmp_path / "a.ckpt")
    with pytest.raises(ForeignCheckpointError, match="cannot be read"):
        read_checkpoint(tmp_path / "gone.ckpt")
    buffer = io.BytesIO()
    pickle.dump({"a": 1}, buffer)
    (tmp_path / "b.ckpt").write_bytes(buffer.getvalue())
    with pytest.raises(ForeignCheckpointError):
        read_checkpoint(tmp_path / "b.ckpt")


@pytest.mark.parametrize("last", [b"K\0s", b"\x90", b"\x91"])
def test_keys_nested_so_deep_that_their_hash_would_end_the_process_are_refused(last: bytes, tmp_path: Path) -> None:
    begin = {b"K\0s": b"}", b"\x90": b"\x8f(", b"\x91": b"("}[last]
    pickled = b"\x80\x04" + begin + b")" + b"\x85" * 300_000 + last + b"."
    with pytest.raises(ForeignCheckpointError, match="nested more than"):
        read_checkpoint(write_zip(tmp_path / "a.pt", pickled))


def test_keys_of_a_call_are_looked_at_before_they_are_hashed(tmp_path: Path) -> None:
    """As OrderedDict([(key, 1)]) and as a tensor, whose offset is what a pickle says."""
    deep = b")" + b"\x85" * 300_000
    called = b"\x80\x02ccollections\nOrderedDict\n]" + deep + b"K\x01\x86a\x85R."
    with pytest.raises(ForeignCheckpointError, match="nested more than"):
        read_checkpoint(write_zip(tmp_path / "a.pt", called))
    offset = b"J" + struct.pack("<i", 0) + b"(J"
    tensor = tensor_pickle(6, (2, 3), (3, 1)).removeprefix(b"\x80\x02}X\x01\x00\x00\x00a").removesuffix(b"s.")
    hostile = b"\x80\x02}" + tensor.replace(offset, deep + b"(J", 1) + b"K\x01s."
    with pytest.raises(ForeignCheckpointError, match="no tensors"):
        read_checkpoint(write_zip(tmp_path / "b.pt", hostile, storage_0=bytes(24)))


def test_a_key_whose_parts_are_the_same_tuple_again_and_again_ends(tmp_path: Path) -> None:
    pickled = b"\x80\x02})" + (b"q\x010(" + b"h\x01" * 8 + b"t") * 19 + b"K\x01s."
    with pytest.raises(ForeignCheckpointError, match="a key of more than 1000 parts"):
        read_checkpoint(write_zip(tmp_path / "a.pt", pickled))
