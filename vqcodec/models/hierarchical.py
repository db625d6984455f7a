"""Networks with levels of two resolutions: coarse tokens for what is there, fine ones for how it looks.

As VQ-VAE-2 (Razavi et al., 2019, §3.1): the fine levels are told what the coarse ones decode to, and code what is left.
Strides are `patch` (features near the pixels), f (fine tokens) and 2 f (coarse ones). One Decoder serves all levels: a
deep network, and beside it linear maps from both latents to patches of pixels that lap over their neighbours, whose sum
is a picture that the last stage of the deep network sees, too.

Fully convolutional with a finite receptive field and per-position normalisation, like `vqcodec.models.compact`.

Shapes: B batch, H W pixels, h w rows and columns of the fine latent, H = f h and W = f w, C channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqcodec.models.config import HierarchicalConfig
from vqcodec.models.layers import added, blocks, convolution, radius


class LappedPatches(nn.Module):
    """A linear map of latents (B, C, h, w) to patches of f + 2 lap pixels a side, added up: (B, 3, f h, f w).

    Patches side by side would show their borders; these overlap, as in a lapped transform (Malvar, 1992).
    """

    def __init__(self, channels: int, factor: int, lap: int) -> None:
        super().__init__()
        self.factor, self.lap = factor, lap
        side = factor + 2 * lap
        self.weight = nn.Parameter(torch.zeros(channels, 3, side, side))
        self.bias = nn.Parameter(torch.zeros(3))

    def forward(self, latent: Tensor) -> Tensor:
        # the last row and column again beyond the border: the outermost patches have neighbours like all others
        around = F.pad(latent, (1, 1, 1, 1), mode="replicate")
        made = F.conv_transpose2d(around, self.weight, None, stride=self.factor, padding=self.factor + self.lap)
        return made + self.bias[:, None, None]

    @torch.no_grad()
    def start_at(self, patches: Tensor, mean: Tensor) -> None:
        """Start at patches (n, 3, f, f), n <= C, under a window that rises from 0 over 2 lap; mean: of a pixel,
        (3,)."""
        rising = (torch.arange(self.factor + 2 * self.lap, device=patches.device) + 0.5) / max(0.5, 2 * self.lap)
        window = torch.minimum(rising, rising.flip(0)).clamp_max(1)
        self.weight.zero_()
        self.weight[: len(patches)] = F.pad(patches, (self.lap,) * 4, mode="replicate") * window[:, None] * window
        self.bias.copy_(mean)


class Encoder(nn.Module):
    """Pixels (B, 3, H, W) in [-1, 1] to the latent of the coarse levels, and to that of the fine ones once those are
    chosen. H and W are multiples of 2 f.
    """

    def __init__(self, config: HierarchicalConfig) -> None:
        super().__init__()
        near, fine, coarse = config.widths
        near_depth, fine_depth, coarse_depth = config.encoder_depths
        coarse_channels, fine_channels = config.latent_channels
        factor = config.downsampling_factor
        self.coarse_linear = nn.Conv2d(3, coarse_channels, 2 * factor, stride=2 * factor)
        self.fine_linear = nn.Conv2d(3, fine_channels, factor, stride=factor)
        self.features = nn.Sequential(
            nn.PixelUnshuffle(config.patch),
            convolution(3 * config.patch**2, near, "replicate"),
            *blocks(near, near_depth, 0.5, "replicate"),
            nn.Conv2d(near, fine, 2, stride=2),
            *blocks(fine, fine_depth, 0.5, "replicate"),
        )
        self.coarse = nn.Sequential(
            nn.Conv2d(fine, coarse, 2, stride=2),
            *blocks(coarse, coarse_depth, 0.5, "replicate"),
            nn.Conv2d(coarse, coarse_channels, 1),
        )
        self.fine = nn.Sequential(
            nn.Conv2d(2 * fine, fine, 1),
            *blocks(fine, config.merging_depth, 0.5, "replicate"),
            nn.Conv2d(fine, fine_channels, 1),
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, C, h, w), and the coarse latent (B, C, h / 2, w / 2)."""
        features = self.features(images)
        return features, added(self.coarse_linear(images), self.coarse(features))

    def fine_latent(self, features: Tensor, raised: Tensor, left: Tensor) -> Tensor:
        """The fine latent (B, C, h, w). raised: what the Decoder makes of the coarse tokens; left: of the pixels."""
        return added(self.fine_linear(left), self.fine(torch.cat([features, raised], dim=1)))


