"""Writes the golden stream of the context network. NEVER rerun this for a version that has been released.

What is in context_v1/ is what users' files look like: it must decode for ever, on every machine. If its test fails,
the code is wrong, not the files. `arrays.safetensors` and `config.json` are a small network with random weights,
`stream.vq` is coded with it, `tokens.json` is what it holds.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from safetensors.numpy import save_file

HERE = Path(__file__).resolve().parent / "context_v1"
MODEL_ID = bytes.fromhex("c0 17 e8 71")


def main() -> None:
    """Write the four files."""
    sys.path.insert(0, str(HERE.parents[1] / "helpers"))
    from context_helpers import FACTORS, SIZES, context_models, grids

    from vqcodec.bitstream import PRIOR_ID, GridSpec, StreamModel, TokenPyramid, write_stream
    from vqcodec.training.stage2.context_export import context_arrays

    HERE.mkdir(exist_ok=True)
    if any(HERE.iterdir()):
        sys.exit(f"{HERE}: holds files already")
    network, model = context_models()
    width, height = 214, 140
    tokens = TokenPyramid(grids((height, width), 7))
    stream_model = StreamModel(MODEL_ID, "golden", tuple(map(GridSpec, FACTORS, SIZES)), {PRIOR_ID: model})
    stream = write_stream(tokens, model=stream_model, width=width, height=height, entropy_id=PRIOR_ID)
    save_file(context_arrays(network), HERE / "arrays.safetensors")
    (HERE / "config.json").write_text(json.dumps(network.config.to_dict()) + "\n", encoding="utf-8")
    (HERE / "stream.vq").write_bytes(stream)
    (HERE / "tokens.json").write_text(json.dumps([grid.indices.tolist() for grid in tokens.levels]) + "\n", "utf-8")


if __name__ == "__main__":
    main()
