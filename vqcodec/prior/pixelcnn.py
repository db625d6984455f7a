"""A gated PixelCNN over one token grid in raster order: the convolutional prior that transformers are compared with.

After van den Oord et al., 2016, "Conditional Image Generation with PixelCNN Decoders", §2.1 and figure 2, without
conditions. A vertical stack sees all rows above, a horizontal one what is to the left in its own row and, through the
vertical one, the rows above: together every earlier token within reach, without the blind spot of masked convolutions.
Where the paper masks weights, here the input is shifted, which is the same with fewer products.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: how far the first layer and the layers after it look, in tokens: kernels of 7 and 3 in full
_FIRST_REACH, _REACH = 3, 1
#: by what the weights start larger than for inputs of variance 1: a gate leaves a third of a standard deviation, the
#: sum of several layers about two thirds. With torch's own start a vertical stack of 12 layers loses its input.
_AFTER_GATE, _AFTER_SUM = 3.0, 1.5


class GatedLayer(nn.Module):
    """One layer of both stacks, each (B, C, h, w): figure 2 of the paper.

    The first layer leaves out the token itself (mask A of the paper) and has no residual.
    """

    def __init__(self, inputs: int, width: int, *, is_first: bool) -> None:
        super().__init__()
        reach = _FIRST_REACH if is_first else _REACH
        self.is_first = is_first
        # columns on both sides, and rows above: without the own one in the first layer
        rows, cols = (reach, reach) if is_first else (reach + 1, reach + 1)
        self.vertical = nn.Conv2d(inputs, 2 * width, (rows, 2 * reach + 1))
        self.vertical_padding = (reach, reach, reach, 0)
        self.horizontal = nn.Conv2d(inputs, 2 * width, (1, cols))
        self.horizontal_padding = (reach, 0, 0, 0)
        self.across = nn.Conv2d(2 * width, 2 * width, 1)
        self.out = nn.Conv2d(width, width, 1)
        gains = {self.vertical: 1.0 if is_first else _AFTER_GATE, self.horizontal: 1.0 if is_first else _AFTER_SUM}
        for convolution, gain in (gains | {self.across: 1.0}).items():
            nn.init.normal_(convolution.weight, std=gain / convolution.weight[0].numel() ** 0.5)

    def forward(self, vertical: Tensor, horizontal: Tensor) -> tuple[Tensor, Tensor]:
        """The next features of both stacks, (B, width, h, w) each."""
        rows, cols = vertical.shape[2:]
        above = self.vertical(F.pad(vertical, self.vertical_padding))[:, :, :rows]
        left = self.horizontal(F.pad(horizontal, self.horizontal_padding))[..., :cols]
        made = self.out(_gated(left + self.across(above)))
        return _gated(above), made if self.is_first else horizontal + made


class GatedPixelCNN(nn.Module):
    """codebook_size: K. width: channels of each stack. depth: layers. token_width: of the vectors of the tokens.

    Raises ValueError for any of these under 1.
    """

    def __init__(self, codebook_size: int, width: int, depth: int, token_width: int) -> None:
        super().__init__()
        if min(codebook_size, width, depth, token_width) < 1:
            raise ValueError("codebook size, width, depth and token width are 1 or more")
        self.tokens = nn.Embedding(codebook_size, token_width)
        self.layers = nn.ModuleList(
            GatedLayer(width if number else token_width, width, is_first=not number) for number in range(depth)
        )
        self.before_head = nn.Conv2d(width, width, 1)
        self.head = nn.Conv2d(width, codebook_size, 1)
        nn.init.zeros_(self.head.weight)  # all codes alike at the start
        assert self.head.bias is not None
        nn.init.zeros_(self.head.bias)

    @property
    def reach(self) -> int:
        """How many rows up, and columns to the left and (in rows above) to the right, a prediction sees."""
        return _FIRST_REACH + _REACH * (len(self.layers) - 1)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, h, w) int64 -> logits (B, h, w, K): each token's from those before it in raster order."""
        embedded = self.tokens(tokens).permute(0, 3, 1, 2)
        vertical, horizontal = embedded, embedded
        for layer in self.layers:
            vertical, horizontal = layer(vertical, horizontal)
        made: Tensor = self.head(torch.relu(self.before_head(torch.relu(horizontal))))
        return made.permute(0, 2, 3, 1)


def _gated(features: Tensor) -> Tensor:
    """(B, 2 C, h, w) -> (B, C, h, w)."""
    values, gates = features.chunk(2, dim=1)
    return values.tanh() * gates.sigmoid()
