"""vqcodec: a small neural image codec. Pictures become grids of codebook tokens, packed into a compact stream.

    from vqcodec import Codec
    codec = Codec.load()
    stream = codec.encode("photo.jpg", levels=1)
    codec.decode(stream).save("decoded.png")

Names are loaded on first use, so that importing this package, or `vqcodec.bitstream`, loads no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vqcodec.cards.errors import ModelError
    from vqcodec.cards.finding import find_model, installed_models
    from vqcodec.cards.model_card import ModelCard
    from vqcodec.codec import Codec
    from vqcodec.decoding import DecodedStream, PictureBands
    from vqcodec.generation.config import SamplingConfig, Series
    from vqcodec.generation.sampler import SampledPicture, Sampler

__version__ = "0.1.0"

_HOMES = {
    "Codec": "vqcodec.codec",
    "DecodedStream": "vqcodec.decoding",
    "ModelCard": "vqcodec.cards.model_card",
    "ModelError": "vqcodec.cards.errors",
    "PictureBands": "vqcodec.decoding",
    "SampledPicture": "vqcodec.generation.sampler",
    "Sampler": "vqcodec.generation.sampler",
    "SamplingConfig": "vqcodec.generation.config",
    "Series": "vqcodec.generation.config",
    "find_model": "vqcodec.cards.finding",
    "installed_models": "vqcodec.cards.finding",
}

__all__ = [
    "Codec",
    "DecodedStream",
    "ModelCard",
    "ModelError",
    "PictureBands",
    "SampledPicture",
    "Sampler",
    "SamplingConfig",
    "Series",
    "__version__",
    "find_model",
    "installed_models",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'vqcodec' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
