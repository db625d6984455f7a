"""Uploads of shards that are broken off: by kill -9, by Ctrl-C, and by a server that cuts the connection."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

import numpy as np

from vqcodec.benchmarks.dataset.making import run, start, tell
from vqcodec.benchmarks.dataset.s3_server import Server
from vqcodec.dataset.packages import pa, pq

_SHARDS: Final = 8
_ROWS: Final = 4
#: bytes of a kept column in each row, so that a shard is larger than what kernels hold of an upload, some 4 MB, and its
#: pictures need not be
_BALLAST: Final = 3_000_000
#: seconds in which a job must come to its first upload, or end
_PATIENCE: Final = 300.0


def broken_off(server: Server, files: Any, bucket: str, pictures: list[bytes], folder: Path, count: int) -> None:
    """Break `count` uploads off by kill -9 and `count` by an exception, every second of these Ctrl-C, the others a
    connection that is cut. After each, and after a last run, print what became of the objects.

    pictures: encoded ones, any number. folder: an empty one for the source and an undisturbed run on the disk.
    """
    words: tuple[object, ...] = (
        "tokenize",
        _source(folder / "pictures.parquet", pictures),
        "--shard-size",
        _ROWS,
        "--workers",
        1,
    )
    words = (*words, "--size", 32, "--image", "image", "--key", "id", "--keep", "ballast", "--max-failures", "100%")
    undisturbed = run(*words, "-o", folder / "whole")[0]
    assert undisturbed.returncode == 0, undisturbed.stderr
    expected = {p.relative_to(folder / "whole").as_posix(): p.read_bytes() for p in _files(folder / "whole")}
    out = f"{bucket}/broken"
    run(*words, "-o", f"s3://{out}", "--plan-only")
    rng, seen = np.random.default_rng(0), Counter[str]()
    for number in range(2 * count):
        there = [name for name in _objects(files, out) if "/" in name and not name.startswith("plan/")]
        if sum(name.startswith("tokens/") for name in there) > _SHARDS - 4:  # so that there is something to upload
            for name in there:
                files.rm_file(f"{out}/{name}")
        how = "kill -9" if number % 2 == 0 else "Ctrl-C" if number % 4 == 1 else "connection cut"
        short = server.short
        seen[f"{how}, in an upload" if _break(server, how, rng, (*words, "-o", f"s3://{out}")) else f"{how}, late"] += 1
        while server.uploading:  # it sees the end of the process
            time.sleep(0.01)
        seen[f"{how}, bodies that came short"] += server.short - short
        for name, content in _objects(files, out).items():
            seen["objects looked at"] += 1
            seen["objects cut off"] += not _is_whole(name, content)
            seen["objects that differ"] += content != expected.get(name)
    code = run(*words, "-o", f"s3://{out}")[0].returncode
    tell(
        what="uploads broken off",
        of=2 * count,
        bytes_a_shard=round(np.mean([len(expected[name]) for name in expected if name.startswith("tokens/")])),
        **dict(sorted(seen.items())),
        exit=code,
        identical_with_local=_objects(files, out) == expected,
    )


def _break(server: Server, how: str, rng: np.random.Generator, words: tuple[object, ...]) -> bool:
    """Run the job and break it off at a random moment of an upload; whether it was in one."""
    before = server.short
    calm = {"VQCODEC_STORAGE_PATIENCE": "0", "AWS_RETRY_MODE": "standard", "AWS_MAX_ATTEMPTS": "1"}
    if how == "connection cut":
        server.cut_at = int(rng.integers(1, (_ROWS - 1) * _BALLAST))  # one row fails
        code = _ended(start(*words, **calm))
        server.cut_at = None
        return code != 0 and server.short > before
    process = start(*words, **calm)
    ends = time.monotonic() + _PATIENCE
    while not server.uploading and process.poll() is None and time.monotonic() < ends:
        time.sleep(0.002)
    time.sleep(float(rng.uniform(0, 0.7)))
    if process.poll() is not None:
        return False
    inside = bool(server.uploading)
    os.killpg(process.pid, signal.SIGKILL if how == "kill -9" else signal.SIGINT)
    _ended(process)
    return inside


def _ended(process: subprocess.Popen[bytes]) -> int:
    try:
        return process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise


def _source(path: Path, pictures: list[bytes]) -> Path:
    """A table of pictures, one of each shard damaged, with a column that does not compress."""
    rng, count = np.random.default_rng(0), _SHARDS * _ROWS
    some = [pictures[number % len(pictures)] for number in range(count)]
    some = [content[: len(content) // 2] if number % _ROWS == 3 else content for number, content in enumerate(some)]
    ballast = [rng.bytes(_BALLAST) for _ in some]
    ids = [f"{number:05}" for number in range(count)]
    pq.write_table(pa.table({"id": ids, "image": some, "ballast": ballast}), path, row_group_size=_ROWS)
    return path


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def _objects(files: Any, out: str) -> dict[str, bytes]:
    """All objects of a dataset."""
    return {
        str(name).removeprefix(f"{out}/"): bytes(files.cat_file(name)) for name in files.find(out) if str(name) != out
    }


def _is_whole(name: str, content: bytes) -> bool:
    """Whether a Parquet file can be read; other files are compared by their bytes."""
    if not name.endswith(".parquet"):
        return True
    try:
        pq.read_table(pa.BufferReader(content))
    except (pa.ArrowException, OSError):
        return False
    return True
