"""What the losses want of the pixels: their gradient by the Decoder's output, and the discriminator's share in it.

Losses look at pixels, not at the networks that made them: the gradient by the pixels is computed first, over one pass
of each perceptual network that LPIPS, the Decoder's adversarial loss and the discriminator share, and is then passed
back through the Decoder once.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vqcodec.compute.distributed import sum_over_processes
from vqcodec.perceptual.networks import FrozenConvolutions
from vqcodec.training.common.checkpoint import CheckpointError
from vqcodec.training.stage1.discriminator import Adversary, adaptive_weight
from vqcodec.training.stage1.losses import Compared, MapLoss, ReconstructionLoss
from vqcodec.training.stage1.recipe import Stage1Recipe

#: of the adaptive weight so far, where it is not computed at every step
_KEPT_OF_WEIGHT = 0.8


@dataclass(frozen=True)
class Part:
    """A part of a batch in training: images (B, 3, H, W) in [-1, 1], levels (B,) in use, reconstruction (B, 3, H, W).

    share: of the whole batch.
    """

    images: Tensor
    levels: Tensor
    reconstruction: Tensor
    share: float


class PixelGradient:
    """The losses of a recipe, with the discriminator that learns beside them.

    Raises ValueError for losses that need `perceptual_weights` where these are None, PerceptualWeightsError.
    """

    def __init__(
        self,
        recipe: Stage1Recipe,
        perceptual_weights: Path | None,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """dtype: that of autocast, in which frozen networks are kept, so that they are not converted at every step."""
        self.config = recipe.training
        adversary = self.config.adversary
        needs_features = bool(adversary.weight) and adversary.kind == "features"
        self.loss: torch.nn.Module
        channels: list[int] = []
        if recipe.model.label_map:
            self.loss = MapLoss()
        else:
            self.loss = ReconstructionLoss(perceptual_weights, self.config.weights, needs_features=needs_features)
            if needs_features and self.loss.vgg is not None:
                seen = self.loss.vgg.describe(torch.zeros(1, 3, 32, 32))
                channels = [each.shape[1] for each in seen[:4]]
        self.loss.to(device)
        for network in self.loss.modules():
            if isinstance(network, FrozenConvolutions):
                network.to(dtype)
        self.adversary = Adversary(adversary, device, channels=channels) if adversary.weight else None
        #: lambda of equation 7, smoothed where it is not computed at every step; None before the first
        self._adaptive_weight: float | None = None

    def __call__(
        self, part: Part, last_layer: Tensor, step: int, generator: torch.Generator
    ) -> tuple[dict[str, Tensor], Tensor]:
        """The terms by name, and the gradient of their weighted sum by the pixels of the reconstruction.

        last_layer: the weight of the convolution that gave the pixels, for the adaptive weight. To be called under
        autocast. The discriminator gets its gradient here, and learns in `learn`.
        """
        made = part.reconstruction.float()
        pixels = made.detach().requires_grad_()
        compared: Compared = self.loss(part.images, pixels, part.levels, generator)
        terms = dict(compared.terms)
        weighted = torch.stack([self._weight(name, step) * value.float() for name, value in terms.items()]).sum()
        adversary = self.adversary
        if adversary is None or not adversary.is_active(step):
            return terms, torch.autograd.grad(weighted, pixels)[0]
        on_features = adversary.config.kind == "features"
        real, seen = (compared.real, compared.made) if on_features else (part.images, pixels)
        adversarial = adversary.adversarial_loss(seen, compared.levels if on_features else part.levels)
        terms["adversarial"] = adversarial
        scale = adversary.config.weight_at(step)
        if self._adaptive_weight is None or step % adversary.config.weight_interval == 0:
            by_loss = torch.autograd.grad(weighted, pixels, retain_graph=True)[0]
            by_adversary = torch.autograd.grad(adversarial, pixels, retain_graph=True)[0]
            self._update_weight(made, last_layer, by_loss, by_adversary)
            gradient = by_loss + scale * self._weight_now() * by_adversary
        else:
            gradient = torch.autograd.grad(weighted + scale * self._weight_now() * adversarial, pixels)[0]
        terms["adaptive_weight"] = made.new_tensor(self._weight_now())
        terms |= adversary.look(real, seen, part.share)
        return terms, gradient

    def weight(self, term: str) -> float:
        """Of a term that is no perceptual one."""
        return float(getattr(self.config.weights, term))

    def _weight(self, term: str, step: int) -> float:
        weight = self.weight(term)
        if term.startswith(("lpips", "dists")) and self.config.perceptual_rise_steps:
            weight *= min(1.0, 0.1 + 0.9 * step / self.config.perceptual_rise_steps)
        return weight

    def _weight_now(self) -> float:
        return self._adaptive_weight or 0.0

    def _update_weight(self, made: Tensor, last_layer: Tensor, by_loss: Tensor, by_adversary: Tensor) -> None:
        """From both gradients by the pixels, of all processes."""
        gradients = [
            sum_over_processes(
                torch.autograd.grad(made, last_layer, grad_outputs=by_pixels, retain_graph=True)[0].float()
            )
            for by_pixels in (by_loss, by_adversary)
        ]
        if not all(bool(torch.isfinite(gradient).all()) for gradient in gradients):
            return  # the trainer skips such a step
        before, new = self._adaptive_weight, float(adaptive_weight(gradients[0], gradients[1]))
        if before is None or self.config.adversary.weight_interval == 1:
            self._adaptive_weight = new
        else:
            self._adaptive_weight = _KEPT_OF_WEIGHT * before + (1 - _KEPT_OF_WEIGHT) * new

    def forget(self) -> None:
        """Drop what a step that was not taken has left with the discriminator."""
        if self.adversary is not None:
            self.adversary.optimizer.zero_grad(set_to_none=True)

    def learn(self, step: int, share: float) -> None:
        """One step of the discriminator where it is active, at `share` of its learning rate."""
        if self.adversary is not None and self.adversary.is_active(step):
            self.adversary.learn(share)

    def state(self) -> dict[str, Any]:
        """For a checkpoint: empty without a discriminator."""
        if self.adversary is None:
            return {}
        return {"adversary": self.adversary.state() | {"adaptive_weight": self._adaptive_weight}}

    def load(self, state: dict[str, Any]) -> None:
        """From a checkpoint. Raises CheckpointError for one with a discriminator of another shape."""
        if self.adversary is None or "adversary" not in state:
            return
        before, wanted = state["config"]["adversary"], self.config.adversary
        if (before["kind"], before["width"]) != (wanted.kind, wanted.width):
            raise CheckpointError(
                f"the run has a discriminator of kind {before['kind']} and width {before['width']}: leave "
                "training.adversary.kind and training.adversary.width as they were"
            )
        self.adversary.load(state["adversary"])
        self._adaptive_weight = state["adversary"]["adaptive_weight"]
