"""The stage-1 reconstruction losses (Esser et al., 2021, equation 4 and §3.1).

Of pictures: L1, squared error, colours, repeated textures, LPIPS and DISTS. Of label maps: cross-entropy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqcodec.perceptual.networks import DISTS, LPIPS
from vqcodec.pictures.image import to_unit_range
from vqcodec.training.stage1.windows import cut_windows, random_windows

#: side in pixels of the blocks whose mean colours are compared
COLOUR_BLOCK: Final = 8
#: differences of neighbours to which those of the pictures are added: one of 255, or the gradient of a flat picture's
#: jump would be without bounds
_JUMP_FLOOR: Final = 2 / 255
#: side in pixels of the blocks across whose borders pictures shall not jump
JUMP_SIDE: Final = 16
#: distances in pixels at which textures shall not repeat themselves more than their originals do
REPEATED_AFTER: Final = (8, 16, 32)
#: what is coarser than so many pixels is no texture
_TEXTURE_SIDE: Final = 7
#: so that pictures without texture repeat nothing: a tenth of a step of 255 in each of 128 x 128 pixels
_LEAST_ENERGY: Final = 1e-4


@dataclass(frozen=True)
class LossWeights:
    """Weights of the terms. L1 and L2 are taken on pixels in [-1, 1], the perceptual distances are LPIPS v0.1.

    `colour` weighs L1 on the means of 8 x 8 pixels: LPIPS hardly minds a wrong colour; `chroma` weighs L1 on the Cb
    and Cr of these means; `border_jump` weighs how far the jump across borders of 16 pixels, as a share of that
    elsewhere, is from the original's, `repetition` how far textures repeat themselves more or less after 8, 16 and
    32 pixels. VGG16 costs as much as the codec itself: its terms, and a discriminator on its features, look at
    `vgg_crops` windows of `vgg_crop_size` pixels, each in a picture of its own, or at everything where `vgg_crops` is
    0. DISTS compares means over a picture, so it looks at whole ones, `dists_pictures` of them or, for 0, all. Both are
    counted in what one process sees at a time: its share of a batch, or of that the accumulated part.
    `distortion_by_level` multiplies L1 and L2 of pictures with 1, 2, ... levels, () for 1: at low rates a picture that
    looks right is wanted, at high ones this very picture. `cross_entropy` is of label maps, which take no other
    reconstruction term. `commitment` is beta of VQ-VAE's equation 3: it weighs what the Encoder gets.
    """

    l1: float = 0.5
    l2: float = 0.0
    colour: float = 3.0
    chroma: float = 0.0
    border_jump: float = 0.0
    repetition: float = 0.0
    lpips_alex: float = 2.0
    lpips_vgg: float = 1.5
    dists: float = 0.0
    commitment: float = 0.1
    codebook: float = 0.1
    cross_entropy: float = 0.0
    vgg_crops: int = 2
    vgg_crop_size: int = 64
    dists_pictures: int = 1
    distortion_by_level: tuple[float, ...] = ()

    def without_networks(self) -> LossWeights:
        """The same, with no perceptual term."""
        return replace(self, lpips_alex=0.0, lpips_vgg=0.0, dists=0.0)

    @property
    def of_pictures(self) -> bool:
        """Whether there is a term that looks at pixels."""
        faults = self.colour, self.chroma, self.border_jump, self.repetition
        return any((self.l1, self.l2, *faults, self.lpips_alex, self.lpips_vgg, self.dists))


@dataclass(frozen=True)
class Compared:
    """terms: by name, unweighted scalars. real, made: what VGG16 sees in the same windows of both, where it looks.

    levels: of the pictures that these windows are in.
    """

    terms: dict[str, Tensor]
    levels: Tensor
    real: list[Tensor] = field(default_factory=list)
    made: list[Tensor] = field(default_factory=list)


class ReconstructionLoss(nn.Module):
    """forward(images, reconstructions, levels, generator): pictures (B, 3, H, W) in [-1, 1], levels (B,) in 1..L.

    The pictures are shifted by 0..3 random pixels before LPIPS: AlexNet's first layer has stride 4 and is blind to
    patterns of that period, which then show as a faint grid on flat areas.
    """

    def __init__(self, weights_folder: Path | None, weights: LossWeights, *, needs_features: bool = False) -> None:
        """`weights_folder` holds the networks of LPIPS; needs_features: VGG16's, for a discriminator.

        Raises ValueError when the folder is None and a network is needed, PerceptualWeightsError for wrong weights.
        """
        super().__init__()
        self.weights = weights
        self.alex: LPIPS | None = None
        self.vgg: LPIPS | None = None
        self.dists: DISTS | None = None
        needs_vgg = bool(weights.lpips_vgg) or needs_features
        if not (weights.lpips_alex or weights.dists or needs_vgg):
            return
        if weights_folder is None:
            raise ValueError(
                "perceptual losses and a discriminator on features need --perceptual-weights; give --no-perceptual to "
                "train without them"
            )
        if weights.lpips_alex:
            self.alex = LPIPS(weights_folder, "alex")
        if needs_vgg:
            self.vgg = LPIPS(weights_folder, "vgg")
        if weights.dists:
            self.dists = DISTS(weights_folder)

    def forward(self, images: Tensor, reconstructions: Tensor, levels: Tensor, generator: torch.Generator) -> Compared:
        weights, error = self.weights, images - reconstructions
        asked = by_level(weights.distortion_by_level, levels)
        terms = {"l1": (error.abs().mean(dim=(1, 2, 3)) * asked).mean()}
        if weights.l2:
            terms["l2"] = (error.square().mean(dim=(1, 2, 3)) * asked).mean()
        if weights.colour or weights.chroma:
            means = F.avg_pool2d(error, COLOUR_BLOCK)
            terms["colour"] = means.abs().mean()
            if weights.chroma:
                terms["chroma"] = chroma(means).abs().mean()
        if weights.border_jump:
            made, real = (border_jump(pictures, floor=_JUMP_FLOOR) for pictures in (reconstructions, images))
            terms["border_jump"] = (made / real).log().abs().mean()
        if weights.repetition:
            lags = [lag for lag in REPEATED_AFTER if lag < min(images.shape[2:])]
            differences = [repetition(reconstructions, lag) - repetition(images, lag) for lag in lags]
            terms["repetition"] = torch.stack(differences).abs().mean()
        real, made = to_unit_range(images), to_unit_range(reconstructions)
        top, left = torch.randint(4, (2,), generator=generator).tolist()
        if self.alex is not None:
            with torch.no_grad():
                expected = self.alex.describe(real[:, :, top:, left:])
            terms["lpips_alex"] = self.alex.distance(self.alex.describe(made[:, :, top:, left:]), expected).mean()
        if self.dists is not None:
            terms["dists"] = self._dists(real, made, generator)
        if self.vgg is None:
            return Compared(terms, levels)
        if weights.vgg_crops:
            windows = random_windows(real.shape, weights.vgg_crops, weights.vgg_crop_size, generator)
            made, real = cut_windows(made, windows), cut_windows(real, windows)
            levels = levels[torch.tensor([picture for picture, _, _ in windows], device=levels.device)]
        with torch.no_grad():
            seen_real = self.vgg.describe(real)
        seen_made = self.vgg.describe(made)
        terms["lpips_vgg"] = self.vgg.distance(seen_made, seen_real).mean()
        return Compared(terms, levels, seen_real, seen_made)

    def _dists(self, real: Tensor, made: Tensor, generator: torch.Generator) -> Tensor:
        """The mean over random ones of the pictures."""
        assert self.dists is not None
        chosen = torch.randperm(len(real), generator=generator)[: self.weights.dists_pictures or len(real)]
        with torch.no_grad():
            expected = self.dists.describe(real[chosen])
        return self.dists.distance(self.dists.describe(made[chosen]), expected).mean()


def by_level(factors: Sequence[float], levels: Tensor) -> Tensor:
    """The factor of each picture, (B,), by its number of levels, (B,) in 1..L; 1 where there are none."""
    if not factors:
        return torch.ones_like(levels, dtype=torch.float32)
    return torch.tensor(factors, device=levels.device)[levels - 1]


def chroma(rgb: Tensor) -> Tensor:
    """Cb and Cr (JFIF), (B, 2, h, w), of differences of colours (B, 3, h, w)."""
    matrix = rgb.new_tensor([[-0.1687, -0.3313, 0.5], [0.5, -0.4187, -0.0813]])
    return torch.einsum("ij,bjhw->bihw", matrix, rgb)


def border_jump(pictures: Tensor, side: int = JUMP_SIDE, floor: float = 1e-6) -> Tensor:
    """(B,) of (B, C, H, W): mean difference of neighbours across borders of `side` pixels, over that of all others; 1
    without blocks.

    `floor` is added to both.
    """
    ratios = []
    for dim in (2, 3):
        steps = pictures.diff(dim=dim).abs().mean(dim=(1, 5 - dim)) + floor
        at_border = torch.arange(steps.shape[1]) % side == side - 1
        ratios.append(steps[:, at_border].mean(dim=1) / steps[:, ~at_border].mean(dim=1))
    return torch.stack(ratios).mean(dim=0)


def repetition(pictures: Tensor, lag: int) -> Tensor:
    """(B,) of (B, C, H, W), H and W more than `lag`: how far textures repeat themselves after `lag` rows or columns, -1
    to 1; the autocorrelation of the luma less its means over 7 x 7 pixels.

    A Decoder that paints the same texture into every cell of its grid has no jump at their borders, and one sees the
    grid all the same.
    """
    luma = pictures.mean(dim=1, keepdim=True)
    padded = F.pad(luma, (_TEXTURE_SIDE // 2,) * 4, mode="reflect")
    texture = luma - F.avg_pool2d(padded, _TEXTURE_SIDE, stride=1)
    repeated = []
    for dim in (2, 3):
        length = texture.shape[dim] - lag
        one, other = texture.narrow(dim, 0, length), texture.narrow(dim, lag, length)
        energy = one.square().sum(dim=(1, 2, 3)) * other.square().sum(dim=(1, 2, 3))
        repeated.append((one * other).sum(dim=(1, 2, 3)) / (energy + _LEAST_ENERGY).sqrt())
    return torch.stack(repeated).mean(dim=0)


class MapLoss(nn.Module):
    """forward(maps, logits, levels, generator), maps (B, classes, H, W), gives the cross-entropy of classes, in nats.

    maps: one-hot, of any scale. Esser et al. (2021) take a binary cross-entropy for each class in their code; here a
    pixel has one class only.
    """

    def forward(self, maps: Tensor, logits: Tensor, levels: Tensor, generator: torch.Generator) -> Compared:
        return Compared({"cross_entropy": F.cross_entropy(logits, maps.argmax(dim=1))}, levels)
