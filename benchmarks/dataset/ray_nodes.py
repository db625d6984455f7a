"""Ray on two nodes of this machine: an actor is killed, then a node; a pool as large as the processors; S3 in and out.

Needs `pip install "vqcodec[ray]"`; each node is a process of Ray with two processors.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from vqcodec.benchmarks.dataset.making import digests, make_pictures, run, tell
from vqcodec.dataset.on_ray import tokenize_on_ray
from vqcodec.dataset.packages import needed
from vqcodec.dataset.plan import TokenPlan
from vqcodec.dataset.shard import TOKENS
from vqcodec.dataset.spec import TokenSpec


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos")
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--s3", action="store_true", help="with a local S3 server, needs moto and s3fs")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        show(options.photos, Path(folder), options.pictures, options.s3)


def show(source: str, folder: Path, pictures: int, s3: bool) -> None:
    """Print what became of the shards."""
    make_pictures(source, folder / "pictures", pictures)
    words = ("tokenize", folder / "pictures", "--shard-size", 10, "--workers", 2)
    run(*words, "-o", folder / "local")
    if s3:
        from vqcodec.benchmarks.dataset.s3_server import Server

        os.environ.update(Server().variables)
    ray, utilities = needed("ray", "ray"), needed("ray.cluster_utils", "ray")
    cluster = utilities.Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    second = cluster.add_node(num_cpus=2)
    cluster.wait_for_nodes()
    ray.init(address=cluster.address, log_to_driver=False)
    expected = digests(folder / "local")

    def made(name: str, disturb: Any = None) -> None:
        plan = TokenPlan.make([folder / "pictures"], folder / name, TokenSpec(shard_size=10), device="cpu")
        if disturb:
            threading.Thread(target=disturb, args=(plan,), daemon=True).start()
        started = time.monotonic()
        results = list(tokenize_on_ray(plan, cluster.address))
        same = digests(folder / name) == expected
        seconds = round(time.monotonic() - started, 1)
        tell(what=name, shards=plan.shards, results=len(results), seconds=seconds, identical=same)

    made("undisturbed, a pool as large as the processors")
    made("an actor killed", _kill_actor)
    if s3:
        _through_s3(folder, cluster.address)

    def lose_node(plan: TokenPlan) -> None:
        _wait_for_shards(plan, 3)
        cluster.remove_node(second, allow_graceful=False)
        tell(what="a node is gone", shards_before=len(plan.store.names(TOKENS)))

    made("a node lost", lose_node)
    ray.shutdown()
    cluster.shutdown()


def _kill_actor(plan: TokenPlan) -> None:
    _wait_for_shards(plan, 3)
    actors = [process for process in _descendants() if b"MapWorker" in _read(process, "cmdline")]
    os.kill(actors[0], 9)
    tell(what="an actor is gone", of=len(actors))


def _descendants() -> list[int]:
    """The processes that this one started, and those that they started: the nodes and their workers."""
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdecimal() and (stat := _read(int(entry), "stat")):
            parents[int(entry)] = int(stat.rsplit(b")", 1)[1].split()[1])
    found = {os.getpid()}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return sorted(found - {os.getpid()})


def _read(process: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{process}/{name}").read_bytes()
    except OSError:
        return b""


def _wait_for_shards(plan: TokenPlan, count: int) -> None:
    while len(plan.store.names(TOKENS)) < count:
        time.sleep(0.05)


def _through_s3(folder: Path, address: str) -> None:
    files = needed("fsspec", "dataset").filesystem("s3")
    files.mkdir("demo")
    for path in (folder / "pictures").rglob("*.jpg"):
        files.pipe_file(f"demo/pictures/{path.relative_to(folder / 'pictures').as_posix()}", path.read_bytes())
    plan = TokenPlan.make(["s3://demo/pictures"], "s3://demo/out", TokenSpec(shard_size=10), device="cpu")
    results = list(tokenize_on_ray(plan, address))
    local = {path.name: path.read_bytes() for path in (folder / "local" / TOKENS).iterdir()}
    there = {name: plan.store.read(f"{TOKENS}/{name}") for name in plan.store.names(TOKENS)}
    tell(what="S3 in and out", results=len(results), identical=there == local)


if __name__ == "__main__":
    main()
