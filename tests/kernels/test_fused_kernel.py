"""The kernel compiles for GPUs that are not here: as far as a machine without one can tell. And it asks for one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

CODE = """
import json, sys
import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from vqcodec.kernels import KernelError, path_for
from vqcodec.kernels.fused_kernel import find_codes
from vqcodec.kernels.layout import Layout

kernel = find_codes.fn
types = {
    "z": "*fp32", "codes": "*fp32", "code_squares": "*fp64", "high": "*bf16", "low": "*bf16", "offsets": "*fp32",
    "radii": "*fp32", "sizes": "*i32", "indices": "*i64", "remaining": "*fp32", "vectors": "*fp32",
    "errors": "*fp32", "counts": "*fp32", "sums": "*fp32", "in_use": "*u8",
    "relative": "fp32", "squared": "fp32", "tiny": "fp32",
}
names = kernel.arg_names
aligned = {(number,): [["tt.divisibility", 16]] for number, name in enumerate(names) if name in ("z", "high", "low")}


def compile(capability, dimension, settings):
    layout = Layout.of(dimension)
    constants = {
        "DIMENSION": dimension, "SLICE": layout.slice_width, "SLICES": layout.slices, "LEVELS": 1,
        "PACKED": layout.packed, "COSINE": False, "SPLIT": True, "RESIDUAL": False, "LEARN": False,
        "MASKED": False, "ROWS": 128, "TILE": 256, "PLACES": 16, "column_stride": 1,
    } | settings
    signature = {name: "constexpr" if name in constants else types.get(name, "i32") for name in names}
    places = {(names.index(name),): value for name, value in constants.items()}
    compiled = triton.compile(
        ASTSource(kernel, signature, places, aligned),
        target=GPUTarget("cuda", capability, 32),
        options={"num_warps": 8, "num_stages": 3, "enable_fp_fusion": False},
    )
    ptx = compiled.asm["ptx"]
    return {
        "cubin": len(compiled.asm["cubin"]), "shared": compiled.metadata.shared, "wgmma": "wgmma.mma_async" in ptx,
        "mma": "mma.sync" in ptx, "fused": "fma.rn.f64" in ptx, "local": ".local" in ptx,
    }


try:
    refusal = str(path_for(torch.device("cpu")))
except KernelError as error:
    refusal = str(error)
made = {name: compile(*case) for name, case in json.loads(sys.argv[1]).items()}
print(json.dumps({"refusal": refusal, "made": made}))
"""

#: compute capability, dimension and what differs from the plain search for nearest codes
CASES: dict[str, tuple[int, int, dict[str, object]]] = {
    "hopper": (90, 8, {}),
    "ampere-learn": (80, 8, {"LEARN": True, "MASKED": True}),
    "hopper-cosine": (90, 64, {"COSINE": True}),
    "hopper-residual": (90, 8, {"RESIDUAL": True, "LEVELS": 2}),
}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """By one process for all cases, as the import of torch and Triton takes as long as a case."""
    pytest.importorskip("triton")
    folder = tmp_path_factory.mktemp("triton")
    own = {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(folder), "VQCODEC_KERNELS": "triton"}
    # a file, as the compiler reads the source
    (folder / "compile.py").write_text(CODE, encoding="utf-8")
    command = [sys.executable, str(folder / "compile.py"), json.dumps(CASES)]
    run = subprocess.run(command, env=os.environ | own, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    found: dict[str, Any] = json.loads(run.stdout)
    return found


@pytest.mark.parametrize("case", CASES)
def test_for_gpus(case: str, told: dict[str, Any]) -> None:
    capability, _, _ = CASES[case]
    made = told["made"][case]
    assert made["cubin"] > 0
    assert made["shared"] <= (227 if capability == 90 else 163) * 1024  # of one multiprocessor, in bytes
    assert made["wgmma"] if capability == 90 else made["mma"]  # on matrix units
    assert not made["fused"]  # float64 as in the contract
    assert not made["local"]  # nothing spilled that the compiler can see


def test_on_a_cpu_only_its_interpreter_runs_it(told: dict[str, Any]) -> None:
    assert told["refusal"].startswith("VQCODEC_KERNELS=triton: Triton does not run on cpu")
