"""How often an index is not that of the contract: ours on every path, and plain float32 and less for comparison."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from vqcodec.codec import Codec
from vqcodec.kernels import nearest_codes
from vqcodec.kernels.contract import exact_nearest
from vqcodec.models.level import Level
from vqcodec.models.network_input import picture_input
from vqcodec.models.quantizer import VectorQuantizer, as_vectors, nearest
from vqcodec.pictures.arrays import Pixels

_PIECE = 2**16


@dataclass(frozen=True)
class Flips:
    """Of `vectors`: how many got another index than by float64, from ours and from a plain product of float32."""

    source: str
    vectors: int
    codes: int
    dimension: int
    flips: int
    plain_float32_flips: int

    def plus(self, other: Flips | None) -> Flips:
        """With those of another part of the same."""
        if other is None:
            return self
        return replace(
            self,
            vectors=self.vectors + other.vectors,
            flips=self.flips + other.flips,
            plain_float32_flips=self.plain_float32_flips + other.plain_float32_flips,
        )


def random_flips(
    vectors: int, codes: int, dimension: int, device: torch.device, *, seed: int = 0, progress: Callable[[int], object]
) -> Flips:
    """Count in random vectors and codes, all from the unit normal distribution."""
    generator = torch.Generator().manual_seed(seed)
    codebook = torch.randn(codes, dimension, generator=generator).to(device)
    sizes = [min(_PIECE, vectors - start) for start in range(0, vectors, _PIECE)]
    pieces = (torch.randn(size, dimension, generator=generator).to(device) for size in sizes)
    return _count("unit Gaussians", pieces, codebook, progress)


def latent_flips(codec: Codec, pictures: Iterable[Pixels], *, progress: Callable[[int], object]) -> list[Flips]:
    """Of what each level of a codec looks up for pictures, as training has them: whole, without alpha."""
    counts: dict[int, Flips] = {}
    for pixels in pictures:
        picture = picture_input(codec.card.autoencoder, pixels)
        for number, (vectors, codebook) in enumerate(_looked_up(codec, picture), 1):
            found = _count(f"latents of {codec.card.name}, level {number}", iter([vectors]), codebook, progress)
            counts[number] = found.plus(counts.get(number))
    return list(counts.values())


@torch.inference_mode()
def _looked_up(codec: Codec, picture: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Of each level the vectors (N, D) and the codes (K, D), for a picture (1, 3, H, W)."""
    looked_up: list[tuple[Tensor, Tensor]] = []

    def choose(level: Level, seen: Tensor, coarser: list[Tensor]) -> Tensor:
        if not isinstance(level, VectorQuantizer):
            raise ValueError(f"model {codec.card.name} does not look for nearest codes")
        looked_up.append((level.vectors(as_vectors(seen)), level.codebook.codes().detach()))
        return nearest(level, seen, coarser)

    codec.network.choose_tokens(codec.analyse(picture), codec.card.autoencoder.levels, choose)
    return looked_up


def _count(source: str, pieces: Iterator[Tensor], codebook: Tensor, progress: Callable[[int], object]) -> Flips:
    vectors = flips = plain = 0
    for z in pieces:
        exact = exact_nearest(z, codebook, "l2")
        flips += int((nearest_codes(z, codebook) != exact).sum())
        scores = F.linear(z, codebook, -0.5 * codebook.square().sum(dim=1))
        plain += int((scores.argmax(dim=1) != exact).sum())
        vectors += len(z)
        progress(len(z))
    return Flips(source, vectors, len(codebook), codebook.shape[1], flips, plain)
