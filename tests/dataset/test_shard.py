"""One shard: the tokens of the codec, exact counts, failures of pictures apart from failures of storage."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from dataset_helpers import (
    content_of,
    encoded,
    make_dataset,
    make_folder,
    make_parquet,
    make_tar,
    rows_of,
    run,
    spec_of,
)
from PIL import Image

from vqcodec.codec import Codec
from vqcodec.dataset.errors import StorageError
from vqcodec.dataset.local import ShardsLeft
from vqcodec.dataset.patience import PATIENCE_VARIABLE
from vqcodec.dataset.plan import TokenPlan
from vqcodec.dataset.shard import make_tokenizer, tokenize_shard
from vqcodec.dataset.verify import verify
from vqcodec.models.network_input import network_input
from vqcodec.pictures.image import load_image


@pytest.fixture(scope="module")
def codec(tiny_model: Path) -> Codec:
    return Codec.load(tiny_model, device="cpu")


def test_rows_have_the_tokens_of_the_codec(tmp_path: Path, tiny_model: Path, codec: Codec) -> None:
    source = make_folder(tmp_path / "photos", 7)
    make_dataset(tmp_path / "out", tiny_model, source, size=48)
    table = rows_of(tmp_path / "out")
    assert len(table) == 7
    for record in table.to_pylist():
        pixels = np.asarray(Image.open(io.BytesIO((source / record["key"]).read_bytes())).convert("RGB"))
        assert (record["width"], record["height"]) == (pixels.shape[1], pixels.shape[0])
        assert (record["rows"], record["cols"]) == (3, 3)
        assert record["source"] == f"photos/{record['key']}"
    first = table.slice(0, 1).to_pylist()[0]
    image = Image.open(source / first["key"]).convert("RGB")
    scale = 48 / min(image.size)
    small = np.asarray(
        image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    )
    top, left = (small.shape[0] - 48) // 2, (small.shape[1] - 48) // 2
    crop = small[top : top + 48, left : left + 48]
    grids = codec.tokenize(network_input(codec.card.autoencoder, crop[None]))
    assert [first[f"level_{number}"] for number in (1, 2)] == [grid.reshape(-1).tolist() for grid in grids]


def test_native_pictures_have_the_tokens_that_encode_writes(tmp_path: Path, tiny_model: Path, codec: Codec) -> None:
    source = make_folder(tmp_path / "photos", 4)
    make_dataset(tmp_path / "out", tiny_model, source, size=None)
    for record in rows_of(tmp_path / "out").to_pylist():
        stream = codec.read(codec.encode(source / record["key"]))
        for number, grid in enumerate(stream.tokens.levels, start=1):
            assert record[f"level_{number}"] == grid.indices.reshape(-1).tolist()
        assert (record["rows"], record["cols"]) == stream.tokens.levels[-1].indices.shape


def test_levels_of_several_resolutions(tmp_path: Path, hierarchical_model: Path) -> None:
    source = make_folder(tmp_path / "photos", 3)
    make_dataset(tmp_path / "crops", hierarchical_model, source, size=36)
    [record, *_] = rows_of(tmp_path / "crops").to_pylist()
    assert [len(record[f"level_{number}"]) for number in (1, 2, 3, 4)] == [25, 25, 81, 81]
    make_dataset(tmp_path / "native", hierarchical_model, source, size=None)
    codec = Codec.load(hierarchical_model, device="cpu")
    for record in rows_of(tmp_path / "native").to_pylist():
        pixels = load_image(source / record["key"]).rgb
        for number, grid in enumerate(codec.tokenize_pixels(pixels), start=1):
            assert record[f"level_{number}"] == np.asarray(grid).reshape(-1).tolist()


def test_what_does_not_decode_is_counted_and_told(tmp_path: Path, tiny_model: Path) -> None:
    source = make_folder(tmp_path / "photos", 8, bad=4)
    huge = io.BytesIO()
    Image.new("L", (2000, 2000)).save(huge, "PNG")
    (source / "a" / "huge.png").write_bytes(huge.getvalue())
    plan = TokenPlan.make([source], tmp_path / "out", spec_of(tiny_model, max_pixels=1_000_000, shard_size=4))
    results = run(plan)
    assert [result.pictures for result in results] == [4, 4, 1]
    assert all(result.rows + sum(result.failed.values()) == result.pictures for result in results)
    paths = sorted((tmp_path / "out" / "errors").iterdir())
    failed = [record for path in paths for record in pq.read_table(path).to_pylist()]
    assert {record["key"]: record["kind"] for record in failed} == {
        "a/0000.png": "damaged",
        "b/0001.png": "empty",
        "a/0002.png": "no picture",
        "b/0003.png": "damaged",
        "a/huge.png": "too many pixels",
    }
    assert all(
        record["message"].startswith(f"{record['key']}: ") and "\n" not in record["message"] for record in failed
    )
    assert sum(result.rows for result in results) == len(rows_of(tmp_path / "out")) == 4
    verdict = verify(plan, 9)
    assert (verdict.pictures, verdict.rows, verdict.failed, verdict.compared, verdict.wrong) == (9, 4, 5, 4, [])


def test_a_shard_without_one_good_picture_has_columns_like_all_others(tmp_path: Path, tiny_model: Path) -> None:
    make_dataset(tmp_path / "out", tiny_model, make_folder(tmp_path / "photos", 6, bad=3), shard_size=1)
    schemas = {pq.read_schema(path).remove_metadata() for path in (tmp_path / "out" / "tokens").iterdir()}
    assert len(schemas) == 1
    assert len(pq.read_table(tmp_path / "out" / "tokens")) == 3, "the folder is a table for others"


def test_odd_pictures_become_tokens(tmp_path: Path, tiny_model: Path) -> None:
    base = Image.open(io.BytesIO(encoded(1)))
    (tmp_path / "odd").mkdir()
    for name, image in (
        ("cmyk.jpg", base.convert("CMYK")),
        ("palette.png", base.convert("P")),
        ("deep.png", Image.fromarray(np.full((20, 30), 40_000, np.uint16))),
        ("one.png", Image.new("RGB", (1, 1), "red")),
        ("alpha.png", base.convert("RGBA")),
        ("gray.gif", base.convert("L")),
    ):
        image.save(tmp_path / "odd" / name)
    make_dataset(tmp_path / "out", tiny_model, tmp_path / "odd")
    assert len(rows_of(tmp_path / "out")) == 6


def test_a_picture_that_is_gone_leaves_the_shard_to_do(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PATIENCE_VARIABLE, "0")
    source, out = make_folder(tmp_path / "photos", 8), tmp_path / "out"
    plan = TokenPlan.make([source], out, spec_of(tiny_model))
    gone = source / "a" / "0000.png"
    content = gone.read_bytes()
    gone.unlink()
    with pytest.raises(StorageError, match=r"0000\.png: No such file or directory; put it back"):
        tokenize_shard(plan, 0, make_tokenizer(plan, "cpu"))
    with pytest.raises(ShardsLeft, match="1 of 3 shards stay to do; shard 0: "):
        run(plan)
    assert sorted(content_of(out, "tokens", "errors")) == ["tokens/shard-000001.parquet", "tokens/shard-000002.parquet"]
    gone.write_bytes(content)
    run(plan)
    make_dataset(tmp_path / "other", tiny_model, source)
    assert content_of(out) == content_of(tmp_path / "other")


def test_failures_are_tried_again_when_asked_for(tmp_path: Path, tiny_model: Path) -> None:
    source, out = make_folder(tmp_path / "photos", 8, bad=2), tmp_path / "out"
    plan = make_dataset(out, tiny_model, source)
    before = content_of(out, "tokens")
    (source / "a" / "0000.png").write_bytes(encoded(77))
    assert run(plan) == []
    assert content_of(out, "tokens") == before
    again = run(plan, retry_failed=True)
    assert [(result.shard, result.rows) for result in again] == [(0, 3), (1, 2)]
    assert sorted(content_of(out, "errors")) == ["errors/shard-000001.parquet"]
    (source / "b" / "0001.png").write_bytes(encoded(78))
    run(plan, retry_failed=True)
    make_dataset(tmp_path / "other", tiny_model, source)
    assert content_of(out, "tokens", "errors") == content_of(tmp_path / "other", "tokens", "errors")


def test_labels_and_columns_go_with_the_tokens(tmp_path: Path, tiny_model: Path) -> None:
    source = make_tar(tmp_path / "x.tar", 4)
    make_dataset(tmp_path / "out", tiny_model, source, labels="cls", keep=("caption", "score"), crops="random:2")
    table = rows_of(tmp_path / "out")
    assert table.column("label").to_pylist() == [0, 0, 1, 1, 2, 2, 0, 0]
    assert table.column("score").to_pylist() == [0.0, 0.0, 0.5, 0.5, 1.0, 1.0, 1.5, 1.5]
    assert table.column("caption")[2].as_py() == "caption 1"
    assert table.column("crop").to_pylist() == [0, 1] * 4


def test_a_row_without_a_picture_fails(tmp_path: Path, tiny_model: Path) -> None:
    import pyarrow as pa

    pq.write_table(pa.table({"picture": [encoded(0), None, encoded(1)]}), tmp_path / "x.parquet")
    [result] = run(TokenPlan.make([tmp_path / "x.parquet"], tmp_path / "out", spec_of(tiny_model)))
    assert (result.rows, result.failed) == (2, {"cannot be converted": 1})


def test_tokens_take_their_bits_on_disk(tmp_path: Path, tiny_model: Path) -> None:
    plan = make_dataset(tmp_path / "out", tiny_model, make_parquet(tmp_path / "x.parquet", 40), size=512, shard_size=40)
    metadata = pq.ParquetFile(tmp_path / "out" / "tokens" / "shard-000000.parquet").metadata
    columns = [metadata.row_group(0).column(number) for number in range(metadata.num_columns)]
    stored = sum(8 * column.total_compressed_size for column in columns if column.path_in_schema.startswith("level_"))
    tokens = 40 * 1024 * plan.levels
    assert stored <= 1.05 * 5 * tokens  # K = 32
