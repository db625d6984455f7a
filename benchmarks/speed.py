"""How long encoding and decoding take, and where the time goes."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from PIL import Image

import vqcodec.codec
from vqcodec.benchmarks.codecs import Pixels
from vqcodec.benchmarks.memory import peak_memory_bytes
from vqcodec.codec import Codec
from vqcodec.devices import fast_dtype

#: the steps of encoding and decoding in their order; what is left of the whole is "other": tiles, copies, checks
ENCODE_STEPS: Final = ("tensor conversion", "Encoder", "quantisation", "entropy coding")
DECODE_STEPS: Final = ("entropy decoding", "look-up", "Decoder", "pixel conversion")


@dataclass(frozen=True)
class Speed:
    """Warm medians over `repeat` runs, in seconds: from (H, W, 3) uint8 pixels to the bytes of a stream, and back.

    encode_steps, decode_steps: medians by step, "other" last; they sum to nearly the whole. bytes: of the stream.
    peak_memory_bytes: of the whole process up to now, None where the system does not tell.
    """

    width: int
    height: int
    levels: int
    device: str
    dtype: str
    threads: int
    repeat: int
    bytes: int
    encode_seconds: float
    decode_seconds: float
    encode_steps: dict[str, float]
    decode_steps: dict[str, float]
    peak_memory_bytes: int | None


def measure_speed(codec: Codec, rgb: Pixels, *, levels: int, repeat: int, warm_up: int = 2) -> Speed:
    """Encode and decode `rgb` (H, W, 3) uint8 `warm_up` and then `repeat` times with the first `levels` levels.

    The steps are timed within the very calls that are timed as a whole. Not for use while other threads use `codec`.
    """
    if repeat < 1:
        raise ValueError(f"repeat {repeat}: must be at least 1")
    stream = codec.encode(rgb, levels=levels)
    with _stopwatch(codec) as steps:
        encodes = [_timed(steps, lambda: codec.encode(rgb, levels=levels)) for _ in range(warm_up + repeat)]
        decodes = [_timed(steps, lambda: codec.decode_stream(stream)) for _ in range(warm_up + repeat)]
    encode_medians = _medians(encodes[warm_up:], ENCODE_STEPS)
    decode_medians = _medians(decodes[warm_up:], DECODE_STEPS)
    return Speed(
        width=rgb.shape[1],
        height=rgb.shape[0],
        levels=levels,
        device=str(codec.device),
        dtype=str(codec.dtype).removeprefix("torch."),
        threads=torch.get_num_threads(),
        repeat=repeat,
        bytes=len(stream),
        encode_seconds=encode_medians.pop("whole"),
        decode_seconds=decode_medians.pop("whole"),
        encode_steps=encode_medians,
        decode_steps=decode_medians,
        peak_memory_bytes=peak_memory_bytes(),
    )


def dtypes_worth_measuring(device: torch.device) -> tuple[torch.dtype, ...]:
    """float32, and bfloat16 where the device multiplies it in hardware."""
    return tuple(dict.fromkeys((torch.float32, fast_dtype(device))))


def synthetic_picture(width: int, height: int, *, seed: int = 0) -> Pixels:
    """A picture (height, width, 3) uint8 of soft colours with some grain, the same for the same size and seed."""
    generator = np.random.default_rng(seed)
    rows, cols = -(-height // 32) + 1, -(-width // 32) + 1
    coarse = Image.fromarray(generator.integers(0, 256, (rows, cols, 3), dtype=np.uint8))
    pixels = np.array(coarse.resize((width, height), Image.Resampling.BICUBIC))
    pixels ^= generator.integers(0, 8, pixels.shape, dtype=np.uint8)
    return pixels


def repeated_picture(rgb: Pixels, width: int, height: int) -> Pixels:
    """`rgb` (H, W, 3) uint8 repeated and mirrored to (height, width, 3), so that it has no seams."""
    rows, cols = (_mirrored(length, side) for length, side in zip(rgb.shape[:2], (height, width), strict=True))
    return np.ascontiguousarray(rgb[rows][:, cols])


def _mirrored(length: int, wanted: int) -> np.ndarray[Any, np.dtype[np.intp]]:
    phase = np.arange(wanted) % (2 * length)
    return np.minimum(phase, 2 * length - 1 - phase)


@contextmanager
def _stopwatch(codec: Codec) -> Iterator[dict[str, float]]:
    """While it is open, the seconds of each step of `codec` are added to the dictionary that it gives."""
    seconds: dict[str, float] = defaultdict(float)
    network = codec.network
    timed: list[tuple[Any, str, str]] = [
        (vqcodec.codec, "to_tensor", "tensor conversion"),
        (network.encoder, "forward", "Encoder"),
        (network.quantizer, "tokens", "quantisation"),
        (vqcodec.codec, "write_stream", "entropy coding"),
        (vqcodec.codec, "read_stream", "entropy decoding"),
        (network, "latent", "look-up"),
        (network.decoder, "forward", "Decoder"),
        (vqcodec.codec, "from_tensor", "pixel conversion"),
    ]
    with ExitStack() as stack:
        for owner, name, step in timed:
            stack.enter_context(_replaced(owner, name, step, seconds, lambda: _synchronize(codec.device)))
        yield seconds


@contextmanager
def _replaced(
    owner: Any, name: str, step: str, seconds: dict[str, float], synchronize: Callable[[], None]
) -> Iterator[None]:
    original = getattr(owner, name)
    was_own = name in vars(owner)

    def timed(*arguments: Any, **options: Any) -> Any:
        synchronize()
        started = time.perf_counter()
        result = original(*arguments, **options)
        synchronize()
        seconds[step] += time.perf_counter() - started
        return result

    setattr(owner, name, timed)
    try:
        yield
    finally:
        if was_own:
            setattr(owner, name, original)
        else:
            delattr(owner, name)


def _timed(steps: dict[str, float], work: Callable[[], object]) -> dict[str, float]:
    """Seconds by step, with "whole" and "other", of running `work` once."""
    steps.clear()
    started = time.perf_counter()
    work()
    whole = time.perf_counter() - started
    return dict(steps) | {"whole": whole, "other": whole - sum(steps.values())}


def _medians(runs: list[dict[str, float]], steps: tuple[str, ...]) -> dict[str, float]:
    return {name: statistics.median(run[name] for run in runs) for name in (*steps, "other", "whole")}


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
