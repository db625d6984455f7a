"""Streams and pixels, made in one kind of process and in another: do all agree to the last bit?

A *case* is what a process may differ in: the core in C or numpy, threads, vector units, how many groups are computed at
once, settings of torch. Every stream of the integer prior is written in one case and, in another, decoded and encoded
again. Models are small priors with random weights, half of them of the largest size that 8 bits hold, in all orders,
and the default model's own. Pictures become tokens and tokens pictures in every case of the core, cut into tiles of
several sizes.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file

from vqcodec.benchmarks.priors import webassembly
from vqcodec.benchmarks.speed.processes import ProcessError
from vqcodec.native.library import core, units
from vqcodec.prior.config import PriorConfig
from vqcodec.prior.orders import ORDERS
from vqcodec.prior.transformer import Prior
from vqcodec.training.stage2.integer_export import integer_arrays

#: as numpy calls them, which has other names from 2.4 on
_AVX_512, _FMA = "X86_V4 AVX512_ICL AVX512_SPR AVX512F AVX512CD AVX512_SKX", "X86_V3 FMA3 AVX2"


_PLAIN: Final = (
    "-std=c11",
    "-O2",
    "-fno-tree-vectorize",
    "-DVQ_SCALAR",
    "-ffp-contract=off",
    "-fPIC",
    "-shared",
    "-pthread",
)


@dataclass(frozen=True)
class Case:
    """environment: variables of the process. at_once: tokens in one pass of a writer in numpy. settings: run before all
    else. tile: tokens along a side of one, for pictures."""

    environment: dict[str, str] = field(default_factory=dict)
    at_once: int = 192
    settings: str = ""
    tile: int = 96
    core: str = ""


def _core(unit: str, threads: int, tile: int) -> Case:
    return Case({"VQCODEC_CORE": "native", "VQCODEC_UNIT": unit, "VQCODEC_THREADS": str(threads)}, tile=tile)


def core_cases() -> dict[str, Case]:
    """Every unit of this processor, with 1, 2 and 4 threads and tiles of 96, 24 and 11 tokens; none without a core."""
    library = core()
    counts = ((1, 96), (2, 24), (4, 11))
    names = units(library) if library else []
    return {f"core, {unit}, threads: {count}": _core(unit, count, tile) for unit in names for count, tile in counts}


def other_builds(folder: Path) -> dict[str, Case]:
    """The core compiled without vectors, and for WebAssembly. Raises ProcessError where the
    sources, gcc, clang, wasm-ld or wasmtime are missing."""
    sources = Path(__file__).parents[2] / "core"
    if not sources.is_dir():
        raise ProcessError(
            "other builds of the core need its sources: install vqcodec from a checkout, pip install -e ."
        )
    if find_spec("wasmtime") is None:
        raise ProcessError("the core as WebAssembly runs in wasmtime: pip install wasmtime")
    plain, module = folder / "scalar.so", folder / "core.wasm"
    command = ["gcc", *_PLAIN, *map(str, sorted(sources.glob("*.c"))), "-o", str(plain)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ProcessError(f"gcc could not compile the core: {done.stderr.strip()}")
    webassembly.build(sources, module)
    native = {"VQCODEC_CORE": "native"}
    return {
        "core, scalar": Case(native | {"VQCODEC_THREADS": "2"}, tile=40, core=str(plain)),
        "core, WebAssembly": Case(native | {"VQCODEC_THREADS": "1"}, tile=24, core=str(module)),
    }


#: of numpy and torch
CASES: Final[dict[str, Case]] = {
    "as it is": Case(),
    "1 thread": Case({"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}, at_once=1),
    "2 threads": Case({"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"}, at_once=7),
    "4 threads": Case({"OMP_NUM_THREADS": "4", "OPENBLAS_NUM_THREADS": "4", "MKL_NUM_THREADS": "4"}, at_once=32),
    "AVX2": Case({"NPY_DISABLE_CPU_FEATURES": _AVX_512, "OPENBLAS_CORETYPE": "Haswell", "ATEN_CPU_CAPABILITY": "avx2"}),
    "SSE": Case(
        {
            "NPY_DISABLE_CPU_FEATURES": f"{_AVX_512} {_FMA}",
            "OPENBLAS_CORETYPE": "Nehalem",
            "ATEN_CPU_CAPABILITY": "default",
        },
        at_once=32,
    ),
    "reduced precision": Case(
        at_once=10_000,
        settings="torch.set_float32_matmul_precision('medium'); torch.set_default_dtype(torch.float64); "
        "torch.autocast('cpu', torch.bfloat16).__enter__()",
    ),
    "high precision, deterministic": Case(
        at_once=7,
        settings="torch.set_float32_matmul_precision('high'); torch.use_deterministic_algorithms(True)",
    ),
    "denormals flushed": Case(settings="torch.set_flush_denormal(True)"),
}


@dataclass(frozen=True)
class Portability:
    """streams: how many were written, of 1 to L levels. failures: of payloads that came out otherwise, a line each."""

    streams: int
    payloads: int
    tokens: int
    payload_bytes: int
    failures: tuple[str, ...]


def measure_portability(
    streams: int,
    own_prior: tuple[PriorConfig, Path] | None,
    *,
    cases: Mapping[str, Case],
    seed: int = 0,
    progress: Callable[[int], Any] = int,
) -> Portability:
    """Write and read so many streams. own_prior: of the default model, its file; one stream in ten is of it.

    progress: is told after each process how many streams it did. Raises ProcessError when a process fails.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        models = _models(folder, own_prior)
        names = list(cases)
        for action in ("write", "read"):
            for number, case in enumerate(cases.values()):
                arguments = f"{str(folder)!r}, {number}, {len(cases)}, {streams}, {models}, {seed}, {case.at_once}"
                _run(names[number], case, f"{action}({arguments})")
                progress(len(range(number, streams, len(cases))))
        written = [np.load(folder / f"write {number}.npz") for number in range(len(names))]
        read = [
            line for number in range(len(names)) for line in (folder / f"read {number}.txt").read_text().splitlines()
        ]
        return Portability(
            streams=streams,
            payloads=sum(len(each["sizes"]) for each in written),
            tokens=sum(int(each["tokens"]) for each in written),
            payload_bytes=sum(int(each["sizes"].sum()) for each in written),
            failures=tuple(read),
        )


