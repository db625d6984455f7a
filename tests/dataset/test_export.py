"""The same tokens in other forms, and tables that somebody else reads."""

from __future__ import annotations

import io
import json
import re
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from dataset_helpers import encoded, make_dataset, make_folder, make_tar, rows_of, spec_of, table_of

from vqcodec.codec import Codec
from vqcodec.dataset.batches import TokenizeBatch
from vqcodec.dataset.errors import DatasetError
from vqcodec.dataset.export import to_npy, to_streams, to_webdataset
from vqcodec.dataset.plan import TokenPlan


@pytest.fixture(scope="module")
def plan(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> TokenPlan:
    folder = tmp_path_factory.mktemp("export")
    source = make_tar(folder / "x.tar", 5)
    return make_dataset(folder / "out", tiny_model, source, labels="cls", keep=("caption",), size=48)


def test_arrays(plan: TokenPlan, tmp_path: Path) -> None:
    to_npy(plan, tmp_path / "npy")
    table = rows_of(Path(plan.store.url))
    for number in (1, 2):
        loaded = np.load(tmp_path / "npy" / f"level_{number}.npy")
        assert (loaded.shape, loaded.dtype) == ((5, 3, 3), np.uint16)
        assert loaded.reshape(5, -1).tolist() == table.column(f"level_{number}").to_pylist()
    assert (tmp_path / "npy" / "keys.txt").read_text().split() == table.column("key").to_pylist()
    assert np.load(tmp_path / "npy" / "labels.npy").tolist() == [0, 1, 2, 0, 1]


def test_archives(plan: TokenPlan, tmp_path: Path) -> None:
    to_webdataset(plan, tmp_path / "wds")
    found: dict[str, bytes] = {}
    for path in sorted((tmp_path / "wds").iterdir()):
        with tarfile.open(path) as archive:
            for member in archive:
                file = archive.extractfile(member)
                assert file is not None
                found[member.name] = file.read()
    assert len(found) == 5 * 4
    for record in rows_of(Path(plan.store.url)).to_pylist():
        grid = np.load(io.BytesIO(found[f"{record['key']}.level_2.npy"]))
        assert (grid.shape, grid.reshape(-1).tolist()) == ((3, 3), record["level_2"])
        assert json.loads(found[f"{record['key']}.json"])["caption"] == record["caption"]
        assert int(found[f"{record['key']}.cls"]) == record["label"]


def test_streams_decode_to_the_tokens(plan: TokenPlan, tmp_path: Path, tiny_model: Path) -> None:
    to_streams(plan, tmp_path / "vq", entropy="static")
    codec, streams = Codec.load(tiny_model, device="cpu"), []
    for path in sorted((tmp_path / "vq").iterdir()):
        table = pq.read_table(path)
        assert not [name for name in table.column_names if name.startswith("level_")]
        streams += table.column("vq").to_pylist()
    for record, content in zip(rows_of(Path(plan.store.url)).to_pylist(), streams, strict=True):
        stream = codec.read(content)
        assert (stream.header.width, stream.header.height) == (48, 48)
        assert [grid.indices.reshape(-1).tolist() for grid in stream.tokens.levels] == [
            record["level_1"],
            record["level_2"],
        ]


def test_streams_of_whole_pictures_are_those_of_encode(tmp_path: Path, tiny_model: Path) -> None:
    source = make_folder(tmp_path / "photos", 3)
    plan = make_dataset(tmp_path / "out", tiny_model, source, size=None)
    to_streams(plan, tmp_path / "vq")
    codec = Codec.load(tiny_model, device="cpu")
    for record in pq.read_table(tmp_path / "vq" / "shard-000000.parquet").to_pylist():
        assert record["vq"] == codec.encode(source / record["key"])
    with pytest.raises(DatasetError, match="make no arrays"):
        to_npy(plan, tmp_path / "npy")


def test_what_is_not_complete_is_not_exported(tmp_path: Path, tiny_model: Path) -> None:
    plan = TokenPlan.make([make_folder(tmp_path / "photos", 3)], tmp_path / "out", spec_of(tiny_model))
    with pytest.raises(DatasetError, match="1 of 1 shards are to do"):
        to_webdataset(plan, tmp_path / "wds")


@pytest.mark.parametrize("struct", [False, True])
def test_batches_of_tables_keep_their_rows(tmp_path: Path, tiny_model: Path, struct: bool) -> None:
    table = table_of(5, struct=struct)
    pictures = table.column("picture").to_pylist()
    pictures[2] = {"bytes": b"no picture", "path": None} if struct else b"no picture"
    import pyarrow as pa

    table = table.set_column(1, "picture", pa.array(pictures, table.schema.field("picture").type))
    pq.write_table(table, tmp_path / "x.parquet")
    made = TokenizeBatch(spec_of(tiny_model, key="id"), device="cpu")(table)
    assert made.select(table.column_names) == table
    assert [error is None for error in made.column("error").to_pylist()] == [True, True, False, True, True]
    assert made.column("error")[2].as_py().startswith("id-2: not a picture")
    make_dataset(tmp_path / "out", tiny_model, tmp_path / "x.parquet", key="id")
    expected = {record["key"]: record for record in rows_of(tmp_path / "out").to_pylist()}
    for record in made.to_pylist():
        for name in ("level_1", "level_2", "sha256", "crop_left"):
            assert record[name] == (expected[record["id"]][name] if record["error"] is None else None)
    with pytest.raises(DatasetError, match="rows stay rows"):
        TokenizeBatch(spec_of(tiny_model, crops="ten"))
    with pytest.raises(DatasetError, match="the batch has a column width itself: rename or drop it"):
        TokenizeBatch(spec_of(tiny_model, key="id"), device="cpu")(table.append_column("width", table.column("id")))


def test_names_in_archives_are_cut_where_webdataset_cuts_them(tiny_model: Path, tmp_path: Path) -> None:
    for name in ("v1.0/a.png", "v1.0/a.b.png", "v1.0/a.b_png.png", "v1.0/a_b.png"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(encoded(1))
    to_webdataset(make_dataset(tmp_path / "out", tiny_model, tmp_path / "in", size=32), tmp_path / "wds")
    keys: dict[str, list[str]] = {}
    for path in sorted((tmp_path / "wds").iterdir()):
        with tarfile.open(path) as archive:
            for name in archive.getnames():
                cut = re.fullmatch(r"((?:.*/|)[^.]+)[.]([^/]*)", name)  # as `webdataset.tariterators.base_plus_ext`
                assert cut is not None
                keys.setdefault(f"{path.name}:{cut[1]}", []).append(cut[2])
    assert list(keys.values()) == [["level_1.npy", "level_2.npy", "json"]] * 4