class Decoder(nn.Module):
    """Quantised latents to pixels (B, 3, H, W), about in [-1, 1], not clamped."""

    def __init__(self, config: HierarchicalConfig) -> None:
        super().__init__()
        near, fine, coarse = config.widths
        near_depth, fine_depth, coarse_depth = config.decoder_depths
        near_hidden, fine_hidden, coarse_hidden = config.decoder_hidden
        coarse_channels, fine_channels = config.latent_channels
        factor, patch = config.downsampling_factor, config.patch
        self.coarse_linear = LappedPatches(coarse_channels, 2 * factor, config.laps[0])
        self.fine_linear = LappedPatches(fine_channels, factor, config.laps[1])
        self.raising = nn.Sequential(
            convolution(coarse_channels, coarse, "replicate"),
            *blocks(coarse, coarse_depth, coarse_hidden, "replicate"),
            nn.Conv2d(coarse, 4 * fine, 1),
            nn.PixelShuffle(2),
        )
        self.from_fine = nn.Conv2d(fine_channels, fine, 1)
        self.fine = nn.Sequential(
            *blocks(fine, fine_depth, fine_hidden, "replicate"),
            nn.Conv2d(fine, 4 * near, 1),
            nn.PixelShuffle(2),
            *blocks(near, near_depth[0], near_hidden, "replicate"),
        )
        #: of the picture that the linear maps give, for the last stage; nothing at first
        self.unshuffle = nn.PixelUnshuffle(patch)
        self.from_linear = nn.Conv2d(3 * patch**2, near, 1)
        nn.init.zeros_(self.from_linear.weight)
        assert self.from_linear.bias is not None
        nn.init.zeros_(self.from_linear.bias)
        self.last = nn.Sequential(
            *blocks(near, near_depth[1], near_hidden, "replicate"),
            convolution(near, 3 * patch**2, "replicate"),
            nn.PixelShuffle(patch),
        )

    @property
    def last_layer(self) -> nn.Conv2d:
        """The convolution that gives the pixels: what the adaptive weight of the adversarial loss looks at."""
        layer = self.last[-2]
        assert isinstance(layer, nn.Conv2d)
        return layer

    def forward(self, raised: Tensor, linear: Tensor, level: Tensor) -> Tensor:
        """raised: `raising` of the coarse latent, and `from_fine` of the fine one on top where there is one,
        (B, C, h, w). linear: the sum of the linear maps, (B, 3, H, W). level: (B, C, 1, 1), tells how many are used.
        """
        near = added(self.fine(raised + level), self.from_linear(self.unshuffle(linear)))
        return added(self.last(near), linear)


def encoder_radius(encoder: Encoder, decoder: Decoder) -> int:
    """Pixels that a token depends on beyond its own."""
    factor = encoder.fine_linear.stride[0]
    coarse = radius(encoder.features, stride=1) + radius(encoder.coarse, stride=factor)
    # a fine position may lie at either end of the coarse token that it hangs on: `factor` pixels more
    return coarse + _raising_radius(decoder, factor) + factor + radius(encoder.fine, stride=factor)


def decoder_radius(decoder: Decoder) -> int:
    """Pixels that a token reaches beyond its own."""
    factor = decoder.fine_linear.factor
    patch = decoder.unshuffle.downscale_factor
    return _raising_radius(decoder, factor) + radius(decoder.fine, stride=factor) + radius(decoder.last, stride=patch)


def _raising_radius(decoder: Decoder, factor: int) -> int:
    """How far a coarse token reaches, in the picture or among the fine positions."""
    return max(radius(decoder.raising, stride=2 * factor), decoder.coarse_linear.lap, decoder.fine_linear.lap)


@torch.no_grad()
def principal_patches(images: Tensor, factor: int, channels: int, chroma: float) -> tuple[Tensor, Tensor, Tensor]:
    """Principal components of the f x f patches of images (B, 3, H, W), in colours whose chroma counts `chroma` times.

    Returns the map from patches to latents (n, 3, f, f), n <= C, that from latents to patches (n, 3, f, f), and the
    mean colour (3,). With chroma 1 both maps are the same and orthonormal. Squared error alone leaves chroma for the
    last components, and so for the last levels: purple becomes blue.
    """
    like = images.new_empty(0, dtype=torch.float64)
    opponent = like.new_tensor([[1.0, 1.0, 1.0], [1.0, 0.0, -1.0], [1.0, -2.0, 1.0]])
    opponent = opponent / opponent.norm(dim=1, keepdim=True)
    weigh = opponent.T @ torch.diag(like.new_tensor([1.0, chroma, chroma])) @ opponent
    patches = F.pixel_unshuffle(images, factor).permute(0, 2, 3, 1).reshape(-1, 3, factor**2).double()
    mean = patches.mean(dim=(0, 2))
    weighed = torch.einsum("cd,ndk->nck", weigh, patches - mean[:, None]).flatten(1)
    components = torch.linalg.eigh(weighed.T @ weighed / len(weighed)).eigenvectors.flip(1)[:, :channels].T
    components = components.unflatten(1, (3, factor, factor))
    analysis = torch.einsum("dc,ndhw->nchw", weigh, components)
    synthesis = torch.einsum("cd,ndhw->nchw", torch.linalg.inv(weigh), components)
    return analysis.float(), synthesis.float(), mean.float()


def start_linear(analysis: nn.Conv2d, synthesis: LappedPatches, images: Tensor, chroma: float) -> None:
    """Start both linear maps at the principal components of the patches of images (B, 3, H, W)."""
    to_latent, to_patches, mean = principal_patches(images, synthesis.factor, analysis.out_channels, chroma)
    bias = analysis.bias
    assert bias is not None
    with torch.no_grad():
        analysis.weight.zero_()
        analysis.weight[: len(to_latent)] = to_latent
        bias.zero_()
        bias[: len(to_latent)] = -torch.einsum("nchw,c->n", to_latent, mean)
    synthesis.start_at(to_patches, mean)


def quieten(encoder: Encoder, decoder: Decoder) -> None:
    """Bring the deep networks' outputs near zero beside the linear maps."""
    with torch.no_grad():
        for layer in (encoder.coarse[-1], encoder.fine[-1], decoder.last_layer):
            assert isinstance(layer, nn.Conv2d)
            layer.weight.mul_(0.1)
            assert layer.bias is not None
            layer.bias.zero_()
        assert decoder.from_fine.bias is not None
        decoder.from_fine.bias.zero_()
