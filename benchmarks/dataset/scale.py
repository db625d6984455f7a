"""Plans of a million entries, speed and memory as the number of pictures grows, and the command against its parts."""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from vqcodec.benchmarks.dataset.making import command, photos, tell
from vqcodec.codec import Codec
from vqcodec.dataset.crops import crops_of
from vqcodec.dataset.spec import TokenSpec
from vqcodec.native.library import use_threads
from vqcodec.pictures.image import load_image

#: runs a command and prints its seconds, its peak memory in MB with that of its processes, and its exit code
_MEASURED = (
    "import resource, subprocess, sys, time\n"
    "started = time.monotonic()\n"
    "code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode\n"
    "usage = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
    "print(time.monotonic() - started, usage.ru_maxrss / 1024, usage.ru_utime + usage.ru_stime, code)\n"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos")
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--sizes", default="1000,10000,100000")
    parser.add_argument("--only", choices=["plans", "growth", "parts"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.only in (None, "plans"):
            plans(Path(folder), options.entries)
        if options.only in (None, "growth"):
            growth(Path(folder), [int(size) for size in options.sizes.split(",")])
        if options.only in (None, "parts"):
            parts(options.photos, Path(folder))


def measured(*words: object) -> tuple[float, float, float, int]:
    """Seconds, peak memory of its largest process in MB, processor seconds and exit code of a command."""
    told = subprocess.run(
        [sys.executable, "-c", _MEASURED, *command(*words)], capture_output=True, text=True, check=True
    ).stdout.split()
    return float(told[0]), float(told[1]), float(told[2]), int(told[3])


def plans(folder: Path, entries: int) -> None:
    """Print what plans of so many entries take, from a list, an archive and folders of files."""
    (folder / "list.txt").write_text("".join(f"photos/{number:09}.jpg\n" for number in range(entries)))
    with (folder / "archive.tar").open("wb") as archive:
        for number in range(entries):
            archive.write(tarfile.TarInfo(f"{number:09}.jpg").tobuf(tarfile.USTAR_FORMAT))
        archive.write(bytes(1024))
    for number in range(entries):
        if number % 1000 == 0:
            (folder / "files" / f"{number // 1000:06}").mkdir(parents=True)
        (folder / "files" / f"{number // 1000:06}" / f"{number:09}.jpg").touch()
    for name in ("list.txt", "archive.tar", "files"):
        seconds, memory, processor, code = measured(
            "tokenize", folder / name, "-o", folder / f"out-{name}", "--plan-only"
        )
        size = sum(path.stat().st_size for path in (folder / f"out-{name}" / "plan").iterdir())
        tell(
            what="plan",
            of=name,
            entries=entries,
            exit=code,
            seconds=round(seconds, 1),
            processor_seconds=round(processor, 1),
            memory_mb=round(memory),
            bytes_an_entry=round(size / entries, 1),
        )


def growth(folder: Path, sizes: list[int]) -> None:
    """Print speed and memory of whole runs over tiny pictures, with a tiny crop and one level."""
    rng = np.random.default_rng(0)
    contents = []
    for _ in range(1000):
        content = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(content, "PNG")
        contents.append(content.getvalue())
    for size in sizes:
        with tarfile.open(folder / f"tiny-{size}.tar", "w") as archive:
            for number in range(size):
                info = tarfile.TarInfo(f"{number:09}.png")
                info.size = len(contents[number % 1000])
                archive.addfile(info, io.BytesIO(contents[number % 1000]))
        words = ("tokenize", folder / f"tiny-{size}.tar", "-o", folder / f"tokens-{size}", "--size", 16, "--levels", 1)
        seconds, memory, processor, code = measured(*words, "--workers", 2)
        tell(
            what="growth",
            pictures=size,
            exit=code,
            pictures_per_second=round(size / seconds),
            pictures_per_processor_second=round(size / processor),
            memory_mb=round(memory),
        )


def parts(source: str, folder: Path) -> None:
    """Print the speed of the whole command against decoding and tokenizing measured alone, per processor second."""
    some = [content for _, content in photos(source)][:400]
    spec, codec = TokenSpec(), Codec.load(device="cpu")
    use_threads(1)
    before = time.process_time()
    pixels = [
        crops_of(load_image(content, alpha="drop", look_for_damage=False).rgb, spec, "")[0].pixels for content in some
    ]
    decoding = len(some) / (time.process_time() - before)
    before = time.process_time()
    for crop in pixels:
        codec.tokenize_pixels(crop)
    tokenizing = len(some) / (time.process_time() - before)
    together = 1 / (1 / decoding + 1 / tokenizing)
    out = folder / "out"
    seconds, _, processor, code = measured("tokenize", source, "-o", out, "--workers", 2)
    count = json.loads(subprocess.run(command("tokens", "info", out, "--json"), capture_output=True, check=True).stdout)
    rate = count["pictures"] / processor
    tell(
        what="parts, pictures a processor second",
        exit=code,
        decoding=round(decoding, 1),
        tokenizing=round(tokenizing, 1),
        one_after_the_other=round(together, 1),
        command=round(rate, 1),
        of_the_slower=round(rate / min(decoding, tokenizing), 3),
        of_both=round(rate / together, 3),
        wall_seconds=round(seconds, 1),
    )


if __name__ == "__main__":
    main()
