"""Whatever holds a picture, as pixels. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vqcodec.pictures.image import LoadedImage, from_array, from_pil, load_image

#: what was loaded, a Pillow image, (H, W), (H, W, 3) or (H, W, 4) uint8 pixels, or a file: path, bytes or binary stream
ImageLike: TypeAlias = "LoadedImage | Image.Image | NDArray[np.uint8] | str | Path | bytes | BinaryIO"


def as_loaded(image: ImageLike, max_pixels: int) -> LoadedImage:
    """Its pixels, alpha, profile and metadata. Raises ImageError."""
    if isinstance(image, LoadedImage):
        return image
    if isinstance(image, Image.Image):
        return from_pil(image, max_pixels=max_pixels)
    if isinstance(image, np.ndarray):
        return from_array(image)
    return load_image(image, max_pixels=max_pixels)
