"""Writes golden streams of photo-5, the embedded model, and the hashes of their pixels. NEVER rerun this.

What is in photo_5_v1/ is what users' files look like: these streams must decode to these tokens and pixels for ever, on
every machine. If a test of that fails, the code or the model is wrong, not the files. `golden.json` says for each
stream which picture it is of, how it was encoded, and the SHA-256 of its tokens (uint32, level by level) and of its
pixels with 1, 2, ... levels. The picture of `large` is not kept: it is so large that the prior's window moves and that
the context network computes a group of tokens in several parts.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vqcodec.codec import Codec

HERE = Path(__file__).resolve().parent / "photo_5_v1"
DRAWN = HERE.with_name("pixels_v1") / "picture.png"
EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
#: parts of a picture of a cat: left, upper, right, lower
PARTS = {"photo": (100, 60, 307, 195), "small": (100, 100, 300, 120), "dot": (150, 110, 155, 113)}
#: name of the stream: picture, how it is encoded
STREAMS: dict[str, tuple[str, dict[str, Any]]] = {
    "drawn": ("drawn", {}),
    "dot": ("dot", {}),
    "small": ("small", {}),
    "small-part-2": ("small", {"quality": 25.0}),
    "small-part-3": ("small", {"quality": 41.7}),
    "photo": ("photo", {}),
    "photo-static": ("photo", {"entropy": "static"}),
    "photo-uniform": ("photo", {"entropy": "uniform", "levels": 5}),
    "photo-part-2": ("photo", {"quality": 25.0}),
    "photo-part-3": ("photo", {"quality": 41.7}),
    "photo-part-6": ("photo", {"quality": 91.7}),
    "photo-regions": ("photo", {"quality": 75.0, "region_side": 64}),
    "large": ("coffee.jpg", {}),
}


def sha256(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def main() -> None:
    """Write the pictures, the streams and golden.json."""
    if HERE.exists():
        sys.exit(f"{HERE}: is there already")
    codec = Codec.load("photo-5")
    if not codec.is_exact:
        sys.exit("the core in C is not there: only its pixels are the same everywhere")
    HERE.mkdir()
    (HERE / "drawn.png").write_bytes(DRAWN.read_bytes())
    with Image.open(EXAMPLES / "chelsea.jpg") as photo:
        for name, part in PARTS.items():
            photo.convert("RGB").crop(part).save(HERE / f"{name}.png")
    golden = {name: _written(codec, name, *of) for name, of in STREAMS.items()}
    about = {"fingerprint": codec.card.fingerprint, "streams": golden}
    (HERE / "golden.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def _written(codec: Codec, name: str, picture: str, how: dict[str, Any]) -> dict[str, Any]:
    kept = HERE / f"{picture}.png"
    stream = codec.encode(kept if kept.exists() else EXAMPLES / picture, **how)
    (HERE / f"{name}.vq").write_bytes(stream)
    read = codec.read(stream)
    assert (read.blocks is not None) == ("quality" in how)
    counts = range(1, len(read.tokens.levels) + 1)
    return {
        "picture": kept.name if kept.exists() else None,
        "how": how,
        "tokens": [sha256(grid.indices.astype("<u4")) for grid in read.tokens.levels],
        "pixels": [sha256(codec.decode_stream(stream, levels=count).image.rgb) for count in counts],
    }


if __name__ == "__main__":
    main()
