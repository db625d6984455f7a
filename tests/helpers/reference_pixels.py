"""A second decoder of tokens to pixels and encoder of pixels to tokens, written from docs/format.md alone.

It imports nothing of vqcodec: numpy, one operation an element at a time, loops for sums. Slow. That the core gives the
same bits shows that sections 9 and 10 are enough to write one. For compact and hierarchical networks; weights are
float32 by name, `config` is the card's "autoencoder".
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = Any
F = np.float32


def dot(weights: Array, x: Array) -> Array:
    """Sum over the last axis of x (..., i) in ascending order of weights (o, i) * x, for all outputs: (..., o)."""
    total = np.zeros((*x.shape[:-1], len(weights)), F)
    for i in range(x.shape[-1]):
        total = total + weights[:, i] * x[..., i : i + 1]
    return total


class Networks:
    """The layers of 9.2, by the names of arrays."""

    def __init__(self, weights: dict[str, Array], config: dict[str, Any]) -> None:
        self.weights = {name: array.astype(F) for name, array in weights.items()}
        self.config, self.networks, self.quantizer = config, config["networks"], config["quantizer"]
        self.zeros = self.networks.get("padding") == "zeros"

    def __getitem__(self, name: str) -> Array:
        return self.weights[name]

    def point(self, name: str, x: Array) -> Array:
        return dot(self[f"{name}.weight"][:, :, 0, 0], x) + self[f"{name}.bias"]

    def patches(self, name: str, x: Array, f: int) -> Array:
        weight = self[f"{name}.weight"].transpose(0, 2, 3, 1).reshape(len(self[f"{name}.weight"]), -1)
        rows, cols, channels = x.shape
        order = x.reshape(rows // f, f, cols // f, f, channels).transpose(0, 2, 1, 3, 4)
        return dot(weight, order.reshape(rows // f, cols // f, -1)) + self[f"{name}.bias"]

    def convolve(self, name: str, x: Array) -> Array:
        weight, (rows, cols, _) = self[f"{name}.weight"], x.shape
        more = (1, 1 + rows % 2 + 1), (1, 1 + cols % 2 + 1), (0, 0)
        around = np.pad(x, more) if self.zeros else np.pad(x, more, mode="edge")
        u = wide(np.moveaxis(weight, 2, 0))  # (4, o, i, 3)
        u = wide(np.moveaxis(u, 3, 0))  # (4 columns, 4 rows, o, i)
        y = np.zeros((rows + rows % 2, cols + cols % 2, len(weight)), F)
        d = [[around[a : a + rows + rows % 2 : 2, b : b + cols + cols % 2 : 2] for b in range(4)] for a in range(4)]
        v = [turned([d[a][b] for a in range(4)]) for b in range(4)]  # v[column][row]
        v = [turned([v[b][a] for b in range(4)]) for a in range(4)]  # v[row][column]
        m = [[dot(u[b][a], v[a][b]) for b in range(4)] for a in range(4)]
        s = [back([m[a][b] for a in range(4)]) for b in range(4)]  # s[column][row]
        for a in range(2):
            y[a::2, 0::2], y[a::2, 1::2] = back([s[b][a] for b in range(4)])
        return y[:rows, :cols] + self[f"{name}.bias"]

    def norm(self, name: str, x: Array) -> Array:
        channels = F(x.shape[-1])
        mean = fold(x) / channels
        apart = x - mean
        scale = F(1) / np.sqrt(fold(apart * apart) / channels + F(0.00001))
        return (apart * scale) * self[f"{name}.weight"] + self[f"{name}.bias"]

    def block(self, name: str, x: Array) -> Array:
        hidden = silu(self.convolve(f"{name}.widen", self.norm(f"{name}.norm", x)))
        return self.convolve(f"{name}.narrow", hidden) + x

    def blocks(self, name: str, first: int, depth: int, x: Array) -> Array:
        for number in range(first, first + depth):
            x = self.block(f"{name}.{number}", x)
        return x

    def lapped(self, name: str, z: Array, f: int, lap: int) -> Array:
        weight, side = self[f"{name}.weight"], f + 2 * lap
        rows, cols, _ = z.shape
        around = np.pad(z, ((1, 1), (1, 1), (0, 0)), mode="edge")
        gives = dot(weight.reshape(len(weight), -1).T, around).reshape(rows + 2, cols + 2, 3, side, side)
        wide_picture = np.zeros(((rows + 2) * f + 2 * lap, (cols + 2) * f + 2 * lap, 3), F)
        for r in range(rows + 2):
            for c in range(cols + 2):
                place = wide_picture[r * f : r * f + side, c * f : c * f + side]
                place[:] = place + gives[r, c].transpose(1, 2, 0)
        inner = slice(f + lap, f + lap + rows * f), slice(f + lap, f + lap + cols * f)
        return wide_picture[inner] + self[f"{name}.bias"]

    # ---- levels: 9.1 and 10.3 ----

    def codes(self, level: str) -> Array:
        codes = self[f"{level}.codebook.code_vectors"]
        kind, lookup = self.quantizer["codebook"], self.quantizer["lookup"]
        if kind == "sim":
            codes = dot(self[f"{level}.codebook.transform.weight"], codes)
        if kind != "average" and lookup != "euclidean":
            codes = codes / length(codes)
        return codes

    def gives_back(self, level: str, tokens: Array) -> Array:
        table = dot(self[f"{level}.project_out.weight"], self.codes(level)) + self[f"{level}.project_out.bias"]
        return np.where((tokens >= 0)[..., None], table[np.maximum(tokens, 0)], F(0))

    def latent(self, prefix: str, tokens: list[Array], strides: list[int], rows: int, cols: int) -> Array:
        total = None
        for number, (grid, s) in enumerate(zip(tokens, strides, strict=True)):
            made = enlarged(self.gives_back(f"{prefix}.levels.{number}", grid), s, rows, cols)
            total = made if total is None else total + made
        return total

    def choose(self, prefix: str, latent: Array, strides: list[int]) -> list[Array]:
        tokens = []
        for number, s in enumerate(strides):
            level = f"{prefix}.levels.{number}"
            tokens.append(self.nearest(level, averaged(latent, s)))
            made = enlarged(self.gives_back(level, tokens[-1]), s, *latent.shape[:2])
            latent = latent - made
        return tokens

    def nearest(self, level: str, latent: Array) -> Array:
        lookup, codes = self.quantizer["lookup"], self.codes(level)
        z = dot(self[f"{level}.project_in.weight"], latent)
        if lookup == "lifted":
            z = (z - self[f"{level}.mean"]) * (F(1) / np.sqrt(self[f"{level}.variance"]))
            z = np.concatenate([z, np.full((*z.shape[:2], 1), F(2 * (codes.shape[1] - 1) ** 0.5))], axis=2)
        else:
            z = z + self[f"{level}.project_in.bias"]
        if lookup != "euclidean":
            z = z / length(z)
        costs = np.zeros((*z.shape[:2], len(codes)))
        for d in range(codes.shape[1]):
            apart = z[:, :, d, None].astype(np.float64) - codes[:, d].astype(np.float64)
            costs = costs + apart * apart
        return costs.argmin(axis=2)


def wide(g: Array) -> Array:
    return np.stack([g[0], F(0.5) * ((g[0] + g[1]) + g[2]), F(0.5) * ((g[0] - g[1]) + g[2]), g[2]])


def turned(d: list[Array]) -> list[Array]:
    return [d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]]


def back(m: list[Array]) -> list[Array]:
    return [(m[0] + m[1]) + m[2], (m[1] - m[2]) - m[3]]


def fold(terms: Array) -> Array:
    """(..., C) -> (..., 1)."""
    p = np.zeros((*terms.shape[:-1], 16), F)
    for i in range(terms.shape[-1]):
        p[..., i % 16] = p[..., i % 16] + terms[..., i]
    for h in (8, 4, 2, 1):
        p[..., :h] = p[..., :h] + p[..., h : 2 * h]
    return p[..., :1]


def silu(x: Array) -> Array:
    v = np.maximum(np.minimum(-x, F(88)), F(-87))
    n = np.rint(v * F(1.44269504))
    r = (v - n * F(0.693359375)) - n * F(-0.000212194440)
    p = r * F(0.00019875691500) + F(0.0013981999507)
    for constant in (0.0083334519073, 0.041665795894, 0.16666665459, 0.50000001201):
        p = p * r + F(constant)
    powers = ((n.astype(np.int32) + 127) << 23).view(F)
    return x / ((((p * r) * r + r) + F(1)) * powers + F(1))


def length(vectors: Array) -> Array:
    squares = np.zeros((*vectors.shape[:-1], 1), F)
    for d in range(vectors.shape[-1]):
        squares = squares + vectors[..., d : d + 1] * vectors[..., d : d + 1]
    return np.maximum(np.sqrt(squares), F(1e-12))


def gather(x: Array, f: int) -> Array:
    rows, cols, channels = x.shape
    parts = x.reshape(rows // f, f, cols // f, f, channels).transpose(0, 2, 4, 1, 3)
    return parts.reshape(rows // f, cols // f, -1)


def spread(x: Array, f: int) -> Array:
    rows, cols, channels = x.shape
    parts = x.reshape(rows, cols, channels // f**2, f, f).transpose(0, 3, 1, 4, 2)
    return parts.reshape(rows * f, cols * f, -1)


def enlarged(x: Array, s: int, rows: int, cols: int) -> Array:
    return x.repeat(s, axis=0).repeat(s, axis=1)[:rows, :cols]


def averaged(x: Array, s: int) -> Array:
    if s == 1:
        return x
    rows, cols = -(-x.shape[0] // s), -(-x.shape[1] // s)
    made = np.zeros((rows, cols, x.shape[2]), F)
    for r in range(rows):
        for c in range(cols):
            total, there = np.zeros(x.shape[2], F), x[r * s : r * s + s, c * s : c * s + s].reshape(-1, x.shape[2])
            for position in there:
                total = total + position
            made[r, c] = total / F(len(there))
    return made


def common(a: Array, b: Array) -> tuple[Array, Array]:
    """The rows and columns that both have."""
    rows, cols = min(len(a), len(b)), min(a.shape[1], b.shape[1])
    return a[:rows, :cols], b[:rows, :cols]


# ---- 9.3, 10.2: compact networks ----


def told(embedding: Array, n: int, present: Array) -> Array:
    """9.1: how many levels there are, position by position."""
    return np.where(present[..., None], embedding[n - 1], embedding[max(0, n - 2)])


def decode_compact(net: Networks, tokens: list[Array], rows: int, cols: int) -> Array:
    n, shape = len(tokens), net.networks
    f = shape["patch"] * 2 ** (len(shape["decoder_depths"]) - 1)
    strides = list(net.quantizer["level_strides"] or [1] * n)[:n]
    present = enlarged((tokens[-1] >= 0)[..., None], strides[-1], rows, cols)[..., 0]
    z = net.latent("quantizer", tokens, strides, rows, cols) + told(net["level_embedding"], n, present)
    linear, x, number = spread(net.point("decoder.linear.0", z), f), net.convolve("decoder.deep.0", z), 1
    for stage in reversed(range(len(shape["decoder_depths"]))):
        x = net.blocks("decoder.deep", number, shape["decoder_depths"][stage], x)
        number += shape["decoder_depths"][stage]
        if stage:
            x = spread(net.point(f"decoder.deep.{number}", x), 2)
            number += 2
    return linear + spread(net.convolve(f"decoder.deep.{number}", x), shape["patch"])


def encode_compact(net: Networks, picture: Array, levels: int) -> list[Array]:
    shape = net.networks
    f = shape["patch"] * 2 ** (len(shape["encoder_depths"]) - 1)
    x, number = net.convolve("encoder.deep.1", gather(picture, shape["patch"])), 2
    for stage, depth in enumerate(shape["encoder_depths"]):
        if stage:
            x, number = net.patches(f"encoder.deep.{number}", x, 2), number + 1
        x = net.blocks("encoder.deep", number, depth, x)
        number += depth
    latent = net.point(f"encoder.deep.{number}", x) + net.patches("encoder.linear", picture, f)
    return net.choose("quantizer", latent, list(net.quantizer["level_strides"] or [1] * levels)[:levels])


# ---- 9.4, 10.2: hierarchical networks ----


def raise_coarse(net: Networks, tokens: list[Array]) -> tuple[Array, Array]:
    shape = net.networks
    f, depth = 2 * shape["patch"], shape["decoder_depths"][2]
    z = net.latent("coarse", tokens, [1] * len(tokens), *tokens[0].shape)
    x = net.convolve("decoder.raising.0", z + told(net["coarse_embedding"], len(tokens), tokens[-1] >= 0))
    x = net.blocks("decoder.raising", 1, depth, x)
    raised = spread(net.point(f"decoder.raising.{1 + depth}", x), 2)
    return raised, net.lapped("decoder.coarse_linear", z, 2 * f, shape["laps"][0])


def decode_hierarchical(net: Networks, tokens: list[Array], rows: int, cols: int) -> Array:
    shape, n = net.networks, len(tokens)
    coarse, f, patch = list(net.quantizer["level_strides"]).count(2), 2 * shape["patch"], shape["patch"]
    raised, picture = raise_coarse(net, tokens[:coarse])
    present = tokens[-1] >= 0
    if n <= coarse:
        present = enlarged(present[..., None], 2, *raised.shape[:2])[..., 0]
    level = told(net["level_embedding"], n, present)
    if n == coarse + 1:
        level = np.where(present[..., None], level, level - net["decoder.from_fine.bias"])
    if n > coarse:
        y = net.latent("fine", tokens[coarse:], [1] * (n - coarse), rows, cols)
        raised, other = common(raised, net.point("decoder.from_fine", y))
        raised = raised + other
        picture, other = common(picture, net.lapped("decoder.fine_linear", y, f, shape["laps"][1]))
        picture = picture + other
    (before, after), depth, _ = shape["decoder_depths"]
    x = net.blocks("decoder.fine", 0, depth, raised + level)
    x = spread(net.point(f"decoder.fine.{depth}", x), 2)
    x = net.blocks("decoder.fine", depth + 2, before, x)
    x = net.point("decoder.from_linear", gather(picture, patch)) + x
    x = net.convolve(f"decoder.last.{after}", net.blocks("decoder.last", 0, after, x))
    return spread(x, patch) + picture


def encode_hierarchical(net: Networks, picture: Array, levels: int) -> list[Array]:
    shape = net.networks
    f, patch, coarse = 2 * shape["patch"], shape["patch"], list(net.quantizer["level_strides"]).count(2)
    near, fine, deep = shape["encoder_depths"]
    rows, cols = len(picture) // f, picture.shape[1] // f
    whole = np.pad(picture, (*((0, -side % (2 * f)) for side in picture.shape[:2]), (0, 0)), mode="edge")
    x = net.blocks("encoder.features", 2, near, net.convolve("encoder.features.1", gather(whole, patch)))
    features = net.blocks("encoder.features", 3 + near, fine, net.patches(f"encoder.features.{2 + near}", x, 2))
    x = net.blocks("encoder.coarse", 1, deep, net.patches("encoder.coarse.0", features, 2))
    latent = net.point(f"encoder.coarse.{1 + deep}", x) + net.patches("encoder.coarse_linear", whole, 2 * f)
    tokens = net.choose("coarse", latent, [1] * min(levels, coarse))
    if levels <= coarse:
        return tokens
    raised, painted = raise_coarse(net, tokens)
    features, (ours, theirs) = features[:rows, :cols], common(picture, painted)
    x = net.point("encoder.fine.0", np.concatenate([features, raised[:rows, :cols]], axis=2))
    x = net.blocks("encoder.fine", 1, shape["merging_depth"], x)
    left = net.patches("encoder.fine_linear", ours - theirs, f)
    latent = net.point(f"encoder.fine.{1 + shape['merging_depth']}", x) + left
    return tokens + net.choose("fine", latent, [1] * (levels - coarse))


# ---- both ----


def to_picture(pixels: Array, f: int) -> Array:
    """10.1: (H, W, 3) uint8 -> float32 with sides that are multiples of f."""
    for axis in (0, 1):
        side = pixels.shape[axis]
        more = -side % f
        places = [*range(side), *(side - 2 - k if more < side else side - 1 for k in range(more))]
        pixels = pixels.take(places, axis=axis)
    return pixels.astype(F) / F(127.5) - F(1)


def to_pixels(picture: Array) -> Array:
    """9.5."""
    v = (picture + F(1)) * F(127.5)
    return np.rint(np.clip(np.where(np.isnan(v), F(127.5), v), 0, 255)).astype(np.uint8)


def decode(weights: dict[str, Array], config: dict[str, Any], tokens: list[Array], size: tuple[int, int]) -> Array:
    """Tokens to pixels (height, width, 3); size: (width, height)."""
    net, (width, height) = Networks(weights, config), size
    strides = net.quantizer["level_strides"] or [1] * len(tokens)
    rows, cols = (side * strides[len(tokens) - 1] for side in tokens[-1].shape)
    hierarchical = config["networks"]["kind"] == "hierarchical"
    made = (decode_hierarchical if hierarchical else decode_compact)(net, tokens, rows, cols)
    return to_pixels(made)[:height, :width]


def encode(weights: dict[str, Array], config: dict[str, Any], pixels: Array, levels: int) -> list[Array]:
    """Pixels (H, W, 3) to tokens."""
    net = Networks(weights, config)
    if config["networks"]["kind"] == "hierarchical":
        return encode_hierarchical(net, to_picture(pixels, 2 * net.networks["patch"]), levels)
    f = net.networks["patch"] * 2 ** (len(net.networks["encoder_depths"]) - 1)
    return encode_compact(net, to_picture(pixels, f), levels)
