"""Whether an imported model works: it tokenises and decodes a picture that is computed here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vqcodec.cards.model_card import load_model_folder
from vqcodec.checkpoints.errors import ForeignCheckpointError
from vqcodec.codec import Codec

#: width and height in tokens, of models for pictures of any size
_COLS, _ROWS = 4, 3


def check_model(folder: Path, file: Path) -> None:
    """Raises ForeignCheckpointError, naming `file`, where results are not finite or have another shape."""
    load_model_folder.cache_clear()
    codec = Codec.load(folder, device="cpu")
    shape = codec.card.autoencoder
    height, width = (shape.picture_side or side * shape.downsampling_factor for side in (_ROWS, _COLS))
    images = _picture(shape.channels, height, width)
    tokens = codec.tokenize(images)
    grids = [codec.model.stream_model.grid_shape(level, width, height) for level in range(shape.levels)]
    if [tuple(grid.shape) for grid in tokens] != [(1, *grid) for grid in grids]:
        raise ForeignCheckpointError(f"{file}: its tokens have other shapes than they should")
    made = codec.detokenize(tokens)
    if made.shape != images.shape or not np.isfinite(made).all():
        raise ForeignCheckpointError(f"{file}: what its Decoder gives is not finite, or of another shape")


def _picture(channels: int, rows: int, cols: int) -> NDArray[np.float32]:
    """(1, channels, rows, cols) in [-1, 1]: waves of other directions and lengths in each channel."""
    y, x = np.mgrid[:rows, :cols].astype(np.float32) / np.float32(16)
    waves = [np.sin(x * (1 + channel % 3) + y * (2 - channel % 2) + channel) for channel in range(channels)]
    return np.stack(waves)[None].astype(np.float32)
