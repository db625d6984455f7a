"""Perceptual distances between pictures: LPIPS and DISTS, with their backbones.

LPIPS: Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", CVPR 2018, version 0.1.
DISTS: Ding et al., "Image Quality Assessment: Unifying Structure and Texture Similarity", TPAMI 2020.

The weights are not part of this project. They are read from a folder (`vqcodec weights` makes it) with these files:
    alexnet_conv_fp16.safetensors, lpips_lin_alex_v0.1.safetensors    for LPIPS on AlexNet
    vgg16_conv_fp16.safetensors, lpips_lin_vgg_v0.1.safetensors       for LPIPS on VGG16
    vgg16_conv_fp16.safetensors, dists_alpha_beta.safetensors         for DISTS
All inputs are (B, 3, H, W) float in [0, 1], sRGB.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from vqcodec.perceptual.feature_distances import moments, unit_distance

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
#: LPIPS's own scaling layer, for inputs in [-1, 1]
_LPIPS_SHIFT = (-0.030, -0.088, -0.188)
_LPIPS_SCALE = (0.458, 0.448, 0.450)

#: convolutions by torchvision's layer number: (number, stride, padding, tap after its ReLU, pooling before)
_ALEXNET = (
    (0, 4, 2, True, False),
    (3, 1, 2, True, True),
    (6, 1, 1, True, True),
    (8, 1, 1, True, False),
    (10, 1, 1, True, False),
)
_VGG16_NUMBERS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
_VGG16_TAPS = (2, 7, 14, 21, 28)
_VGG16_POOL_BEFORE = (5, 10, 17, 24)


#: layer numbers of the convolutions, as in the weights' names
ALEXNET_LAYERS = tuple(number for number, *_ in _ALEXNET)
VGG16_LAYERS = _VGG16_NUMBERS


class PerceptualWeightsError(ValueError):
    """The weights of a perceptual network are missing or not what they should be."""


class MissingWeightsError(PerceptualWeightsError):
    """A file of weights is not in the folder."""


def load_weights(folder: str | Path, name: str) -> dict[str, Tensor]:
    """Read a safetensors file of `folder` as float32. Raises PerceptualWeightsError."""
    path = Path(folder) / name
    if not path.is_file():
        raise MissingWeightsError(f"{path}: no such file; give the folder that `vqcodec weights` made")
    try:
        return {key: value.float() for key, value in load_file(path).items()}
    except SafetensorError as error:
        raise PerceptualWeightsError(f"{path}: not a safetensors file ({error})") from error


class FrozenConvolutions(nn.Module):
    """The convolutions of a classifier, with taps; weights are frozen."""

    def __init__(self, weights: dict[str, Tensor], layers: tuple[tuple[int, int, int, bool, bool], ...]) -> None:
        super().__init__()
        self.layers = layers
        for number, *_ in layers:
            for part in ("weight", "bias"):
                key = f"features.{number}.{part}"
                if key not in weights:
                    raise PerceptualWeightsError(f"the backbone's weights lack {key}")
                value = weights[key]
                if value.dim() == 4:  # the memory order in which convolutions are fastest, on the CPU too
                    value = value.contiguous(memory_format=torch.channels_last)
                self.register_buffer(f"{part}_{number}", value, persistent=False)

    def pool(self, x: Tensor) -> Tensor:
        raise TypeError("choose a backbone")  # pragma: no cover

    def forward(self, x: Tensor) -> list[Tensor]:
        taps = []
        for number, stride, padding, is_tap, pool_before in self.layers:
            if pool_before:
                x = self.pool(x)
            weight, bias = self.get_buffer(f"weight_{number}"), self.get_buffer(f"bias_{number}")
            x = F.relu(F.conv2d(x, weight, bias, stride=stride, padding=padding))
            if is_tap:
                taps.append(x)
        return taps


class AlexNetFeatures(FrozenConvolutions):
    """AlexNet's five ReLU outputs."""

    def __init__(self, folder: str | Path) -> None:
        super().__init__(load_weights(folder, "alexnet_conv_fp16.safetensors"), _ALEXNET)

    def pool(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, 3, stride=2)


