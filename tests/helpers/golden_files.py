"""Golden streams: how NAME.json beside NAME.vq is read."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqcodec.bitstream import (
    STATIC_ID,
    UNIFORM_ID,
    Boxes,
    EntropyModel,
    GridSpec,
    StaticModel,
    StreamModel,
    TokenGrid,
    TokenPyramid,
    UniformModel,
)

GOLDEN_DIR = Path(__file__).resolve().parent.parent / "golden" / "v1"


@dataclass(frozen=True)
class Golden:
    """One stream and what it must decode to."""

    data: bytes
    record: dict[str, Any]

    @property
    def model(self) -> StreamModel:
        record = self.record
        entropy_models: dict[int, EntropyModel] = {UNIFORM_ID: UniformModel()}
        if record["static_tables"] is not None:
            entropy_models[STATIC_ID] = StaticModel(record["static_tables"])
        grids = tuple(GridSpec(factor, size) for factor, size in record["grids"])
        return StreamModel(bytes.fromhex(record["model_id"]), "golden", grids, entropy_models)

    @property
    def tokens(self) -> TokenPyramid:
        sizes = [size for _, size in self.record["grids"]]
        levels = zip(self.record["tokens"], sizes, strict=False)
        return TokenPyramid(tuple(TokenGrid(rows, size) for rows, size in levels))

    @property
    def boxes(self) -> Boxes:
        return Boxes(**{name: bytes.fromhex(content) for name, content in self.record["boxes"].items()})


def golden_names() -> list[str]:
    """Names of all golden streams, sorted."""
    return sorted(path.stem for path in GOLDEN_DIR.glob("*.vq"))


def load_golden(name: str) -> Golden:
    """One golden stream with its record."""
    record = json.loads((GOLDEN_DIR / f"{name}.json").read_text(encoding="utf-8"))
    return Golden((GOLDEN_DIR / f"{name}.vq").read_bytes(), record)
