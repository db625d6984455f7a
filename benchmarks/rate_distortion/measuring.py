"""Rate and distortion of codecs on a folder of pictures, by the real bytes of whole files."""

from __future__ import annotations

import signal
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import TypeAlias

import torch
from PIL import Image

from vqcodec.benchmarks.rate_distortion.codecs import ImageCodec, RateSetting
from vqcodec.benchmarks.rate_distortion.points import PointKey, RDPoint, append_points, read_points
from vqcodec.benchmarks.rate_distortion.store import Store, original_key
from vqcodec.benchmarks.rate_distortion.tools import Tools
from vqcodec.compute.memory import keep_freed_memory
from vqcodec.pictures.arrays import Pixels
from vqcodec.pictures.image import load_image


@dataclass(frozen=True)
class Run:
    """points: all that were asked for and could be had. failures: a line for each picture that failed.

    damaged: a line for each line of the results file that could not be read. measured: how many points are new.
    """

    points: tuple[RDPoint, ...]
    failures: tuple[str, ...]
    damaged: tuple[str, ...]
    measured: int


@dataclass(frozen=True)
class Workers:
    """Processes that share the work, and torch's threads. `make_tools` makes the tools in each of them: pickled."""

    jobs: int
    make_tools: Callable[[], Tools]


class WorkerError(RuntimeError):
    """A process that measured was ended from outside."""


@dataclass(frozen=True)
class _Task:
    """One picture through one codec. known: the points of it that are there already."""

    image: str
    path: Path
    codec: int
    known: Mapping[PointKey, RDPoint]


@dataclass(frozen=True)
class _TakenPoint:
    """A point, and whether it was measured now."""

    point: RDPoint
    is_new: bool


#: gives the points of a task, or what went wrong with it
_Outcome: TypeAlias = tuple[_Task, Iterable[_TakenPoint] | str]


def find_images(folder: Path) -> dict[str, Path]:
    """The picture files below a folder by their path in it, sorted; by extension, hidden files left out."""
    Image.init()
    suffixes = set(Image.EXTENSION)
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in suffixes and path.is_file())
    names = {path.relative_to(folder).as_posix(): path for path in paths}
    return {name: path for name, path in names.items() if not any(part.startswith(".") for part in name.split("/"))}


def count_points(images: int, codecs: Sequence[ImageCodec]) -> int:
    """How many points `run` makes of so many pictures, those that are there already included."""
    return images * sum(len(codec.settings) for codec in codecs)


def run(
    images: Mapping[str, Path],
    tools: Tools,
    results_path: Path,
    *,
    store: Store | None = None,
    workers: Workers | None = None,
    progress: Callable[[int], object] = lambda points: None,
) -> Run:
    """Measure every codec at every setting.

    Points go into `results_path` as soon as they are there; what it holds already is not measured again, unless it
    lacks a metric that can be had now, or `store` lacks what belongs to it. A picture that cannot be read, or that a
    codec fails on, is left out as a whole, so that all means are over the same pictures. `progress` is called with the
    number of points that are done since the last call; in all they are `count_points`. With `workers` the seconds of
    points are taken beside other work. Raises WorkerError when one of these processes dies.
    """
    known, damaged = read_points(results_path)
    tasks = list(_tasks(images, tools.codecs, known))
    points: dict[str, list[RDPoint]] = {name: [] for name in images}
    failures: dict[str, str] = {}
    measured = 0
    for task, outcome in _outcomes(tasks, tools, store, workers):
        left = len(tools.codecs[task.codec].settings)
        try:
            if isinstance(outcome, str):
                raise _TaskError(outcome)
            for taken in outcome:
                if taken.is_new:
                    append_points(results_path, [taken.point])
                    measured += 1
                points[task.image].append(taken.point)
                left -= 1
                progress(1)
        except _TaskError as error:
            failures.setdefault(task.image, str(error))
            progress(left)
    whole = [point for name in images if name not in failures for point in points[name]]
    return Run(tuple(whole), tuple(failures[name] for name in images if name in failures), tuple(damaged), measured)


class _TaskError(ValueError):
    """A picture could not be read, or a codec failed on it; the message is one line with the file."""


def _tasks(images: Mapping[str, Path], codecs: Sequence[ImageCodec], known: Sequence[RDPoint]) -> Iterator[_Task]:
    by_task: dict[tuple[str, str], dict[PointKey, RDPoint]] = {}
    for point in known:
        by_task.setdefault((point.image, point.codec), {})[point.key] = point
    for name, path in images.items():
        for number, codec in enumerate(codecs):
            yield _Task(name, path, number, by_task.get((name, codec.name), {}))