class VGG16Features(FrozenConvolutions):
    """VGG16's relu1_2, 2_2, 3_3, 4_3 and 5_3; with max pooling, or DISTS's L2 pooling with a Hann window."""

    def __init__(self, folder: str | Path, *, l2_pooling: bool = False) -> None:
        layers = tuple((n, 1, 1, n in _VGG16_TAPS, n in _VGG16_POOL_BEFORE) for n in _VGG16_NUMBERS)
        super().__init__(load_weights(folder, "vgg16_conv_fp16.safetensors"), layers)
        self.l2_pooling = l2_pooling

    def pool(self, x: Tensor) -> Tensor:
        if not self.l2_pooling:
            return F.max_pool2d(x, 2)
        # means over 2 x 2 twice are the window (1, 2, 1) x (1, 2, 1) / 16, at half the cost of a convolution
        power = F.avg_pool2d(F.avg_pool2d(x.square(), 2, stride=1, padding=1), 2)
        return (power + 1e-12).sqrt()


class LPIPS(nn.Module):
    """LPIPS v0.1: forward(x, y) with (B, 3, H, W) in [0, 1] gives (B,), 0 for equal pictures; lower is closer."""

    shift: Tensor
    scale: Tensor

    def __init__(self, folder: str | Path, backbone: Literal["alex", "vgg"] = "alex") -> None:
        super().__init__()
        self.features = AlexNetFeatures(folder) if backbone == "alex" else VGG16Features(folder)
        linear = load_weights(folder, f"lpips_lin_{backbone}_v0.1.safetensors")
        for number in range(5):
            self.register_buffer(f"linear_{number}", linear[f"lin{number}.model.1.weight"], persistent=False)
        self.register_buffer("shift", torch.tensor(_LPIPS_SHIFT)[:, None, None], persistent=False)
        self.register_buffer("scale", torch.tensor(_LPIPS_SCALE)[:, None, None], persistent=False)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.distance(self.describe(x), self.describe(y))

    def describe(self, x: Tensor) -> list[Tensor]:
        """What the backbone sees in (B, 3, H, W): five (B, C, h, w), the last for VGG16 being relu5_3 at f = 16."""
        taps: list[Tensor] = self.features((2 * x - 1 - self.shift) / self.scale)
        return taps

    def distance(self, first: list[Tensor], second: list[Tensor]) -> Tensor:
        """(B,) of two descriptions: worth its own step where one picture is compared with many."""
        distances = [
            unit_distance(a, b, self.get_buffer(f"linear_{number}").flatten())
            for number, (a, b) in enumerate(zip(first, second, strict=True))
        ]
        return torch.stack(distances).sum(dim=0)


class DISTS(nn.Module):
    """DISTS: forward(x, y) with (B, 3, H, W) in [0, 1] gives (B,), 0 for equal pictures; lower is closer."""

    alpha: Tensor
    beta: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, folder: str | Path) -> None:
        super().__init__()
        self.features = VGG16Features(folder, l2_pooling=True)
        weights = load_weights(folder, "dists_alpha_beta.safetensors")
        total = weights["alpha"].sum() + weights["beta"].sum()
        self.register_buffer("alpha", (weights["alpha"] / total).flatten(), persistent=False)
        self.register_buffer("beta", (weights["beta"] / total).flatten(), persistent=False)
        self.register_buffer("mean", torch.tensor(_IMAGENET_MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(_IMAGENET_STD)[:, None, None], persistent=False)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.distance(self.describe(x), self.describe(y))

    def describe(self, x: Tensor) -> list[Tensor]:
        """(B, 3, H, W) itself and what VGG16 sees in it: six (B, C, h, w)."""
        return [x, *self.features((x - self.mean) / self.std)]

    def distance(self, first: list[Tensor], second: list[Tensor]) -> Tensor:
        """(B,) of two descriptions."""
        texture, structure = [], []
        for a, b in zip(first, second, strict=True):
            of = moments(a, b)
            texture.append((2 * of.mean_a * of.mean_b + 1e-6) / (of.mean_a.square() + of.mean_b.square() + 1e-6))
            structure.append((2 * of.covariance + 1e-6) / (of.variance_a + of.variance_b + 1e-6))
        weighted = torch.cat(texture, dim=1) * self.alpha + torch.cat(structure, dim=1) * self.beta
        return 1 - weighted.sum(dim=1)
