"""Codecs that are loaded once, when the first file needs them."""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import click

from vqcodec.cards.errors import ModelError
from vqcodec.cards.model_card import ModelFolder

if TYPE_CHECKING:
    from vqcodec.codec import Codec


class LoadingError(Exception):
    """An installed model or the device cannot be used, so that no other file can be done either."""


class Codecs:
    """The codecs in use on one device, by model. Threads may share it.

    tile: as in `Codec.load`. paints: whether pixels are what is asked for; then a line on stderr says, once a model,
    where they are not those that the core in C would give.
    """

    def __init__(self, device: str, *, tile: bool = False, paints: bool = False) -> None:
        self._device, self._tile, self._paints = device, tile, paints
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
                if self._paints:
                    _tell_if_inexact(self._loaded[model.path])
            return self._loaded[model.path]


def _tell_if_inexact(codec: Codec) -> None:
    from vqcodec.models.core_networks import core_computes

    if not codec.is_exact and core_computes(codec.card.autoencoder):
        how = f"torch in {codec.arithmetic} on {codec.place}"
        click.echo(
            f"warning: {codec.card.name}: decoded by {how}: samples may differ by 1 or 2 of 255 from what the "
            "core in C gives everywhere (`vqcodec doctor` says whether it is there)",
            err=True,
        )
