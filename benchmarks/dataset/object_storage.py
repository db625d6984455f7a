"""A local S3 server that answers 503, then is away; exceptions and kills during uploads: nothing is lost or cut off.

Needs `pip install "moto[server]" s3fs`.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from vqcodec.benchmarks.dataset.making import crops, run, start, tell
from vqcodec.benchmarks.dataset.s3_server import Server
from vqcodec.benchmarks.dataset.uploads import broken_off
from vqcodec.dataset.packages import needed

_BUCKET = "demo"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos")
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--uploads", type=int, default=25, help="kills, and exceptions, each")
    parser.add_argument("--only", choices=["outage", "uploads"])
    options = parser.parse_args()
    if options.only != "uploads":
        outage(options.photos, options.pictures)
    if options.only != "outage":
        uploads(options.photos, options.uploads)


def served(**options: Any) -> tuple[Server, Any]:
    """A server with an empty bucket, which processes that are started from now on talk to, and its file system."""
    server = Server(**options)
    os.environ.update(server.variables)
    files = needed("fsspec", "dataset").filesystem("s3", use_listings_cache=False, skip_instance_cache=True)
    files.mkdir(_BUCKET)
    return server, files


def uploads(source: str, count: int) -> None:
    """Break off so many uploads each way, of shards of small pictures to a slow server."""
    server, files = served(slow="/tokens/")
    contents = []
    for crop in crops(source, 32, 64):
        crop.save(content := io.BytesIO(), "JPEG", quality=90)
        contents.append(content.getvalue())
    with tempfile.TemporaryDirectory() as folder:
        broken_off(server, files, _BUCKET, contents, Path(folder), count)


def outage(source: str, count: int) -> None:
    """503 for 10 s in the middle of a job, then away for 60 s."""
    server, files = served()
    with tempfile.TemporaryDirectory() as folder:
        pictures = Path(folder) / "pictures"
        pictures.mkdir()
        for number, crop in enumerate(crops(source, 256, count)):
            crop.save(pictures / f"{number:05}.jpg", quality=90)
        for path in sorted(pictures.iterdir()):
            files.pipe_file(f"{_BUCKET}/pictures/{path.name}", path.read_bytes())
        run("tokenize", pictures, "-o", Path(folder) / "local", "--shard-size", 10, "--workers", 2)
        local = {path.name: path.read_bytes() for path in (Path(folder) / "local" / "tokens").iterdir()}
    words = ("tokenize", f"s3://{_BUCKET}/pictures", "-o", f"s3://{_BUCKET}/out", "--shard-size", 10, "--workers", 2)
    process, started = start(*words), time.monotonic()
    while len(shards(files, "out")) < 3:
        time.sleep(0.1)
    before, server.fails = len(shards(files, "out")), True
    time.sleep(10)
    server.end()
    server.fails = False
    time.sleep(60)
    server.begin()
    code = process.wait()
    seconds, runs = time.monotonic() - started, 1
    while code and runs < 5:
        code, runs = run(*words)[0].returncode, runs + 1
    facts = json.loads(run("tokens", "info", f"s3://{_BUCKET}/out", "--json")[0].stdout)
    tell(
        what="503 for 10 s, then away for 60 s",
        shards_before=before,
        refused_by_503=server.refused,
        seconds=round(seconds),
        runs=runs,
        exit=code,
        pictures=facts["pictures"],
        failed=facts["failed"],
        complete=facts["complete"],
        identical_with_local=same(files, "out", local),
    )


def shards(files: Any, out: str) -> list[str]:
    """The names of the shards that are there."""
    try:
        return sorted(str(name).rsplit("/", 1)[1] for name in files.ls(f"{_BUCKET}/{out}/tokens", detail=False))
    except FileNotFoundError:
        return []


def same(files: Any, out: str, local: dict[str, bytes]) -> bool:
    """Whether the shards are those that were made locally. Names of sources differ, as folders do."""
    return {name: bytes(files.cat_file(f"{_BUCKET}/{out}/tokens/{name}")) for name in shards(files, out)} == local


if __name__ == "__main__":
    main()
