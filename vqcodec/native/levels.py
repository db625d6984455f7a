"""Levels of quantisation by the core: latents to the nearest codes and back. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vqcodec.native.library import Layer, Level, Library, thread_count
from vqcodec.native.networks import CONVOLVE1, Floats, WeightsError, as_grid, stride_of

#: what is looked up: the projected latents as they are, or scaled to length 1, or standardised and lifted first
LOOKUPS: Final = {"euclidean": 0, "cosine": 1, "lifted": 2}
#: what codes of no K are padded with: infinitely far from everything
_FAR: Final = np.inf


class CoreLevel:
    """One level of K codes for latents of C channels.

    weights: float32, of `vqcodec.models.quantizer.VectorQuantizer`, by name; code_vectors: (K, D) as they are looked
    up. Raises WeightsError for weights of other shapes.
    """

    def __init__(
        self, library: Library, weights: Mapping[str, Floats], code_vectors: Floats, lookup: str, channels: int
    ) -> None:
        self._library, self.channels = library, channels
        self.codes, dimension = code_vectors.shape
        lifted = lookup == "lifted"
        made = dimension - lifted
        expected = {
            "project_in.weight": (made, channels),
            "project_out.weight": (channels, dimension),
            "project_out.bias": (channels,),
            **({"mean": (made,), "variance": ()} if lifted else {"project_in.bias": (made,)}),
        }
        for name, shape in expected.items():
            if name not in weights or weights[name].shape != shape:
                raise WeightsError(f"{name}: not there, or not {shape}")
        project = weights["project_in.weight"]
        width = -(-dimension // 16) * 16
        padded = np.zeros((width, self.channels), np.float32)
        padded[:made] = project
        layer = Layer(kind=CONVOLVE1, inputs=self.channels, outputs=width, factor=1)
        packed = np.empty(library.vq_packed_size(layer), np.float32)
        library.vq_pack(layer, padded.ctypes.data, packed.ctypes.data)
        codes = np.full((dimension, -(-self.codes // 16) * 16), _FAR)
        codes[:, : self.codes] = code_vectors.T
        bias = np.zeros(width, np.float32)
        if not lifted:
            bias[:made] = weights["project_in.bias"]
        mean = weights["mean"] if lifted else np.zeros(made, np.float32)
        deviation = np.sqrt(weights["variance"]) if lifted else np.float32(1)
        self.table = codes_to_latents(code_vectors, weights["project_out.weight"], weights["project_out.bias"])
        #: what the structure points at
        self._held = (packed, bias, np.ascontiguousarray(mean), codes, self.table)
        self._level = Level(
            codes=self.codes,
            dimension=dimension,
            channels=self.channels,
            lookup=LOOKUPS[lookup],
            inverse_deviation=float(np.float32(1) / deviation),
            lift=float(np.float32(2.0 * made**0.5)),
            project=packed.ctypes.data,
            bias=bias.ctypes.data,
            mean=self._held[2].ctypes.data,
            code_vectors=codes.ctypes.data,
            table=self.table.ctypes.data,
        )

    @cached_property
    def energies(self) -> NDArray[np.float64]:
        """(K,): squared length of what each code gives back; summed over the channels in ascending order, so that it is
        the same everywhere."""
        summed = np.zeros(self.codes)
        for column in self.table.T.astype(np.float64):
            summed += column * column
        return summed

    def tokens(self, latent: Floats) -> NDArray[np.int32]:
        """Tokens (rows, cols) of a latent (rows, cols, stride): those of the nearest codes."""
        tokens = np.empty(latent.shape[:2], np.int32)
        grid = as_grid(latent, self.channels)
        wrong = self._library.vq_tokens(self._level, grid, tokens.ctypes.data, thread_count())
        assert not wrong
        return tokens

    def distances(self, latent: Floats) -> Floats:
        """Squared distances (rows, cols, K) of the codes from a latent (rows, cols, stride), in the look-up's space."""
        made = np.empty((*latent.shape[:2], self.codes), np.float32)
        wrong = self._library.vq_distances(
            self._level, as_grid(latent, self.channels), made.ctypes.data, thread_count()
        )
        assert not wrong
        return made

    def add_to(self, latent: Floats, tokens: NDArray[np.int32], stride: int, *, first: bool) -> None:
        """Add what tokens (ceil(rows / stride), ceil(cols / stride)) give back to a latent (rows, cols, stride of C);
        or put it there, if `first`."""
        contiguous = np.ascontiguousarray(tokens, np.int32)
        self._library.vq_add_codes(self._level, contiguous.ctypes.data, stride, as_grid(latent, self.channels), first)


def codes_to_latents(code_vectors: Floats, weight: Floats, bias: Floats) -> Floats:
    """What each code gives back: (K, C padded), sums over the dimensions in ascending order, then the bias."""
    made = np.zeros((len(code_vectors), stride_of(len(bias))), np.float32)
    for code_column, weight_column in zip(code_vectors.T, weight.T, strict=True):
        made[:, : len(bias)] += code_column[:, None] * weight_column
    made[:, : len(bias)] += bias
    return made
