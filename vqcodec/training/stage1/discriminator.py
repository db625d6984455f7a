"""Discriminators and their losses: PatchGAN, and one on the features of a frozen classifier.

PatchGAN: Isola et al., 2017, §3.2.2; in VQGAN: Esser et al., 2021, §3.1. On features: Sauer et al., "Projected GANs
Converge Faster", NeurIPS 2021.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqcodec.compute.devices import to_channels_last
from vqcodec.compute.distributed import average_gradients, process_count, sum_over_processes
from vqcodec.training.stage1.losses import by_level

#: the least norm that the Decoder's gradient is divided by, and the most that the adversarial loss may weigh
_DELTA: Final = 1e-6
MAXIMUM_ADAPTIVE_WEIGHT: Final = 1e4
#: channels of VGG16's relu1_2, 2_2, 3_3 and 4_3
_VGG16_CHANNELS: Final = (64, 128, 256, 512)


class PatchDiscriminator(nn.Module):
    """forward(images): (B, 3, H, W) in [-1, 1] -> logits (B, 1, h, w), above 0 where a patch looks real.

    Three strided convolutions and two more, 4 x 4: each logit sees 70 x 70 pixels. Spectral normalisation (Miyato et
    al., 2018) takes the place of the paper's batch normalisation, whose statistics are poor in small batches.
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        widths = [width, 2 * width, 4 * width, 8 * width]
        layers: list[nn.Module] = [_convolution(3, widths[0], stride=2), nn.LeakyReLU(0.2)]
        for number, (before, after) in enumerate(pairwise(widths)):
            layer = _convolution(before, after, stride=2 if number < 2 else 1)
            layers += [nn.utils.parametrizations.spectral_norm(layer), nn.LeakyReLU(0.2)]
        layers.append(_convolution(widths[-1], 1, stride=1))
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        with _normalised_in_float32(self, images.device):
            logits: Tensor = self.layers(images)
        return logits


class FeatureDiscriminator(nn.Module):
    """forward(features): the first four outputs of VGG16 for pictures -> logits (B, 4, H / 2, W / 2), above 0 where a
    patch looks real.

    A small head on each, which knows textures already: it is of use after hundreds of steps, where a PatchGAN takes
    many thousands. The heads' logits have strides of 2, 4, 8 and 16 pixels and are repeated, so that each head weighs
    the same.
    """

    scales: Tensor

    def __init__(self, channels: Sequence[int] = _VGG16_CHANNELS, width: int = 64) -> None:
        super().__init__()
        self.heads = nn.ModuleList(_head(count, width) for count in channels)
        #: root mean square of each output in the first pictures seen
        self.register_buffer("scales", torch.zeros(len(self.heads)))

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        features = features[: len(self.heads)]
        if not bool((self.scales > 0).all()):  # or the first ones were not finite
            powers = torch.stack([value.detach().float().square().mean() for value in features])
            self.scales.copy_((sum_over_processes(powers) / process_count()).sqrt())
        with _normalised_in_float32(self, self.scales.device):
            seen = zip(self.heads, features, self.scales, strict=True)
            logits = [head(value / scale) for head, value, scale in seen]
        return torch.cat([F.interpolate(value, logits[0].shape[2:]) for value in logits], dim=1)


@contextmanager
def _normalised_in_float32(network: nn.Module, device: torch.device) -> Iterator[None]:
    """Within it each spectrally normalised weight is computed once, in float32 whatever autocast says: the power
    iteration needs it, and mixes types where a device casts some of its products only."""
    with nn.utils.parametrize.cached():
        with torch.autocast(device.type, enabled=False):
            for layer in network.modules():
                if nn.utils.parametrize.is_parametrized(layer, "weight"):
                    _ = layer.weight
        yield


