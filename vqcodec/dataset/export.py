"""A dataset in other forms: arrays, WebDataset archives, .vq streams. Written whole or not at all, file by file."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from vqcodec.codec import Codec
from vqcodec.dataset.packages import pa, pq
from vqcodec.dataset.plan import TokenPlan, model_of
from vqcodec.dataset.reader import TokenDataset
from vqcodec.dataset.shard import TOKENS, shard_name
from vqcodec.dataset.spec import token_type
from vqcodec.dataset.stored import stored_table
from vqcodec.dataset.verify import check_complete
from vqcodec.whole_files import replacing, write_whole

#: columns that say nothing where tokens are gone
_BESIDE: Final = ("key", "source", "width", "height", "crop", "label")


def to_npy(plan: TokenPlan, target: Path) -> None:
    """level_N.npy (rows, h, w), keys.txt and, where there are labels, labels.npy. Raises DatasetError, OSError."""
    data = TokenDataset(plan.store.url, columns=("key",))
    levels = data.levels
    target.mkdir(parents=True, exist_ok=True)
    for number, level in enumerate(levels, start=1):
        with replacing(target / f"level_{number}.npy") as temporary, temporary.open("wb") as file:
            np.save(file, level)
    write_whole(target / "keys.txt", "".join(f"{key}\n" for key in data.column("key")))
    if plan.spec.labels:
        with replacing(target / "labels.npy") as temporary, temporary.open("wb") as file:
            np.save(file, data.labels)


def to_webdataset(plan: TokenPlan, target: Path) -> None:
    """An archive a shard: NAME.level_N.npy (h, w) of each row, NAME.json and, where there is a label, NAME.cls.

    NAME: the key with _ for points, as WebDataset cuts a name at its first one, and a further _ where that is not new;
    the key itself stands in NAME.json.
    """
    target.mkdir(parents=True, exist_ok=True)
    for shard, table in _tables(plan):
        with (
            replacing(target / shard_name(shard).replace(".parquet", ".tar")) as temporary,
            tarfile.open(temporary, "w") as archive,
        ):
            taken: set[str] = set()
            for record in table.to_pylist():
                _add_row(archive, _sample_name(record, plan, taken), record, plan)
    _delete_other_shards(target, plan, ".tar")


def to_streams(plan: TokenPlan, target: Path, entropy: str | None = None) -> None:
    """A Parquet file a shard, in which a column `vq` holds a stream for each row, which `vqcodec decode` takes."""
    codec = Codec.load(model_of(plan).path, device="cpu")
    target.mkdir(parents=True, exist_ok=True)
    for shard, table in _tables(plan):
        streams = [_stream(codec, record, plan, entropy) for record in table.to_pylist()]
        levels = [name for name in table.column_names if name.startswith("level_")]
        made = table.drop_columns([*levels, "rows", "cols"]).append_column("vq", pa.array(streams, pa.binary()))
        with replacing(target / shard_name(shard)) as temporary:
            pq.write_table(made, temporary, compression="zstd")
    _delete_other_shards(target, plan, ".parquet")


#: name -> what writes it
EXPORTS: Final[dict[str, Callable[..., None]]] = {
    "npy": to_npy,
    "webdataset": to_webdataset,
    "streams": to_streams,
}


def _delete_other_shards(target: Path, plan: TokenPlan, suffix: str) -> None:
    """What an export of a larger dataset into the same folder left."""
    own = {shard_name(shard) for shard in range(plan.shards)}
    for path in target.glob(f"shard-*{suffix}"):
        if f"{path.stem}.parquet" not in own:
            path.unlink()


def grids_of(record: dict[str, Any], plan: TokenPlan) -> list[Any]:
    """The tokens (h, w) of each level of a row of a table."""
    factors, kinds = plan.model["level_factors"], plan.model["codebook_sizes"]
    made = []
    for number, (factor, size) in enumerate(zip(factors, kinds, strict=True), start=1):
        rows, cols = (-(-record[side] * factors[-1] // factor) for side in ("rows", "cols"))
        values = np.array(record[f"level_{number}"], token_type(size))
        made.append(values.reshape(rows, cols))
    return made


def _stream(codec: Codec, record: dict[str, Any], plan: TokenPlan, entropy: str | None) -> bytes:
    side = plan.spec.size
    width, height = (record["width"], record["height"]) if side is None else (side, side)
    grids: list[Any] = [grid.astype(np.int64)[None] for grid in grids_of(record, plan)]
    return codec.write(grids, width, height, entropy=entropy)


def _sample_name(record: dict[str, Any], plan: TokenPlan, taken: set[str]) -> str:
    """A name for a row that is not `taken` in its archive, to which it is added."""
    name: str = record["key"] if plan.spec.crops_per_picture == 1 else f"{record['key']}/{record['crop']}"
    folder, slash, last = name.rpartition("/")
    name = f"{folder}{slash}{last.replace('.', '_')}"
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def _add_row(archive: tarfile.TarFile, name: str, record: dict[str, Any], plan: TokenPlan) -> None:
    for number, grid in enumerate(grids_of(record, plan), start=1):
        content = io.BytesIO()
        np.save(content, grid)
        _add(archive, f"{name}.level_{number}.npy", content.getvalue())
    facts = {key: record[key] for key in (*_BESIDE, *plan.spec.keep) if key in record}
    _add(archive, f"{name}.json", json.dumps(facts, default=str).encode())
    if record.get("label") is not None:
        _add(archive, f"{name}.cls", str(record["label"]).encode())


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def _tables(plan: TokenPlan) -> Iterator[tuple[int, Any]]:
    check_complete(plan)
    for shard in range(plan.shards):
        yield shard, stored_table(plan.store, f"{TOKENS}/{shard_name(shard)}")
