"""Codecs that are loaded once, when the first file needs them."""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from vqcodec.cards.errors import ModelError
from vqcodec.cards.model_card import ModelFolder

if TYPE_CHECKING:
    from vqcodec.codec import Codec


class LoadingError(Exception):
    """An installed model or the device cannot be used, so that no other file can be done either."""


class Codecs:
    """The codecs in use on one device, by model. Threads may share it. tile: as in `Codec.load`."""

    def __init__(self, device: str, *, tile: bool = False) -> None:
        self._device, self._tile = device, tile
        self._loaded: dict[Path, Codec] = {}
        self._lock = Lock()

    def get(self, model: ModelFolder) -> Codec:
        """Raises LoadingError."""
        with self._lock:
            if model.path not in self._loaded:
                from vqcodec.codec import Codec
                from vqcodec.compute.errors import DeviceError
                from vqcodec.compute.memory import keep_freed_memory
                from vqcodec.native.library import CoreError

                keep_freed_memory()
                try:
                    self._loaded[model.path] = Codec.load(model.path, device=self._device, tile=self._tile)
                except (CoreError, DeviceError, ModelError) as error:
                    raise LoadingError(str(error)) from error
            return self._loaded[model.path]
