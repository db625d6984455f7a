"""What decides the tokens of a dataset, apart from its pictures: model, levels, crops, and what computes."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from vqcodec.cards.finding import DEFAULT_MODEL
from vqcodec.dataset.errors import DatasetError
from vqcodec.pictures.image import DEFAULT_MAX_PIXELS

_CROPS: Final = re.compile(r"center|ten|random:([1-9][0-9]{0,3})")
#: of crops, which are whole in memory
_MOST_SIDE: Final = 1 << 13
_DECODINGS: Final = ("full", "scaled")


@dataclass(frozen=True)
class TokenSpec:
    """What every picture becomes. A dataset has one, for ever.

    model: name, id or folder. levels: the first so many; None for all. size: side of the square crops in pixels; None
    for pictures as they are, whose tokens are those of `vqcodec encode`. crops: "center" as ADM cuts it; "ten": the
    corners and the middle of a larger one, and each mirrored; "random:N". seed: of random crops. image, key: columns of
    tables and lists; for archives and folders, key "path" puts the archive's name before the key. keep: columns that
    go with the tokens. labels: None, "folder" (the first folder below the source), "cls" (KEY.cls in archives) or a
    column. shard_size: pictures a shard. fast: bfloat16 on torch, in place of exact tokens. max_pixels: larger pictures
    fail. decode: "full", or "scaled": JPEG files no larger than the crops need, which changes some tokens. Raises
    DatasetError.

    Examples:
        >>> TokenSpec(levels=2, crops="random:4").crops_per_picture
        4
        >>> TokenSpec(crops="random")
        Traceback (most recent call last):
        vqcodec.dataset.errors.DatasetError: crops 'random': take center, ten or random:N
    """

    model: str = DEFAULT_MODEL
    levels: int | None = None
    size: int | None = 256
    crops: str = "center"
    seed: int = 0
    image: str | None = None
    key: str | None = None
    keep: tuple[str, ...] = ()
    labels: str | None = None
    shard_size: int = 1000
    fast: bool = False
    max_pixels: int = DEFAULT_MAX_PIXELS
    decode: str = "full"

    def __post_init__(self) -> None:
        if not _CROPS.fullmatch(self.crops):
            raise DatasetError(f"crops {self.crops!r}: take center, ten or random:N")
        if self.size is None and self.crops != "center":
            raise DatasetError(f"crops {self.crops!r} of pictures in their native size: give a size in pixels")
        if self.size is not None and not 1 <= self.size <= _MOST_SIDE:
            raise DatasetError(f"size {self.size}: take a side of up to {_MOST_SIDE} pixels, or native")
        if self.decode not in _DECODINGS:
            raise DatasetError(f"decode {self.decode!r}: take full or scaled")
        if self.size is None and self.decode != "full":
            raise DatasetError(f"decode {self.decode!r} of pictures in their native size: give a size in pixels")
        if self.shard_size < 1:
            raise DatasetError(f"shards of {self.shard_size} pictures: take 1 or more")

    @property
    def crops_per_picture(self) -> int:
        """Rows that each picture becomes."""
        found = _CROPS.fullmatch(self.crops)
        assert found is not None
        return int(found[1]) if found[1] else 10 if self.crops == "ten" else 1

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return asdict(self) | {"keep": list(self.keep)}

    @staticmethod
    def from_dict(values: dict[str, Any]) -> TokenSpec:
        """From `to_dict`, also before there was `decode`. Raises TypeError or KeyError for what is unknown."""
        return TokenSpec(**values | {"keep": tuple(values["keep"])})


def token_type(codebook_size: int) -> np.dtype[np.unsignedinteger[Any]]:
    """Of the numbers that tokens are stored as."""
    return np.dtype(np.uint16 if codebook_size <= 1 << 16 else np.uint32)


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What differs between two of the same kind, such as "levels 4, not 2"."""
    names = sorted(before.keys() | now.keys())
    return [
        f"{name} {_said(before.get(name))}, not {_said(now.get(name))}"
        for name in names
        if before.get(name) != now.get(name)
    ]


def _said(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {inner}" for name, inner in sorted(value.items()))
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value)) or "none"
    return "none" if value is None else str(value)
