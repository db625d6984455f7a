"""A local S3 server that answers 503, then is away; exceptions and kills during uploads: nothing is lost or cut off.

Needs `pip install "moto[server]" s3fs`.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from vqcodec.benchmarks.dataset.making import crops, run, start, tell
from vqcodec.dataset.packages import needed, pq

_BUCKET = "demo"


class Server:
    """moto's S3 in threads of this process. fails: answer everything by 503."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.fails, self.refused, self.puts = False, 0, 0
        self._application = needed("moto.server", "dataset").DomainDispatcherApplication(
            needed("moto.server", "dataset").create_backend_app
        )
        self._server: Any = None
        self.begin()

    @property
    def variables(self) -> dict[str, str]:
        """What a client needs in its environment."""
        return {
            "AWS_ACCESS_KEY_ID": "demo",
            "AWS_SECRET_ACCESS_KEY": "demo",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
        }

    def begin(self) -> None:
        """Listen."""
        self._server = needed("werkzeug.serving", "dataset").make_server(
            "127.0.0.1", self.port, self._answer, threaded=True
        )
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def end(self) -> None:
        """Listen no more: connections are refused."""
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, environment: dict[str, Any], respond: Callable[..., Any]) -> Iterable[bytes]:
        if self.fails:
            self.refused += 1
            respond("503 Slow Down", [("Content-Type", "application/xml")])
            return [b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"]
        self.puts += environment["REQUEST_METHOD"] == "PUT"
        answer: Iterable[bytes] = self._application(environment, respond)
        return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos")
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--uploads", type=int, default=25, help="exceptions, and kills, each")
    parser.add_argument("--only", choices=["outage", "uploads"])
    options = parser.parse_args()
    server = Server()
    os.environ.update(server.variables)
    files = needed("fsspec", "dataset").filesystem("s3", use_listings_cache=False, skip_instance_cache=True)
    files.mkdir(_BUCKET)
    with tempfile.TemporaryDirectory() as folder:
        pictures = Path(folder) / "pictures"
        pictures.mkdir()
        for number, crop in enumerate(crops(options.photos, 256, options.pictures)):
            crop.save(pictures / f"{number:05}.jpg", quality=90)
        for path in sorted(pictures.iterdir()):
            files.pipe_file(f"{_BUCKET}/pictures/{path.name}", path.read_bytes())
        run("tokenize", pictures, "-o", Path(folder) / "local", "--shard-size", 10, "--workers", 2)
        local = {path.name: path.read_bytes() for path in (Path(folder) / "local" / "tokens").iterdir()}
    if options.only != "uploads":
        outage(server, files, local)
    if options.only != "outage":
        uploads(server, files, local, options.uploads)


def outage(server: Server, files: Any, local: dict[str, bytes]) -> None:
    """503 for 10 s in the middle of a job, then away for 60 s."""
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


def uploads(server: Server, files: Any, local: dict[str, bytes], count: int) -> None:
    """Kill the job while it uploads; and let the server fail in the middle of uploads."""
    words = ("tokenize", f"s3://{_BUCKET}/pictures", "-o", f"s3://{_BUCKET}/cut", "--shard-size", 10, "--workers", 2)
    rng, cut, killed, failed = np.random.default_rng(0), 0, 0, 0
    run(*words, "--plan-only")
    for number in range(2 * count):
        there = shards(files, "cut")
        if len(there) > len(local) - 4:  # so that there is something to upload
            for name in there[::2]:
                files.rm_file(f"{_BUCKET}/cut/tokens/{name}")
        process, puts = start(*words, VQCODEC_STORAGE_PATIENCE="0"), server.puts
        ends = time.monotonic() + 30
        while server.puts == puts and process.poll() is None and time.monotonic() < ends:
            time.sleep(0.002)
        time.sleep(float(rng.uniform(0, 0.3)))
        if number % 2:
            server.fails = True
            time.sleep(0.3)
            failed += 1
        killed += process.poll() is None
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        server.fails = False
        cut += sum(not readable(files, name) for name in shards(files, "cut"))
    code = run(*words)[0].returncode
    tell(
        what="killed while uploading",
        kills=killed,
        of_these_with_503_before=failed,
        objects_cut_off=cut,
        exit=code,
        identical_with_local=same(files, "cut", local),
    )


def shards(files: Any, out: str) -> list[str]:
    """The names of the shards that are there."""
    try:
        return sorted(str(name).rsplit("/", 1)[1] for name in files.ls(f"{_BUCKET}/{out}/tokens", detail=False))
    except FileNotFoundError:
        return []


def readable(files: Any, name: str) -> bool:
    """Whether a shard is whole."""
    try:
        with files.open(f"{_BUCKET}/cut/tokens/{name}", "rb") as stream:
            pq.read_table(stream)
    except Exception:  # whatever is raised for a file that is cut off
        return False
    return True


def same(files: Any, out: str, local: dict[str, bytes]) -> bool:
    """Whether the shards are those that were made locally. Names of sources differ, as folders do."""
    return {name: bytes(files.cat_file(f"{_BUCKET}/{out}/tokens/{name}")) for name in shards(files, out)} == local


if __name__ == "__main__":
    main()
