"""Training of stage 1: Encoder, codebooks and Decoder together.

It starts from a plain residual vector quantiser of patches (principal components, k-means), which is quick to compute
and keeps the latents from collapsing; quantizer dropout makes one model serve all rates. Everything random is drawn
from (seed, step), so that an interrupted run that resumes ends with the same bits as one that was not.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from vqcodec.devices import choose_device, fast_dtype, to_channels_last
from vqcodec.image import scale_pixels
from vqcodec.models.autoencoder import VQAutoencoder
from vqcodec.models.config import AutoencoderConfig
from vqcodec.training.checkpoint import (
    CheckpointError,
    load_checkpoint,
    model_config,
    newest_checkpoint,
    save_checkpoint,
)
from vqcodec.training.data import CropBatches, CropConfig, DataError, PictureSet
from vqcodec.training.discriminator import Adversary, AdversaryConfig, adaptive_weight
from vqcodec.training.losses import LossWeights, ReconstructionLoss
from vqcodec.training.validation import Validation

_START_VECTORS_PER_CODE = 24
_REVIVAL_INTERVAL = 50
#: side in pixels: smaller ones, shifted by up to 3 pixels, are too small for AlexNet's pooling
SMALLEST_CROP = 34


class TrainingError(RuntimeError):
    """Training cannot go on."""


@dataclass(frozen=True)
class Stage1Config:
    """Everything that decides the result of a run, apart from the data."""

    steps: int = 20_000
    batch_size: int = 8
    crop: CropConfig = field(default_factory=CropConfig)
    learning_rate: float = 3e-4
    warmup_steps: int = 300
    #: what starts near its goal, the linear maps and the quantizer's projections, learns at this share of the rate
    slow_share: float = 0.1
    #: the learning rate falls to zero over this last share of the steps
    decay_share: float = 0.3
    gradient_clip: float = 1.0
    #: quantizer dropout: how often 1, 2, ... levels are used, in any unit
    level_shares: tuple[float, ...] = (2.0, 1.0, 1.0, 1.0)
    ema_decay: float = 0.999
    seed: int = 0
    weights: LossWeights = field(default_factory=LossWeights)
    #: the perceptual weights rise from a tenth to their full value over these steps: colours first, then texture
    perceptual_rise_steps: int = 300
    adversary: AdversaryConfig = field(default_factory=AdversaryConfig)

    @staticmethod
    def from_dict(values: dict[str, Any]) -> Stage1Config:
        """From a checkpoint. Raises CheckpointError for settings that this version does not have."""
        try:
            nested = {
                "crop": CropConfig(**values["crop"]),
                "weights": LossWeights(**values["weights"]),
                "adversary": AdversaryConfig(**values.get("adversary", {"weight": 0.0})),
            }
            return Stage1Config(**{**values, **nested, "level_shares": tuple(values["level_shares"])})
        except (KeyError, TypeError) as error:
            raise CheckpointError(
                f"the checkpoint has other settings than this version of vqcodec ({error})"
            ) from error

    def learning_rate_share(self, step: int) -> float:
        """Linear warm-up, constant at 1, linear fall to zero."""
        rise = min(1.0, (step + 1) / max(1, self.warmup_steps))
        fall = min(1.0, (self.steps - step) / max(1.0, self.decay_share * self.steps))
        return rise * fall

    def learning_rate_at(self, step: int) -> float:
        """Of the deep networks."""
        return self.learning_rate * self.learning_rate_share(step)


class Stage1Trainer:
    """Holds the state of a run. `run()` trains until `config.steps` and writes checkpoints into `out`."""

    def __init__(
        self,
        shape: AutoencoderConfig,
        config: Stage1Config,
        pictures: PictureSet,
        out: Path,
        *,
        perceptual_weights: Path,
        device: str = "auto",
    ) -> None:
        if len(config.level_shares) != shape.levels:
            raise ValueError(f"{len(config.level_shares)} level shares for {shape.levels} levels")
        side, factor = config.crop.size, shape.downsampling_factor
        if side % factor or side < SMALLEST_CROP:
            raise TrainingError(f"crops of {side} pixels: take a multiple of {factor} from {SMALLEST_CROP} on")
        torch.manual_seed(config.seed)
        self.config, self.out = config, out
        self.device = choose_device(device)
        self.dtype = fast_dtype(self.device)
        self.model = to_channels_last(VQAutoencoder(shape), self.device)
        self.average = to_channels_last(VQAutoencoder(shape), self.device).eval()
        self.average.load_state_dict(self.model.state_dict())
        self.model.quantizer.begin_learning()
        self.loss = ReconstructionLoss(perceptual_weights, config.weights).to(self.device)
        self.optimizer = torch.optim.AdamW(
            _parameter_groups(self.model), lr=config.learning_rate, betas=(0.9, 0.99), weight_decay=0.01, fused=True
        )
        self.adversary = Adversary(config.adversary, self.device) if config.adversary.weight else None
        self.batches = CropBatches(pictures, batch_size=config.batch_size, crop=config.crop, seed=config.seed)
        self.step = 0
        self._is_started = False
        self._skipped_in_a_row = 0

    def start_from(self, network: VQAutoencoder) -> None:
        """Go on from the weights of a finished model, in the place of a start from the data.

        Raises TrainingError when its configuration is another than that of this run.
        """
        if network.config != self.model.config:
            raise TrainingError("the model to start from has another configuration than this run")
        weights = network.state_dict()
        self.average.load_state_dict(weights)
        self.model.load_state_dict(weights, strict=False)  # the codebooks' moving averages are not in a model
        self.model.quantizer.begin_learning()
        self._is_started = True

    def resume(self) -> None:
        """Go on from the newest checkpoint of `out`. Raises CheckpointError when there is none or it does not fit."""
        path = newest_checkpoint(self.out)
        state = load_checkpoint(path)
        if model_config(state) != self.model.config:
            raise CheckpointError(f"{path}: made with another model configuration; use another --out")
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.adversary is not None and "adversary" in state:
            self.adversary.load(state["adversary"])
        self.step = state["step"]

    def save(self) -> Path:
        """Write a checkpoint of the present state; returns its path."""
        state = {
            "model_config": json.loads(json.dumps(dataclasses.asdict(self.model.config))),
            "config": json.loads(json.dumps(dataclasses.asdict(self.config))),
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            **({"adversary": self.adversary.state()} if self.adversary is not None else {}),
        }
        return save_checkpoint(self.out, self.step, state)

    def run(
        self,
        *,
        checkpoint_every: int = 1000,
        validation: Validation | None = None,
        until: int | None = None,
        report: Callable[[int, dict[str, float]], None] = lambda step, values: None,
    ) -> None:
        """Train from the present step to `until` (by default the end), then write a checkpoint.

        Every `checkpoint_every` steps, and on KeyboardInterrupt, a checkpoint is written; `validation` runs then too.
        `report` gets every step's values.
        """
        last = self.config.steps if until is None else min(until, self.config.steps)
        try:
            for step, batch in self.batches.ahead(self.step, last):
                started = time.perf_counter()
                if step == 0 and not self._is_started:
                    self._start()
                values = self.train_step(batch)
                self.step = step + 1
                values["seconds"] = time.perf_counter() - started
                report(step, values)
                if self.step % checkpoint_every == 0 and self.step < last:
                    self._checkpoint(validation)
        except KeyboardInterrupt:
            self.save()
            raise
        self._checkpoint(validation)

    def _checkpoint(self, validation: Validation | None) -> None:
        self.save()
        if validation is not None:
            validation.run(self.average, self.step)

    def train_step(self, batch: NDArray[np.uint8]) -> dict[str, float]:
        """One optimiser step on (B, size, size, 3) uint8. Returns the loss terms by name, and the codebook usage."""
        config, step = self.config, self.step
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
        images = self._to_device(batch)
        shares = torch.tensor(config.level_shares)
        levels = torch.multinomial(shares, len(images), replacement=True, generator=generator).to(self.device) + 1
        for group, share in zip(self.optimizer.param_groups, (1.0, config.slow_share), strict=True):
            group["lr"] = share * config.learning_rate_at(step)
        with self._autocast():
            output = self.model(images, levels)
        made = output.reconstruction.float()
        terms, gradient = self._reconstruction_gradient(images, made, generator)
        if self.adversary is not None and self.adversary.is_active(step):
            gradient = gradient + self._adversarial_gradient(made, gradient, terms)
        quantization = output.quantization
        terms |= {"commitment": quantization.commitment_loss, "codebook": quantization.codebook_loss}
        latent_loss = torch.stack([self._weight(name) * terms[name] for name in ("commitment", "codebook")]).sum()
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward([made, latent_loss], [gradient, torch.ones_like(latent_loss)])
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.gradient_clip)
        values = {name: float(value.detach()) for name, value in terms.items()} | {"gradient_norm": float(norm)}
        if self._take(norm):
            self.optimizer.step()
            self._update_average()
            if step and step % _REVIVAL_INTERVAL == 0:
                values["revived"] = float(self._revive(output.latent, generator))
            if self.adversary is not None and self.adversary.is_active(step):
                with self._autocast():
                    values |= self.adversary.learn(images, made, config.learning_rate_share(step))
        books = [level.codebook for level in self.model.quantizer.each()]
        return values | {f"usage_{number}": book.statistics().usage for number, book in enumerate(books, start=1)}

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)

    def _reconstruction_gradient(
        self, images: Tensor, made: Tensor, generator: torch.Generator
    ) -> tuple[dict[str, Tensor], Tensor]:
        """The terms of the reconstruction loss, and the gradient of their weighted sum by the pixels of `made`."""
        pixels = made.detach().requires_grad_()
        with self._autocast():
            terms = self.loss(images, pixels, generator)
        total = torch.stack([self._weight(name) * value for name, value in terms.items()]).sum()
        return terms, torch.autograd.grad(total, pixels)[0]

    def _adversarial_gradient(self, made: Tensor, reconstruction: Tensor, terms: dict[str, Tensor]) -> Tensor:
        """By the pixels of `made`, weighted (equation 7); adds its terms to `terms`."""
        assert self.adversary is not None
        with self._autocast():
            loss, gradient = self.adversary.gradient(made)
        last = self.model.decoder.last_layer.weight
        norms = [
            torch.autograd.grad(made, last, grad_outputs=by_pixels, retain_graph=True)[0]
            for by_pixels in (reconstruction, gradient)
        ]
        weight = adaptive_weight(norms[0], norms[1])
        terms |= {"adversarial": loss, "adaptive_weight": weight}
        return self.config.adversary.weight * weight * gradient

    def _weight(self, term: str) -> float:
        weight: float = getattr(self.config.weights, term)
        if term.startswith("lpips"):
            weight *= min(1.0, 0.1 + 0.9 * self.step / max(1, self.config.perceptual_rise_steps))
        return weight

    def _take(self, norm: Tensor) -> bool:
        """Whether the step is finite; ten in a row that are not stop the run."""
        finite = bool(torch.isfinite(norm))
        self._skipped_in_a_row = 0 if finite else self._skipped_in_a_row + 1
        if self._skipped_in_a_row == 10:
            raise TrainingError(f"step {self.step}: ten steps in a row gave no finite gradient; lower --learning-rate")
        return finite

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(self.config.ema_decay, (1 + self.step) / (10 + self.step))
        currents = self.model.state_dict()
        # codes and statistics too: averaged networks need codebooks that lag behind just as far
        names, averages = zip(*self.average.state_dict().items(), strict=True)
        torch._foreach_lerp_(list(averages), [currents[name] for name in names], 1 - decay)
        for level in self.average.quantizer.each():
            level.codebook.code_vectors.copy_(F.normalize(level.codebook.code_vectors, dim=1))

    def _to_device(self, batch: NDArray[np.uint8]) -> Tensor:
        return scale_pixels(torch.from_numpy(batch).to(self.device))

    @torch.no_grad()
    def _start(self) -> None:
        """Principal components for the linear maps, k-means for the codebooks, from crops of later steps."""
        config = self.config
        wanted = _START_VECTORS_PER_CODE * max(self.model.config.codebook_sizes)
        tokens_per_batch = config.batch_size * (config.crop.size // self.model.config.downsampling_factor) ** 2
        steps = range(config.steps, config.steps + -(-wanted // tokens_per_batch))
        images = torch.cat([self._to_device(self.batches(step)) for step in steps])
        latents = self.model.start_from_patches(images)
        self.model.quantizer.start_levels(latents, torch.Generator().manual_seed(config.seed))
        self.average.load_state_dict(self.model.state_dict(), strict=False)

    def _revive(self, latent: Tensor, generator: torch.Generator) -> int:
        vectors = latent.detach().float().permute(0, 2, 3, 1).flatten(0, 2)
        return self.model.quantizer.revive_dead_codes(vectors, generator)


def _parameter_groups(model: VQAutoencoder) -> list[dict[str, Any]]:
    """The deep networks' parameters, then those that start near their goal."""
    fast: list[Tensor] = []
    slow: list[Tensor] = []
    for name, parameter in model.named_parameters():
        (slow if name.startswith("quantizer.") or ".linear." in name else fast).append(parameter)
    return [{"params": fast}, {"params": slow}]


__all__ = ["SMALLEST_CROP", "DataError", "Stage1Config", "Stage1Trainer", "TrainingError"]
