"""What is only seen from a fresh process: the time of a whole command, and the peak memory of one large picture."""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from vqcodec.benchmarks.common.memory import peak_memory_bytes
from vqcodec.benchmarks.speed.stages import repeated_picture, synthetic_picture


class ProcessError(RuntimeError):
    """A command that was to be measured failed; the message holds its last line."""


@dataclass(frozen=True)
class ColdStart:
    """Wall seconds of whole processes, from start to exit; medians of `repeat`, all files in the system's cache."""

    encode_seconds: float
    decode_seconds: float
    info_seconds: float
    repeat: int


@dataclass(frozen=True)
class LargePicture:
    """One encode and one decode of a large picture, each in a fresh process; the seconds without loading the model.

    The peaks are of the whole process: Python, torch, the model, and the picture as 8-bit pixels (3 bytes a pixel).
    loaded_memory_bytes: the peak before encoding, with model and picture loaded.
    """

    width: int
    height: int
    bytes: int
    encode_seconds: float
    decode_seconds: float
    loaded_memory_bytes: int | None
    encode_memory_bytes: int | None
    decode_memory_bytes: int | None


def measure_cold_start(
    model: str,
    picture: Image.Image,
    *,
    device: str = "auto",
    repeat: int = 3,
    threads: int | None = None,
    entropy: str | None = None,
) -> ColdStart:
    """Run `vqcodec encode`, `decode` and `info` on a PNG file of `picture`. Raises ProcessError when one fails.

    threads: of the processes, by default as many as they take.
    """
    command = [sys.executable, "-m", "vqcodec.cli.main"]
    with tempfile.TemporaryDirectory() as folder:
        source, stream, decoded = (str(Path(folder) / name) for name in ("picture.png", "picture.vq", "decoded.png"))
        picture.save(source)
        choice = ["-f", "--model", model, "--device", device]
        coding = ["--entropy", entropy] if entropy else []
        encode_seconds = wall_seconds([*command, "encode", source, stream, *choice, *coding], repeat, threads)
        decode_seconds = wall_seconds([*command, "decode", stream, decoded, *choice], repeat, threads)
        info_seconds = wall_seconds([*command, "info", stream], repeat, threads)
    return ColdStart(encode_seconds, decode_seconds, info_seconds, repeat)


def wall_seconds(command: Sequence[str], repeat: int, threads: int | None = None) -> float:
    """Median wall seconds of a command, after one run that is not counted. Raises ProcessError when it fails."""
    seconds = []
    for _ in range(repeat + 1):
        started = time.perf_counter()
        _output(command, threads)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[1:])


def measure_large(
    model: str,
    megapixels: float,
    *,
    image: Path | None = None,
    device: str = "auto",
    threads: int | None = None,
    entropy: str | None = None,
) -> LargePicture:
    """Encode and decode a 3:2 picture of `megapixels` million pixels: `image` repeated, or a synthetic one.

    entropy: by default the model's best.

    Raises ProcessError when a process fails, as it does when memory runs out.
    """
    width, height = large_size(megapixels)
    with tempfile.TemporaryDirectory() as folder:
        stream = Path(folder) / "large.vq"
        common = [sys.executable, "-m", "vqcodec.benchmarks.speed.processes", "--model", model, "--device", device]
        common += ["--size", str(width), str(height), "--stream", str(stream)]
        common += ["--image", str(image)] if image else []
        common += ["--entropy", entropy] if entropy else []
        encoded = json.loads(_output([*common, "--direction", "encode"], threads).splitlines()[-1])
        decoded = json.loads(_output([*common, "--direction", "decode"], threads).splitlines()[-1])
        return LargePicture(
            width=width,
            height=height,
            bytes=stream.stat().st_size,
            encode_seconds=encoded["seconds"],
            decode_seconds=decoded["seconds"],
            loaded_memory_bytes=encoded["loaded_memory_bytes"],
            encode_memory_bytes=encoded["memory_bytes"],
            decode_memory_bytes=decoded["memory_bytes"],
        )


def large_size(megapixels: float) -> tuple[int, int]:
    """(width, height) in pixels of a 3:2 picture of about so many million pixels."""
    unit = math.sqrt(megapixels * 1e6 / 6)
    return max(1, round(3 * unit)), max(1, round(2 * unit))


def _output(command: Sequence[str], threads: int | None) -> str:
    # of the core and of torch
    counts = {name: str(threads) for name in ("VQCODEC_THREADS", "OMP_NUM_THREADS") if threads}
    done = subprocess.run(command, env=os.environ | counts, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it printed nothing"])[-1]
        raise ProcessError(f"{' '.join(command[1:4])} ended with code {done.returncode}: {last}")
    return done.stdout


def _one_direction(options: argparse.Namespace) -> dict[str, Any]:
    """In the fresh process: encode to, or decode from, the file `options.stream`."""
    from vqcodec.codec import Codec
    from vqcodec.pictures.image import load_image

    codec = Codec.load(options.model, device=options.device)
    if options.direction == "encode":
        if options.image is None:
            rgb = synthetic_picture(*options.size)
        else:
            rgb = repeated_picture(load_image(options.image, alpha="drop").rgb, *options.size)
        loaded = peak_memory_bytes()
        started = time.perf_counter()
        stream = codec.encode(rgb, entropy=options.entropy)
        seconds = time.perf_counter() - started
        options.stream.write_bytes(stream)
    else:
        data = options.stream.read_bytes()
        loaded = peak_memory_bytes()
        started = time.perf_counter()
        codec.decode_stream(data)
        seconds = time.perf_counter() - started
    return {"seconds": seconds, "loaded_memory_bytes": loaded, "memory_bytes": peak_memory_bytes()}


def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m vqcodec.benchmarks.speed.processes")
    parser.add_argument("--direction", choices=["encode", "decode"], required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--size", nargs=2, type=int, required=True)
    parser.add_argument("--stream", type=Path, required=True)
    parser.add_argument("--image", type=Path)
    parser.add_argument("--entropy")
    print(json.dumps(_one_direction(parser.parse_args())))


if __name__ == "__main__":
    _main()
