"""How long encoding and decoding take, and where the time goes."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import torch
from PIL import Image

import vqcodec.codec
from vqcodec.benchmarks.common.memory import peak_memory_bytes
from vqcodec.codec import Codec
from vqcodec.compute.devices import fast_dtype
from vqcodec.models.config import AutoencoderConfig
from vqcodec.models.engine import TimedStep
from vqcodec.models.network_input import picture_input
from vqcodec.native.library import thread_count
from vqcodec.pictures.arrays import Pixels

#: what is measured -> its steps in their order; what is left of the whole is "other": tiles, copies, checks
STEPS: Final = {
    "encode": ("tensor conversion", "Encoder", "quantisation", "entropy coding"),
    "decode": ("entropy decoding", "look-up", "Decoder", "pixel conversion"),
    "tokenize": ("Encoder", "quantisation"),
    "detokenize": ("look-up", "Decoder"),
}
#: parts of the codec -> their steps; conversions and "other" are the rest
PARTS: Final = {
    "network": {"Encoder", "Decoder"},
    "quantiser": {"quantisation", "look-up"},
    "entropy coder": {"entropy coding", "entropy decoding"},
}


@dataclass(frozen=True)
class Speed:
    """Warm medians over `repeat` calls, in seconds, of one kind of call, `work`:

    encode, decode: (H, W, 3) uint8 pixels to the bytes of a stream, and back; batch is 1.
    tokenize, detokenize: a (batch, 3, H, W) float32 tensor in main memory to tokens in main memory, and back.

    width, height: of a picture in pixels, before padding. bytes: of the stream, None where there is none. seconds: of
    the whole call. cpu_seconds: that all threads computed in it, which other work on the machine changes less. steps:
    medians by step, "other" last; they sum to nearly the whole. peak_memory_bytes: main memory
    that the process has held at most up to now, None where the system does not tell.
    """

    work: str
    width: int
    height: int
    batch: int
    levels: int
    device: str
    dtype: str
    threads: int
    repeat: int
    bytes: int | None
    seconds: float
    cpu_seconds: float
    steps: dict[str, float]
    peak_memory_bytes: int | None

    @property
    def megapixels_per_second(self) -> float:
        """Million pixels of pictures in a second."""
        return self.batch * self.width * self.height / 1e6 / self.seconds

    @property
    def images_per_second(self) -> float:
        """Pictures in a second."""
        return self.batch / self.seconds

    @property
    def shares(self) -> dict[str, float]:
        """Of the whole, 0..1, by part of the codec, "rest" last; without parts that take no part in this work."""
        parts = {name: sorted(steps & self.steps.keys()) for name, steps in PARTS.items()}
        parts["rest"] = sorted(self.steps.keys() - set().union(*PARTS.values()))
        return {name: sum(self.steps[step] for step in steps) / self.seconds for name, steps in parts.items() if steps}

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return asdict(self) | {
            "megapixels_per_second": self.megapixels_per_second,
            "images_per_second": self.images_per_second,
            "shares": self.shares,
        }


def measure_speed(
    codec: Codec, rgb: Pixels, *, levels: int, repeat: int, warm_up: int = 2, entropy: str | None = None
) -> list[Speed]:
    """Encode, then decode `rgb` (H, W, 3) uint8 `warm_up` and then `repeat` times with the first `levels` levels.

    entropy: by default the codec's.

    The steps are timed within the very calls that are timed as a whole. Not for use while other threads use `codec`.
    """
    stream = codec.encode(rgb, levels=levels, entropy=entropy)
    calls = {
        "encode": lambda: codec.encode(rgb, levels=levels, entropy=entropy),
        "decode": lambda: codec.decode_stream(stream),
    }
    return _measure(codec, calls, rgb, batch=1, levels=levels, stream_bytes=len(stream), repeat=repeat, warm_up=warm_up)


def measure_batch(codec: Codec, rgb: Pixels, *, batch: int, levels: int, repeat: int, warm_up: int = 2) -> list[Speed]:
    """Like `measure_speed`, but tokenize and detokenize of `batch` pictures at a time.

    The pictures are `rgb` (H, W, 3) uint8, each shifted by a column more, and padded to whole tokens.
    """
    images = shifted_pictures(codec.card.autoencoder, rgb, batch)
    tokens = codec.tokenize(images, levels=levels)
    calls = {"tokenize": lambda: codec.tokenize(images, levels=levels), "detokenize": lambda: codec.detokenize(tokens)}
    return _measure(codec, calls, rgb, batch=batch, levels=levels, stream_bytes=None, repeat=repeat, warm_up=warm_up)


def _measure(
    codec: Codec,
    calls: Mapping[str, Callable[[], object]],
    rgb: Pixels,
    *,
    batch: int,
    levels: int,
    stream_bytes: int | None,
    repeat: int,
    warm_up: int,
) -> list[Speed]:
    if repeat < 1:
        raise ValueError(f"repeat {repeat}: must be at least 1")
    speeds = []
    for work, call in calls.items():
        with _stopwatch(codec) as seconds:
            runs = [_timed(seconds, call) for _ in range(warm_up + repeat)]
        medians = _medians(runs[warm_up:], STEPS[work])
        speeds.append(
            Speed(
                work=work,
                width=rgb.shape[1],
                height=rgb.shape[0],
                batch=batch,
                levels=levels,
                device=codec.place,
                dtype=codec.arithmetic,
                threads=threads_of(codec),
                repeat=repeat,
                bytes=stream_bytes,
                seconds=medians.pop("whole"),
                cpu_seconds=medians.pop("cpu"),
                steps=medians,
                peak_memory_bytes=peak_memory_bytes(),
            )
        )
    return speeds


def threads_of(codec: Codec) -> int:
    """How many compute what this codec does."""
    return thread_count() if codec.arithmetic == "native" else torch.get_num_threads()


def arithmetics_worth_measuring(codec: Codec) -> tuple[str, ...]:
    """That of the codec, torch in float32, and in bfloat16 where the device multiplies it in hardware."""
    on_torch = (torch.float32, fast_dtype(codec.device))
    return tuple(dict.fromkeys((codec.arithmetic, *(str(dtype).removeprefix("torch.") for dtype in on_torch))))


def synthetic_picture(width: int, height: int, *, seed: int = 0) -> Pixels:
    """A picture (height, width, 3) uint8 of soft colours with some grain, the same for the same size and seed."""
    generator = np.random.default_rng(seed)
    rows, cols = -(-height // 32) + 1, -(-width // 32) + 1
    coarse = Image.fromarray(generator.integers(0, 256, (rows, cols, 3), dtype=np.uint8))
    pixels = np.array(coarse.resize((width, height), Image.Resampling.BICUBIC))
    pixels ^= generator.integers(0, 8, pixels.shape, dtype=np.uint8)
    return pixels


def shifted_pictures(config: AutoencoderConfig, rgb: Pixels, batch: int) -> torch.Tensor:
    """What an Encoder takes of `rgb` (H, W, 3) uint8, (batch, C, H', W'), each wrapped round by a column more."""
    # first of all, so that memory which is not there is missed at once
    images = torch.empty((batch, *picture_input(config, rgb).shape[1:]))
    for number in range(batch):
        images[number] = picture_input(config, np.roll(rgb, number, axis=1))[0]
    return images


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
    coding: list[TimedStep] = [
        (vqcodec.codec, "write_stream", "entropy coding", None),
        (vqcodec.codec, "read_stream", "entropy decoding", None),
    ]
    with ExitStack() as stack:
        for owner, name, step, inside in coding + codec.timed_steps():
            stack.enter_context(_replaced(owner, name, step, inside, seconds, lambda: _synchronize(codec.device)))
        yield seconds


@contextmanager
def _replaced(
    owner: Any, name: str, step: str, inside: str | None, seconds: dict[str, float], synchronize: Callable[[], None]
) -> Iterator[None]:
    original = getattr(owner, name)
    was_own = name in vars(owner)

    def timed(*arguments: Any, **options: Any) -> Any:
        synchronize()
        started = time.perf_counter()
        result = original(*arguments, **options)
        synchronize()
        taken = time.perf_counter() - started
        seconds[step] += taken
        if inside:
            seconds[inside] -= taken
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
    """Seconds by step, with "whole", "cpu" and "other", of running `work` once."""
    steps.clear()
    started, computed = time.perf_counter(), time.process_time()
    work()
    whole, cpu = time.perf_counter() - started, time.process_time() - computed
    return dict(steps) | {"whole": whole, "cpu": cpu, "other": whole - sum(steps.values())}


def _medians(runs: list[dict[str, float]], steps: tuple[str, ...]) -> dict[str, float]:
    return {name: statistics.median(run[name] for run in runs) for name in (*steps, "other", "whole", "cpu")}


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
