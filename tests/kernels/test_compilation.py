"""The kernel compiles for GPUs that are not here: as far as a machine without one can tell."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import json, sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from vqcodec.kernels.fused_kernel import find_codes
from vqcodec.kernels.layout import Layout

capability, dimension, settings = int(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])
kernel = find_codes.fn
layout = Layout.of(dimension)
constants = {
    "DIMENSION": dimension, "SLICE": layout.slice_width, "SLICES": layout.slices, "LEVELS": 1,
    "PACKED": layout.packed, "COSINE": False, "SPLIT": True, "RESIDUAL": False, "LEARN": False,
    "MASKED": False, "ROWS": 128, "TILE": 256, "PLACES": 16, "column_stride": 1,
} | settings
types = {
    "z": "*fp32", "codes": "*fp32", "code_squares": "*fp64", "high": "*bf16", "low": "*bf16", "offsets": "*fp32",
    "radii": "*fp32", "sizes": "*i32", "indices": "*i64", "remaining": "*fp32", "vectors": "*fp32",
    "errors": "*fp32", "counts": "*fp32", "sums": "*fp32", "in_use": "*u8",
    "relative": "fp32", "squared": "fp32", "tiny": "fp32",
}
names = kernel.arg_names
signature = {name: "constexpr" if name in constants else types.get(name, "i32") for name in names}
aligned = {(number,): [["tt.divisibility", 16]] for number, name in enumerate(names) if name in ("z", "high", "low")}
places = {(names.index(name),): value for name, value in constants.items()}
compiled = triton.compile(
    ASTSource(kernel, signature, places, aligned),
    target=GPUTarget("cuda", capability, 32),
    options={"num_warps": 8, "num_stages": 3, "enable_fp_fusion": False},
)
ptx = compiled.asm["ptx"]
print(json.dumps({
    "cubin": len(compiled.asm["cubin"]), "shared": compiled.metadata.shared, "wgmma": "wgmma.mma_async" in ptx,
    "mma": "mma.sync" in ptx, "fused": "fma.rn.f64" in ptx, "local": ".local" in ptx,
}))
"""


@pytest.mark.parametrize(
    ("capability", "dimension", "settings"),
    [
        (90, 8, {}),
        (80, 8, {"LEARN": True, "MASKED": True}),
        (90, 64, {"COSINE": True}),
        (90, 8, {"RESIDUAL": True, "LEVELS": 2}),
    ],
    ids=["hopper", "ampere-learn", "hopper-cosine", "hopper-residual"],
)
def test_for_gpus(capability: int, dimension: int, settings: dict[str, object], tmp_path: Path) -> None:
    pytest.importorskip("triton")
    environment = os.environ | {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    # a file, as the compiler reads the source
    (tmp_path / "compile.py").write_text(CODE, encoding="utf-8")
    command = [sys.executable, str(tmp_path / "compile.py"), str(capability), str(dimension), json.dumps(settings)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    made = json.loads(run.stdout)
    assert made["cubin"] > 0
    assert made["shared"] <= (227 if capability == 90 else 163) * 1024  # of one multiprocessor, in bytes
    assert made["wgmma"] if capability == 90 else made["mma"]  # on matrix units
    assert not made["fused"]  # float64 as in the contract
    assert not made["local"]  # nothing spilled that the compiler can see