@dataclass(frozen=True)
class PixelPortability:
    """tokens: of all pictures. differing: numbers of the pictures whose stream or pixels are not the same in all
    cases."""

    pictures: int
    tokens: int
    differing: tuple[int, ...]


def measure_pixels(
    pictures: int | Sequence[Path],
    model: str,
    *,
    cases: Mapping[str, Case],
    seed: int = 0,
    progress: Callable[[int], Any] = int,
) -> PixelPortability:
    """Files, or so many random pictures, to streams and back by a model, in every case. Raises ProcessError."""
    given = pictures if isinstance(pictures, int) else [str(path) for path in pictures]
    count = given if isinstance(given, int) else len(given)
    with tempfile.TemporaryDirectory() as name:
        for number, (label, case) in enumerate(cases.items()):
            _run(label, case, f"code({name!r}, {number}, {given!r}, {model!r}, {seed}, {case.tile}, {case.core!r})")
            progress(count)
        made = [json.loads((Path(name) / f"pixels {number}.json").read_text()) for number in range(len(cases))]
    hashes = [each["hashes"] for each in made]
    differing = tuple(n for n, each in enumerate(zip(*hashes, strict=True)) if len(set(each)) > 1)
    return PixelPortability(count, made[0]["tokens"], differing)


def _run(label: str, case: Case, call: str) -> None:
    function = call.partition("(")[0]
    code = f"import torch\n{case.settings}\n" if case.settings else ""
    code += f"from vqcodec.benchmarks.priors.portability_worker import {function}\n{call}"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env=os.environ | {"VQCODEC_CORE": "torch"} | case.environment,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ProcessError(f"the process of case {label!r} failed: {last}")


#: of the random priors: K of each level; a head has 16 channels
_SIZES: Final = (64, 300, 16)


def _models(folder: Path, own_prior: tuple[PriorConfig, Path] | None) -> int:
    """Files of the priors, `N.safetensors` beside `N.json`. Returns how many."""
    count = 0
    for number, order in enumerate(ORDERS):
        for is_extreme in (False, True):
            config = PriorConfig(_SIZES, (16,) * 3, (order,) * 3, width=32, depth=2, heads=2, token_width=16, radius=4)
            arrays = _arrays(config, number)
            save_file(_at_the_limits(arrays, number) if is_extreme else arrays, folder / f"{count}.safetensors")
            (folder / f"{count}.json").write_text(json.dumps(config.to_dict()))
            count += 1
    if own_prior is not None:
        shutil.copy(own_prior[1], folder / f"{count}.safetensors")
        (folder / f"{count}.json").write_text(json.dumps(own_prior[0].to_dict()))
        count += 1
    return count


def _arrays(config: PriorConfig, seed: int) -> dict[str, NDArray[Any]]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        prior = Prior(config).eval().requires_grad_(False)
        for name, weight in prior.named_parameters():
            if weight.ndim > 1 and not name.startswith("blocks."):
                torch.nn.init.normal_(weight, std=1.5 / weight.shape[1] ** 0.5)
        return integer_arrays(prior, [torch.randint(size, (1, 12, 12)) for size in config.codebook_sizes])


def _at_the_limits(arrays: dict[str, NDArray[Any]], seed: int) -> dict[str, NDArray[Any]]:
    """The same with weights of -127 and 127 only."""
    rng = np.random.default_rng(seed)
    return {
        name: rng.choice([-127, 127], array.shape).astype(np.int8) if array.dtype == np.int8 else array
        for name, array in arrays.items()
    }
