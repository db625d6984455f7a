"""What the container must know of a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vqcodec.bitstream.entropy_models import EntropyModel
from vqcodec.bitstream.errors import WrongModelError
from vqcodec.bitstream.header import MODEL_ID_BYTES
from vqcodec.bitstream.limits import MAX_CODEBOOK_SIZE, MAX_LEVELS, MAX_SIDE_PIXELS


@dataclass(frozen=True)
class GridSpec:
    """One level of a model. Raises `ValueError` for values outside the format.

    ``downsampling_factor``: pixels a token, each way, 1 to ``2**20``. ``codebook_size``: 1 to ``2**18``.

    Examples:
        >>> GridSpec(16, 1024)
        GridSpec(downsampling_factor=16, codebook_size=1024)
    """

    downsampling_factor: int
    codebook_size: int

    def __post_init__(self) -> None:
        if not 1 <= self.downsampling_factor <= MAX_SIDE_PIXELS or not 1 <= self.codebook_size <= MAX_CODEBOOK_SIZE:
            raise ValueError(f"f = {self.downsampling_factor} with K = {self.codebook_size} is outside the format")


@dataclass(frozen=True)
class StreamModel:
    """What the container must know of a model: no network. Raises `ValueError` for values outside the format.

    ``model_id``: 4 bytes. ``name``: for messages. ``grids``: 1 to 16 levels, coarse to fine. ``entropy_models``: by
    entropy id.

    Examples:
        >>> from vqcodec.bitstream import UniformModel
        >>> model = StreamModel(bytes(4), "toy", (GridSpec(32, 4), GridSpec(16, 4)), {0: UniformModel()})
        >>> model.grid_shape(1, width=40, height=16)
        (1, 3)
    """

    model_id: bytes
    name: str
    grids: tuple[GridSpec, ...]
    entropy_models: Mapping[int, EntropyModel]

    def __post_init__(self) -> None:
        object.__setattr__(self, "grids", tuple(self.grids))
        object.__setattr__(self, "entropy_models", dict(self.entropy_models))
        if len(self.model_id) != MODEL_ID_BYTES:
            raise ValueError(f"a model id has {MODEL_ID_BYTES} bytes, not {len(self.model_id)}")
        if not 1 <= len(self.grids) <= MAX_LEVELS:
            raise ValueError(f"a model has 1 to {MAX_LEVELS} levels, not {len(self.grids)}")
        for entropy_id, entropy_model in self.entropy_models.items():
            if entropy_id != entropy_model.entropy_id:
                raise ValueError(
                    f"entropy model {entropy_model.name} has id {entropy_model.entropy_id}, not {entropy_id}"
                )

    def grid_shape(self, level: int, width: int, height: int) -> tuple[int, int]:
        """(rows, cols) of one level for a picture of ``width`` x ``height`` pixels: each side over f, rounded up."""
        factor = self.grids[level].downsampling_factor
        return -(-height // factor), -(-width // factor)


def expect_model(model_id: bytes, model: StreamModel) -> StreamModel:
    """``model`` if the stream was written with it. Raises `WrongModelError`, naming both, if not."""
    if model_id != model.model_id:
        raise WrongModelError(
            f"the stream was written with model {model_id.hex()}, not with {model.name} ({model.model_id.hex()}): "
            "decode it with the model that it names"
        )
    return model