def _head(channels: int, width: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for layer in (nn.Conv2d(channels, width, 1), nn.Conv2d(width, width, 4, stride=2, padding=1)):
        layers += [nn.utils.parametrizations.spectral_norm(layer), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Conv2d(width, 1, 1))


def _convolution(before: int, after: int, stride: int) -> nn.Conv2d:
    layer = nn.Conv2d(before, after, 4, stride=stride, padding=1)
    nn.init.normal_(layer.weight, 0.0, 0.02)
    return layer


def discriminator_loss(real: Tensor, made: Tensor) -> Tensor:
    """Hinge loss of the logits of real and of made pictures (Lim and Ye, 2017): what the discriminator lowers."""
    return 0.5 * (F.relu(1.0 - real.float()).mean() + F.relu(1.0 + made.float()).mean())


def adversarial_losses(made: Tensor) -> Tensor:
    """Of the logits of made pictures (B, n, h, w), (B,): what the Decoder lowers."""
    return -made.float().mean(dim=(1, 2, 3))


def adaptive_weight(reconstruction_gradient: Tensor, adversarial_gradient: Tensor) -> Tensor:
    """lambda of equation 7: the ratio of the norms of both losses' gradients at the Decoder's last layer, float32.

    It is at least 0 and at most `MAXIMUM_ADAPTIVE_WEIGHT`.
    """
    ratio = reconstruction_gradient.float().norm() / (adversarial_gradient.float().norm() + _DELTA)
    return ratio.clamp(0.0, MAXIMUM_ADAPTIVE_WEIGHT).detach()


@dataclass(frozen=True)
class AdversaryConfig:
    """weight: of the adversarial loss, on top of the adaptive weight; 0 for no discriminator.

    start: the step from which on the discriminator learns, counted in steps of the trainer. rise_steps: over so many
    steps more it is listened to more and more; at once with 0.
    kind: "patch", PatchGAN on all pixels, or "features", on what VGG16 sees for LPIPS, see `LossWeights.vgg_crops`.
    by_level: factors of pictures with 1, 2, ... levels, () for 1. weight_interval: steps between two computations of
    the adaptive weight; with more than 1 it follows them smoothly.
    """

    weight: float = 0.8
    start: int = 10_000
    kind: Literal["patch", "features"] = "patch"
    width: int = 64
    learning_rate: float = 2e-4
    by_level: tuple[float, ...] = ()
    weight_interval: int = 1
    rise_steps: int = 0

    def __post_init__(self) -> None:
        if min(self.weight_interval, self.width) < 1:
            raise ValueError(f"width {self.width}, weight interval {self.weight_interval}: take 1 or more")

    def weight_at(self, step: int) -> float:
        """Of the adversarial loss, at a step from `start` on."""
        return self.weight * min(1.0, (step - self.start) / self.rise_steps) if self.rise_steps else self.weight


class Adversary:
    """The discriminator and its optimiser.

    It looks at pictures (B, 3, H, W) in [-1, 1], or, of kind "features", at what VGG16 sees in them. channels: of that.
    """

    def __init__(
        self, config: AdversaryConfig, device: torch.device, *, channels: Sequence[int] = _VGG16_CHANNELS
    ) -> None:
        self.config = config
        is_patch = config.kind == "patch"
        network = PatchDiscriminator(config.width) if is_patch else FeatureDiscriminator(channels, config.width)
        self.network: nn.Module = to_channels_last(network, device)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=config.learning_rate, betas=(0.5, 0.9), weight_decay=0.0, fused=True
        )

    def is_active(self, step: int) -> bool:
        """Whether it takes part in this step."""
        return self.config.weight > 0 and step >= self.config.start

    def adversarial_loss(self, made: Tensor | list[Tensor], levels: Tensor) -> Tensor:
        """What the Decoder lowers, of pictures or their features; levels (B,): of each, for `by_level`."""
        parameters = list(self.network.parameters())
        for parameter in parameters:
            parameter.requires_grad_(False)
        logits: Tensor = self.network(made)
        for parameter in parameters:
            parameter.requires_grad_(True)
        return (adversarial_losses(logits) * by_level(self.config.by_level, levels)).mean()

    def look(self, real: Tensor | list[Tensor], made: Tensor | list[Tensor], share: float) -> dict[str, Tensor]:
        """Add the gradient of `share` of the loss of a part of a batch. Returns the loss and the mean logits."""
        logits_real, logits_made = (self.network(_detached(seen)) for seen in (real, made))
        loss = discriminator_loss(logits_real, logits_made)
        (share * loss).backward()
        named = {"discriminator": loss, "logits_real": logits_real.mean(), "logits_made": logits_made.mean()}
        return {name: value.detach() for name, value in named.items()}

    def learn(self, share: float) -> None:
        """One step by the gradients that `look` has added, at `share` of the learning rate; they are zero afterwards.

        A step that is not finite changes nothing.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = share * self.config.learning_rate
        average_gradients(self.network.parameters())
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        if bool(torch.isfinite(norm)):
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load(self, state: dict[str, Any]) -> None:
        """From a checkpoint."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])


def _detached(seen: Tensor | list[Tensor]) -> Tensor | list[Tensor]:
    return seen.detach() if isinstance(seen, Tensor) else [each.detach() for each in seen]
