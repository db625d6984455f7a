"""What of a codec is torch's: for whoever needs gradients or activations, whatever computes pictures and tokens."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from vqcodec.cards.engines import load_torch_engine
from vqcodec.cards.model_card import ModelFolder
from vqcodec.models.core_engine import CoreEngine
from vqcodec.models.engine import Engine

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from vqcodec.models.autoencoder import Analysis, Autoencoder
    from vqcodec.models.torch_engine import TorchEngine


class OnTorch:
    """A part of `vqcodec.codec.Codec`."""

    model: ModelFolder
    _engine: Engine
    _device_of_torch: str

    @cached_property
    def _on_torch(self) -> TorchEngine:
        """The networks on torch, for whoever needs gradients or activations; loaded at the first use."""
        from vqcodec.models.torch_engine import TorchEngine

        if isinstance(self._engine, TorchEngine):
            return self._engine
        return load_torch_engine(self.model, self._device_of_torch, None)

    @property
    def network(self) -> Autoencoder:
        """The networks on torch."""
        return self._on_torch.tiled.network

    @property
    def device(self) -> torch.device:
        """Of the networks on torch."""
        from vqcodec.compute.devices import choose_device

        core_computes = isinstance(self._engine, CoreEngine)
        return choose_device(self._device_of_torch) if core_computes else self._on_torch.tiled.device

    @property
    def dtype(self) -> torch.dtype:
        """Of the convolutions on torch."""
        from vqcodec.compute.devices import fast_dtype

        return fast_dtype(self.device) if isinstance(self._engine, CoreEngine) else self._on_torch.tiled.dtype

    def analyse(self, images: Tensor) -> Analysis:
        """Images as `tokenize` takes them to what tokens are chosen from, by torch and on its device."""
        return self._on_torch.tiled.analyse(images)
