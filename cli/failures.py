"""Which exceptions are about the user's data, and the line that tells them."""

from __future__ import annotations

import sys

#: module -> its exceptions. Only modules that are loaded can have raised, so none is imported here.
_ABOUT_DATA = {
    "vqcodec.bitstream.errors": ("StreamError",),
    "vqcodec.image_source": ("ImageError",),
    "vqcodec.model_card": ("ModelError",),
    "vqcodec.devices": ("DeviceError",),
    "vqcodec.perceptual": ("PerceptualWeightsError",),
    "vqcodec.training.data": ("DataError",),
    "vqcodec.training.checkpoint": ("CheckpointError",),
    "vqcodec.training.stage1": ("TrainingError",),
    "vqcodec.cli.files": ("FileError",),
}


def describe(error: Exception) -> str | None:
    """One line for an error about the user's data, files or device; None for anything else, which is our own fault."""
    if isinstance(error, OSError):
        name = f"{error.filename}: " if error.filename else ""
        return f"{name}{error.strerror or error}"
    if isinstance(error, MemoryError):
        return "not enough memory for a picture of this size"
    for module, names in _ABOUT_DATA.items():
        kinds = tuple(getattr(sys.modules[module], name) for name in names) if module in sys.modules else ()
        if kinds and isinstance(error, kinds):
            return " ".join(str(error).split())
    return None
