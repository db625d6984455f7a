"""Writes golden models, pictures, streams and the hashes of their pixels. NEVER rerun this for a released version.

What is in pixels_v1/ is what users' files look like: these streams must decode to these pixels for ever, on every
machine, and these pictures become these tokens. If the test fails, the code is wrong, not the files. Each folder is a
model with random weights. `golden.json` says for each model, and for photo-4,
what comes of `picture.png` and `stream.vq`.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).resolve().parent / "pixels_v1"
ROOT = Path(__file__).resolve().parents[2]
SIZE = (149, 94)


def picture() -> np.ndarray:
    """Soft colours and some edges, (height, width, 3) uint8."""
    generator = np.random.default_rng(7)
    coarse = Image.fromarray(generator.integers(0, 256, (7, 10, 3), dtype=np.uint8))
    pixels = np.array(coarse.resize(SIZE, Image.Resampling.BICUBIC))
    pixels[20:50, 30:80] = (250, 20, 60)
    pixels[60:, 100:] ^= generator.integers(0, 32, pixels[60:, 100:].shape, dtype=np.uint8)
    return pixels


def sha256(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def main() -> None:
    """Write the folders and golden.json."""
    sys.path.insert(0, str(HERE.parents[1]))
    from conftest import _networks, _write_model

    from vqcodec.codec import Codec
    from vqcodec.models.config import AutoencoderConfig, HierarchicalConfig, QuantizerConfig

    if HERE.exists():
        sys.exit(f"{HERE}: is there already")
    HERE.mkdir()
    Image.fromarray(picture()).save(HERE / "picture.png")
    hierarchical = HierarchicalConfig(patch=2, widths=(6, 10, 12), latent_channels=(9, 7), laps=(4, 2))
    configs = {
        "compact": AutoencoderConfig(_networks(3), QuantizerConfig((32, 24), 4)),
        "strides": AutoencoderConfig(
            _networks(2), QuantizerConfig((32, 24), 6, lookup="euclidean", level_strides=(2, 1))
        ),
        "hierarchical": AutoencoderConfig(
            hierarchical, QuantizerConfig((16, 8, 8, 8), 4, lookup="euclidean", level_strides=(2, 2, 1, 1))
        ),
    }
    golden = {}
    for name, config in configs.items():
        _write_model(HERE / name, config)
        golden[name] = _made(Codec.load(HERE / name, device="cpu"), HERE / name / "stream.vq")
    golden["photo-4"] = _made(Codec.load(ROOT / "released" / "photo-4", device="cpu"), HERE / "photo-4.vq")
    (HERE / "golden.json").write_text(json.dumps(golden, indent=1) + "\n", encoding="utf-8")


def _made(codec: object, stream: Path) -> dict[str, object]:
    """Writes the stream; the hashes of its tokens, level by level, and of its pixels with 1, 2, ... levels."""
    from vqcodec.codec import Codec

    assert isinstance(codec, Codec)
    assert codec.arithmetic == "native"
    stream.write_bytes(codec.encode(HERE / "picture.png"))
    tokens = codec.read(stream.read_bytes()).tokens.levels
    return {
        "tokens": [sha256(grid.indices.astype("<u4")) for grid in tokens],
        "pixels": [
            sha256(codec.decode_stream(stream.read_bytes(), levels=levels).image.rgb)
            for levels in range(1, len(tokens) + 1)
        ],
    }


if __name__ == "__main__":
    main()
