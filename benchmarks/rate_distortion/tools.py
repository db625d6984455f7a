"""What a run measures, and by what; made anew in every process that measures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vqcodec.benchmarks.rate_distortion.anchors import SCALES, anchors
from vqcodec.benchmarks.rate_distortion.codecs import VQ, ImageCodec
from vqcodec.benchmarks.rate_distortion.metrics import Metrics
from vqcodec.codec import Codec
from vqcodec.compute.devices import choose_device
from vqcodec.generation.refinement import Refiner


@dataclass(frozen=True)
class Tools:
    """codecs: in the order of the results."""

    codecs: Sequence[ImageCodec]
    metrics: Metrics


@dataclass(frozen=True)
class ToolMaker:
    """Calling it loads models and weights.

    models: names, ids or folders; ours come first. entropy: by default each model's best. levels: the settings of ours,
    by default all. qualities: of ours too, as codecs of their own. formats: of the anchors, see
    `vqcodec.benchmarks.rate_distortion.anchors`, each at every scale. perceptual_weights: the folder with the weights
    of the perceptual networks. refine_steps: of ours once more, refined, with `refine_levels` as settings, by default
    all; needs `perceptual_weights`.
    """

    models: tuple[str, ...] = ()
    entropy: str | None = None
    levels: tuple[int, ...] = ()
    qualities: tuple[float, ...] = ()
    formats: tuple[str, ...] = ()
    scales: tuple[int, ...] = SCALES
    perceptual_weights: Path | None = None
    device: str = "auto"
    refine_steps: int | None = None
    refine_levels: tuple[int, ...] = ()

    def __call__(self) -> Tools:
        """Raises AnchorError, ModelError or DeviceError for what cannot be had; absent weights are in the metrics."""
        loaded = (Codec.load(model, device=self.device) for model in self.models)
        codecs = {codec.card.model_id: codec for codec in loaded}.values()  # a model may have been named in two ways
        ours = [VQ(codec, self.entropy, self.levels) for codec in codecs]
        if self.qualities:
            ours += [VQ(codec, self.entropy, qualities=self.qualities) for codec in codecs]
        if self.refine_steps is not None:
            if self.perceptual_weights is None:
                raise ValueError("refine_steps need perceptual_weights: the networks that refining looks through")
            refiner = Refiner(self.perceptual_weights, steps=self.refine_steps)
            ours += [VQ(codec, self.entropy, self.refine_levels, refiner=refiner) for codec in codecs]
        device = choose_device(self.device)
        return Tools([*ours, *anchors(self.formats, self.scales)], Metrics(self.perceptual_weights, device))
