"""kill -9 of the whole process group at random moments, then to the end: the same bytes, and no left-overs."""

from __future__ import annotations

import argparse
import os
import signal
import tempfile
import time
from pathlib import Path

import numpy as np

from vqcodec.benchmarks.dataset.making import digests, make_pictures, run, start, tell


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--pictures", type=int, default=600)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        show(options.photos, Path(folder), options.kills, options.pictures)


def show(source: str, folder: Path, kills: int, pictures: int) -> None:
    """Print how the runs went."""
    make_pictures(source, folder / "pictures", pictures)
    words = ("tokenize", folder / "pictures", "--shard-size", 10, "--workers", 2)
    done, seconds = run(*words, "-o", folder / "undisturbed")
    tell(what="undisturbed", exit=done.returncode, seconds=round(seconds, 1))
    rng = np.random.default_rng(0)
    out, killed, partial = folder / "out", 0, 0
    for _ in range(kills):
        process = start(*words, "-o", out)
        time.sleep(float(rng.uniform(0.1, 1.5 + 1.5 * seconds / kills)))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            killed += 1
        process.wait()
        partial += len(list(out.rglob("*.partial")))
    done, _ = run(*words, "-o", out)
    one, other = digests(folder / "undisturbed"), digests(out)
    tell(
        what="killed",
        kills=killed,
        temporary_files_seen=partial,
        exit=done.returncode,
        files=len(other),
        identical=one == other,
    )


if __name__ == "__main__":
    main()