def _outcomes(tasks: Sequence[_Task], tools: Tools, store: Store | None, workers: Workers | None) -> Iterator[_Outcome]:
    """The tasks as they are done: in this process one point after the other, in others one task after the other."""
    if workers is None:
        keep_freed_memory()
        bench = _Bench(tools, store)
        for task in tasks:
            yield task, bench.points_of(task)
        return
    threads = max(1, torch.get_num_threads() // workers.jobs)
    arguments = (workers.make_tools, store, threads)
    executor = ProcessPoolExecutor(workers.jobs, get_context("spawn"), _start_worker, arguments)
    try:
        futures: list[tuple[_Task, Future[list[_TakenPoint] | str]]] = [
            (task, executor.submit(_work, task)) for task in tasks
        ]
        for task, future in futures:
            yield task, future.result()
    except BrokenProcessPool as error:
        raise WorkerError("a measuring process was ended, perhaps for want of memory; try fewer --jobs") from error
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


_bench: _Bench | None = None


def _start_worker(make_tools: Callable[[], Tools], store: Store | None, threads: int) -> None:
    global _bench
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that waits for this one
    torch.set_num_threads(threads)
    keep_freed_memory()
    _bench = _Bench(make_tools(), store)


def _work(task: _Task) -> list[_TakenPoint] | str:
    assert _bench is not None
    try:
        return list(_bench.points_of(task))
    except _TaskError as error:
        return str(error)


class _Bench:
    """Looks points up and measures those that are missing."""

    def __init__(self, tools: Tools, store: Store | None) -> None:
        self._codecs, self._metrics, self._store = tools.codecs, tools.metrics, store
        self._warm: set[tuple[str, int, int]] = set()
        # the tasks of a picture come one after the other
        self._read = lru_cache(maxsize=1)(lambda path: load_image(path, alpha="drop").rgb)

    def points_of(self, task: _Task) -> Iterator[_TakenPoint]:
        codec = self._codecs[task.codec]
        try:
            rgb = self._read(task.path)
            crc32 = zlib.crc32(rgb.tobytes())
            self._keep_original(original_key(task.image, crc32), rgb)
            for setting in codec.settings:
                known = task.known.get((codec.name, task.image, crc32, setting))
                if known is not None and self._is_whole(known):
                    yield _TakenPoint(known, is_new=False)
                else:
                    yield _TakenPoint(self._measure(task.image, rgb, crc32, codec, setting), is_new=True)
        except (ValueError, OSError, RuntimeError) as error:
            line = " ".join(str(error).split())
            named = line if line.startswith(str(task.path)) else f"{task.path}: {codec.name}: {line}"
            raise _TaskError(named) from error

    def _is_whole(self, point: RDPoint) -> bool:
        names = self._metrics.names_for(point.width, point.height)
        return all(getattr(point, name) is not None for name in names) and (
            self._store is None or self._store.has(point.key)
        )

    def _keep_original(self, key: PointKey, rgb: Pixels) -> None:
        if self._store is not None and not self._store.has(key):
            self._store.keep(key, rgb, self._metrics.features(rgb) if self._store.wants_features else None)

    def _measure(self, image: str, rgb: Pixels, crc32: int, codec: ImageCodec, setting: RateSetting) -> RDPoint:
        height, width = rgb.shape[:2]
        if (codec.name, width, height) not in self._warm:
            codec.decode(codec.encode(rgb, setting), width, height)
            self._warm.add((codec.name, width, height))
        started = time.perf_counter()
        data = codec.encode(rgb, setting)
        encoded = time.perf_counter()
        decoded = codec.decode(data, width, height)
        finished = time.perf_counter()
        measured = self._metrics.measure(rgb, decoded)
        point = RDPoint(
            codec=codec.name,
            setting=setting,
            image=image,
            pixels_crc32=crc32,
            bytes=len(data),
            width=width,
            height=height,
            psnr_db=measured.values["psnr_db"],
            ms_ssim=measured.values.get("ms_ssim"),
            lpips=measured.values.get("lpips"),
            lpips_vgg=measured.values.get("lpips_vgg"),
            dists=measured.values.get("dists"),
            encode_seconds=encoded - started,
            decode_seconds=finished - encoded,
        )
        if self._store is not None:
            self._store.keep(point.key, decoded, measured.features)
        return point
