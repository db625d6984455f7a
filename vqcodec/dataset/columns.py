"""The tables of a shard: rows of tokens, and what failed; bytes of Parquet that depend on their content alone.

Level columns are `fixed_size_list<uint16>` in raster order (uint32 above 65,536 codes), for pictures in their native
size lists, with the rows and columns of the latent beside. Their dictionaries are packed to log2 K bits a token.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vqcodec.dataset.crops import Crop
from vqcodec.dataset.errors import DatasetError
from vqcodec.dataset.packages import pa, pq
from vqcodec.dataset.spec import token_type
from vqcodec.models.engine import Tokens

#: what the metadata of a file of tokens says: pictures planned, pictures failed, sha256 of the tokens
PLANNED, FAILED, DIGEST = b"vqcodec.planned", b"vqcodec.failed", b"vqcodec.tokens_sha256"
_BOX: Final = ("width", "height", "crop", "crop_left", "crop_top", "crop_width", "crop_height")


@dataclass
class TokenRows:
    """The rows of a shard as they come. levels: for each level the tokens of each row, flat."""

    codebook_sizes: Sequence[int]
    pictures: list[int] = field(default_factory=list)  # numbers of their pictures in the shard
    digests: list[bytes] = field(default_factory=list)
    boxes: list[tuple[int, ...]] = field(default_factory=list)
    flips: list[bool] = field(default_factory=list)
    shapes: list[tuple[int, int]] = field(default_factory=list)
    levels: list[list[NDArray[Any]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.levels = [[] for _ in self.codebook_sizes]

    def add(self, picture: int, digest: bytes, size: tuple[int, int], number: int, crop: Crop) -> None:
        """Crop `number` of a picture of (height, width) whose bytes have this sha256; its tokens come later."""
        self.pictures.append(picture)
        self.digests.append(digest)
        self.boxes.append((size[1], size[0], number, crop.left, crop.top, crop.width, crop.height))
        self.flips.append(crop.flip)

    def add_tokens(self, grids: Sequence[Tokens]) -> None:
        """Those of the next row that has none yet, finest level last."""
        self.shapes.append((int(grids[-1].shape[0]), int(grids[-1].shape[1])))
        for own, grid, size in zip(self.levels, grids, self.codebook_sizes, strict=True):
            own.append(np.ascontiguousarray(grid, token_type(size)).reshape(-1))


def token_table(
    rows: TokenRows,
    keys: list[str],
    names: list[str],
    labels: list[int | None] | None,
    kept: Any,
    lengths: Sequence[int] | None,
) -> Any:
    """The table of a shard. keys, names, labels, kept: of all its pictures. lengths: tokens of every row in each level,
    None where rows differ. Columns rows and cols are of the finest level."""
    chosen = rows.pictures
    columns: dict[str, Any] = {
        "key": pa.array([keys[number] for number in chosen], pa.string()),
        "source": pa.array([names[number] for number in chosen], pa.string()),
        "sha256": pa.array(rows.digests, pa.binary(32)),
    }
    columns |= {name: pa.array([box[n] for box in rows.boxes], pa.int32()) for n, name in enumerate(_BOX)}
    columns["flip"] = pa.array(rows.flips, pa.bool_())
    columns["rows"] = pa.array([shape[0] for shape in rows.shapes], pa.int32())
    columns["cols"] = pa.array([shape[1] for shape in rows.shapes], pa.int32())
    for number, (grids, size) in enumerate(zip(rows.levels, rows.codebook_sizes, strict=True), start=1):
        columns[f"level_{number}"] = _level_column(grids, size, lengths[number - 1] if lengths else None)
    if labels is not None:
        columns["label"] = pa.array([labels[number] for number in chosen], pa.int32())
    columns |= {name: values.take(pa.array(chosen, pa.int64())) for name, values in kept.items()}
    return pa.table(columns)


def token_file(table: Any, planned: int, failed: int, codebook_sizes: Sequence[int]) -> bytes:
    """A table of tokens as a Parquet file of one row group."""
    levels = [f"level_{number}" for number in range(1, len(codebook_sizes) + 1)]
    facts = {PLANNED: str(planned), FAILED: str(failed), DIGEST: tokens_digest(table, len(levels))}
    schema = table.schema.with_metadata({name: str(value).encode() for name, value in facts.items()})
    packed = [f"{name}.list.element" for name in levels]
    others = [name for name in _leaves(table.schema) if not name.startswith("level_")]
    return _parquet(
        table.cast(schema),
        use_dictionary=[*packed, *(name for name in others if name not in ("key", "sha256"))],
        compression={**dict.fromkeys(packed, "NONE"), **dict.fromkeys(others, "ZSTD")},
        # a dictionary that has all codes, or tokens would be stored plainly from where it is full
        dictionary_pagesize_limit=max(1 << 20, 8 * max(codebook_sizes)),
        write_statistics=[name for name in others if name in ("key", "label")],
    )


def error_file(keys: list[str], names: list[str], failures: Sequence[tuple[int, str, str]]) -> bytes:
    """The failed pictures of a shard: number in the shard, kind and message of each."""
    table = pa.table(
        {
            "key": pa.array([keys[number] for number, _, _ in failures], pa.string()),
            "source": pa.array([names[number] for number, _, _ in failures], pa.string()),
            "kind": pa.array([kind for _, kind, _ in failures], pa.string()),
            "message": pa.array([message for _, _, message in failures], pa.string()),
        }
    )
    return _parquet(table, compression="ZSTD")


def tokens_digest(table: Any, levels: int) -> str:
    """sha256 of all tokens, level after level, as little-endian numbers."""
    digest = hashlib.sha256()
    for number in range(1, levels + 1):
        for chunk in table.column(f"level_{number}").chunks:
            values = chunk.flatten().to_numpy()
            digest.update(np.ascontiguousarray(values, values.dtype.newbyteorder("<")).data)
    return digest.hexdigest()


def _level_column(grids: list[NDArray[Any]], codebook_size: int, length: int | None) -> Any:
    kind = pa.from_numpy_dtype(token_type(codebook_size))
    values = pa.array(np.concatenate(grids) if grids else np.empty(0, np.uint16), kind)
    if length is not None:
        return pa.FixedSizeListArray.from_arrays(values, length)
    if len(values) > np.iinfo(np.int32).max:
        raise DatasetError(f"{len(values)} tokens of one level in a shard: take a smaller --shard-size")
    offsets = np.concatenate([[0], np.cumsum([len(grid) for grid in grids])]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values)


def _leaves(schema: Any) -> list[str]:
    """The paths of all columns, as Parquet names them."""
    parquet = pq.ParquetFile(pa.BufferReader(_parquet(schema.empty_table()))).schema
    return [parquet.column(number).path for number in range(len(parquet.names))]


def _parquet(table: Any, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, row_group_size=max(1, len(table)), **options)
    content: bytes = sink.getvalue().to_pybytes()
    return content
