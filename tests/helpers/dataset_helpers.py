"""What the tests of datasets of tokens share: pictures, good and bad, sources of every kind, and folders to compare."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from vqcodec.dataset.local import tokenize
from vqcodec.dataset.plan import TokenPlan
from vqcodec.dataset.shard import ShardResult
from vqcodec.dataset.spec import TokenSpec


def encoded(number: int, width: int = 40, height: int = 33, kind: str = "PNG") -> bytes:
    """A picture that its number decides, as the bytes of a file."""
    rng = np.random.default_rng(number)
    coarse = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    picture = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    content = io.BytesIO()
    picture.save(content, kind)
    return content.getvalue()


def make_folder(folder: Path, count: int = 10, *, bad: int = 0, first: int = 0) -> Path:
    """`count` pictures in sub-folders a and b, of which the first `bad` cannot be decoded."""
    for number in range(first, first + count):
        path = folder / "ab"[number % 2] / f"{number:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        content = encoded(number, 32 + number % 7, 32 + number % 5)
        if number - first < bad:
            content = (content[: len(content) // 2], b"", b"a text")[number % 3]
        path.write_bytes(content)
    return folder


def make_tar(path: Path, count: int = 4, *, first: int = 0) -> Path:
    """WebDataset: KEY.png, KEY.cls, KEY.txt and KEY.json of each."""
    with tarfile.open(path, "w") as archive:
        for number in range(first, first + count):
            facts = json.dumps({"url": f"u{number}", "score": number / 2}).encode()
            for suffix, content in (
                ("png", encoded(number)),
                ("cls", str(number % 3).encode()),
                ("txt", f"caption {number}".encode()),
                ("json", facts),
            ):
                info = tarfile.TarInfo(f"{number:04}.{suffix}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return path


def table_of(count: int = 5, *, struct: bool = False) -> Any:
    """id, picture (bytes, or the hub's struct) and caption."""
    pictures: list[Any] = [encoded(number) for number in range(count)]
    if struct:
        pictures = [{"bytes": content, "path": f"{number}.png"} for number, content in enumerate(pictures)]
    return pa.table(
        {
            "id": [f"id-{number}" for number in range(count)],
            "picture": pictures,
            "caption": [f"caption {number}" for number in range(count)],
            "kind": [number % 2 for number in range(count)],
        }
    )


def make_parquet(path: Path, count: int = 5, *, struct: bool = False) -> Path:
    pq.write_table(table_of(count, struct=struct), path, row_group_size=2)
    return path


def make_arrow(path: Path, count: int = 5) -> Path:
    """As `datasets` saves to disk."""
    table = table_of(count, struct=True)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
        stream.write_table(table, max_chunksize=2)
    return path


def spec_of(model: Path, **changes: Any) -> TokenSpec:
    return TokenSpec(**{"model": str(model), "size": 32, "shard_size": 3} | changes)


def make_dataset(out: Path, model: Path, *sources: Path, **changes: Any) -> TokenPlan:
    """Planned and tokenized in this process."""
    plan = TokenPlan.make(sources, out, spec_of(model, **changes), device="cpu")
    run(plan)
    return plan


def run(plan: TokenPlan, **options: Any) -> list[ShardResult]:
    return list(tokenize(plan, **{"workers": 1, "device": "cpu"} | options))


def content_of(folder: Path, *below: str) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too, with its bytes."""
    places = [folder / name for name in below] if below else [folder]
    files = [path for place in places for path in place.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def rows_of(out: Path) -> Any:
    """All rows of tokens, by shard."""
    return pa.concat_tables([pq.read_table(path) for path in sorted((out / "tokens").glob("*.parquet"))])
