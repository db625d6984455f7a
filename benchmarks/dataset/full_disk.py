"""A disk that is full: one clear line and exit code 1; with room, the same command ends with the same bytes.

Mounts a small tmpfs, and so is for root on Linux.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from pathlib import Path

from vqcodec.benchmarks.dataset.making import digests, make_pictures, run, tell


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos")
    parser.add_argument("--pictures", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        show(options.photos, Path(folder), options.pictures)


def show(source: str, folder: Path, pictures: int) -> None:
    """Print how the runs ended."""
    make_pictures(source, folder / "pictures", pictures)
    words = ("tokenize", folder / "pictures", "--shard-size", 20, "--workers", 2)
    run(*words, "-o", folder / "roomy")
    disk = folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", disk], check=True)
    try:
        done, _ = run(*words, "-o", disk / "out")
        lines = [line for line in done.stderr.splitlines() if line.startswith("error")]
        left = [path.name for path in disk.rglob("*.partial")]
        said = [line.replace(str(folder), "") for line in lines]
        whole = len(list((disk / "out" / "tokens").glob("*")))
        tell(what="full", exit=done.returncode, said=said, shards=whole, temporary_files=len(left))
        subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
        done, _ = run(*words, "-o", disk / "out")
        same = digests(disk / "out") == digests(folder / "roomy")
        tell(what="with room", exit=done.returncode, identical=same)
    finally:
        subprocess.run(["umount", disk], check=True)


if __name__ == "__main__":
    main()
