"""Writes the golden stream of the integer prior. NEVER rerun this for a version that has been released.

What is in prior_v1/ is what users' files look like: it must decode for ever, on every machine. If its test fails, the
code is wrong, not the files. `arrays.safetensors` and `config.json` are a small prior with random weights, `stream.vq`
is coded with it, `tokens.json` is what it holds.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from safetensors.numpy import save_file

HERE = Path(__file__).resolve().parent / "prior_v1"
MODEL_ID = bytes.fromhex("60 1d e2 52")


def main() -> None:
    """Write the four files."""
    sys.path.insert(0, str(HERE.parents[1] / "helpers"))
    from integer_helpers import SIZES, draw, grids, priors

    from vqcodec.bitstream import GridSpec, StreamModel, TokenPyramid, write_stream
    from vqcodec.prior.integer import IntegerPrior
    from vqcodec.training.stage2.integer_export import integer_arrays

    if any(HERE.iterdir()):
        sys.exit(f"{HERE}: holds files already")
    prior, _ = priors()
    arrays = integer_arrays(prior, [torch.from_numpy(draw(size, (8, 8), size)[None]) for size in SIZES])
    integer = IntegerPrior(prior.config, arrays)
    model = StreamModel(MODEL_ID, "golden", tuple(GridSpec(16, size) for size in SIZES), {integer.entropy_id: integer})
    tokens = TokenPyramid(grids((9, 14), 7))
    stream = write_stream(tokens, model=model, width=214, height=140, entropy_id=integer.entropy_id)
    save_file(arrays, HERE / "arrays.safetensors")
    (HERE / "config.json").write_text(json.dumps(prior.config.to_dict()) + "\n", encoding="utf-8")
    (HERE / "stream.vq").write_bytes(stream)
    (HERE / "tokens.json").write_text(json.dumps([grid.indices.tolist() for grid in tokens.levels]) + "\n", "utf-8")


if __name__ == "__main__":
    main()
