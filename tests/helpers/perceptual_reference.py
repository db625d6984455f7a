"""Small random perceptual networks, and LPIPS and DISTS written once more in plain numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

Array = NDArray[np.float64]

_VGG = {0: 3, 2: 4, 5: 4, 7: 5, 10: 5, 12: 5, 14: 6, 17: 6, 19: 6, 21: 7, 24: 7, 26: 7, 28: 8}  # layer: channels in
_VGG_LAST = 8
_ALEX = {0: (3, 4, 11), 3: (4, 5, 5), 6: (5, 6, 3), 8: (6, 5, 3), 10: (5, 4, 3)}  # layer: channels in, out, kernel
_MEAN, _STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
_SHIFT, _SCALE = np.array([-0.030, -0.088, -0.188]), np.array([0.458, 0.448, 0.450])


def write_weights(folder: Path) -> None:
    """All files that LPIPS (alex and vgg) and DISTS read, with few channels and the same random values every time."""
    generator = np.random.default_rng(4)

    def convolution(
        channels_in: int, channels_out: int, kernel: int
    ) -> tuple[NDArray[np.float16], NDArray[np.float16]]:
        scale = (2 / (channels_in * kernel**2)) ** 0.5
        weight = generator.normal(0, scale, (channels_out, channels_in, kernel, kernel))
        return weight.astype(np.float16), generator.normal(0, 0.1, channels_out).astype(np.float16)

    def network(shapes: dict[int, tuple[int, int, int]]) -> dict[str, NDArray[np.float16]]:
        tensors = {}
        for layer, shape in shapes.items():
            tensors[f"features.{layer}.weight"], tensors[f"features.{layer}.bias"] = convolution(*shape)
        return tensors

    def linear(channels: list[int]) -> dict[str, NDArray[np.float32]]:
        return {
            f"lin{number}.model.1.weight": generator.random((1, count, 1, 1)).astype(np.float32)
            for number, count in enumerate(channels)
        }

    outs = [*list(_VGG.values())[1:], _VGG_LAST]
    vgg = {layer: (count, out, 3) for (layer, count), out in zip(_VGG.items(), outs, strict=True)}
    taps = [vgg[layer][1] for layer in (2, 7, 14, 21, 28)]
    save_file(network(vgg), folder / "vgg16_conv_fp16.safetensors")
    save_file(network(_ALEX), folder / "alexnet_conv_fp16.safetensors")
    save_file(linear([out for _, out, _ in _ALEX.values()]), folder / "lpips_lin_alex_v0.1.safetensors")
    save_file(linear(taps), folder / "lpips_lin_vgg_v0.1.safetensors")
    mixture = {name: generator.random((1, 3 + sum(taps), 1, 1)).astype(np.float32) for name in ("alpha", "beta")}
    save_file(mixture, folder / "dists_alpha_beta.safetensors")


def lpips(folder: Path, x: Array, y: Array, backbone: str) -> float:
    """LPIPS of two (H, W, 3) pictures in [0, 1]."""
    linear = _read(folder / f"lpips_lin_{backbone}_v0.1.safetensors")
    total = 0.0
    for number, (a, b) in enumerate(
        zip(*(_taps(folder, backbone, (2 * p - 1 - _SHIFT) / _SCALE) for p in (x, y)), strict=True)
    ):
        unit_a, unit_b = (t / (np.sqrt((t**2).sum(axis=2, keepdims=True)) + 1e-10) for t in (a, b))
        total += float(((unit_a - unit_b) ** 2 @ linear[f"lin{number}.model.1.weight"].ravel()).mean())
    return total


def dists(folder: Path, x: Array, y: Array) -> float:
    """DISTS of two (H, W, 3) pictures in [0, 1]."""
    mixture = _read(folder / "dists_alpha_beta.safetensors")
    stages = [[p, *_taps(folder, "vgg", (p - _MEAN) / _STD, l2_pooling=True)] for p in (x, y)]
    terms = []
    for a, b in zip(*stages, strict=True):
        flat_a, flat_b = a.reshape(-1, a.shape[2]), b.reshape(-1, b.shape[2])
        mean_a, mean_b = flat_a.mean(axis=0), flat_b.mean(axis=0)
        covariance = (flat_a * flat_b).mean(axis=0) - mean_a * mean_b
        texture = (2 * mean_a * mean_b + 1e-6) / (mean_a**2 + mean_b**2 + 1e-6)
        structure = (2 * covariance + 1e-6) / (flat_a.var(axis=0) + flat_b.var(axis=0) + 1e-6)
        terms.append((texture, structure))
    textures, structures = (np.concatenate(parts) for parts in zip(*terms, strict=True))
    weights = np.concatenate([mixture["alpha"].ravel(), mixture["beta"].ravel()])
    return float(1 - weights @ np.concatenate([textures, structures]) / weights.sum())


def _taps(folder: Path, backbone: str, x: Array, *, l2_pooling: bool = False) -> list[Array]:
    """The ReLU outputs (h, w, C) that the metrics look at."""
    name = "alexnet" if backbone == "alex" else "vgg16"
    weights = _read(folder / f"{name}_conv_fp16.safetensors")
    taps = []
    for layer in _ALEX if backbone == "alex" else _VGG:
        weight, bias = weights[f"features.{layer}.weight"], weights[f"features.{layer}.bias"]
        if backbone == "alex":
            x = _windows(x, 3, 2).max(axis=(3, 4)) if layer in (3, 6) else x
            stride, padding = (4, 2) if layer == 0 else (1, weight.shape[2] // 2)
        else:
            if layer in (5, 10, 17, 24):
                x = _hann_pooled(x) if l2_pooling else _windows(x, 2, 2).max(axis=(3, 4))
            stride, padding = 1, 1
        padded = np.pad(x, [(padding, padding), (padding, padding), (0, 0)])
        windows = _windows(padded, weight.shape[2], stride)
        x = np.maximum(np.einsum("hwcij,ocij->hwo", windows, weight) + bias, 0)
        if backbone == "alex" or layer in (2, 7, 14, 21, 28):
            taps.append(x)
    return taps


def _hann_pooled(x: Array) -> Array:
    side = np.array([1, 2, 1]) / 4
    windows = _windows(np.pad(x, [(1, 1), (1, 1), (0, 0)]), 3, 2)
    return np.sqrt(np.einsum("hwcij,i,j->hwc", windows**2, side, side) + 1e-12)


def _windows(x: Array, kernel: int, stride: int) -> Array:
    """(h, w, C, kernel, kernel)"""
    return np.lib.stride_tricks.sliding_window_view(x, (kernel, kernel), axis=(0, 1))[::stride, ::stride]


def _read(path: Path) -> dict[str, Array]:
    return {name: values.astype(np.float64) for name, values in load_file(path).items()}
