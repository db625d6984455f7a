"""How well a context network predicts the tokens of held-out pictures, during training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from vqcodec.codec import Codec
from vqcodec.prior.context_network import ContextNetwork
from vqcodec.training.common.json_lines import append_line
from vqcodec.training.data.types import Pictures
from vqcodec.training.stage2.crop_tokens import ConditionMaker
from vqcodec.training.stage2.validation import PriorValidation, PriorValidationResult


class ContextValidation:
    """Bits per token by level (bits_1 ...), on central crops of held-out pictures, the share saved, and both of static
    frequencies.

    saved_1 ... is the share under log2 K, 0..1; static_1 ... the bits per token by the model's static frequencies,
    where it has them. Each run appends a line to OUT/validation.jsonl. crop_size, at_most, errors: as of
    `PriorValidation`.
    """

    def __init__(
        self,
        pictures: Pictures,
        codec: Codec,
        out: Path,
        *,
        levels: int,
        crop_size: int,
        condition: ConditionMaker | None = None,
        at_most: int = 64,
    ) -> None:
        held = PriorValidation(
            pictures, codec, out, levels=levels, crop_size=crop_size, condition=condition, at_most=at_most
        )
        self.out, self.tokens, self.condition = out, held.tokens, held.condition
        self._static = codec.card.static_frequencies

    def run(self, model: ContextNetwork, step: int) -> PriorValidationResult:
        """Measure `model` and write the line."""
        values = context_figures(model, self.tokens, self.condition)
        for level, table in enumerate(self._static[: model.config.levels]):
            if level in model.config.covered:
                bits = 24 - torch.tensor(table, dtype=torch.float64).log2()
                values[f"static_{level + 1}"] = float(bits[self.tokens[level]].mean())
        self.out.mkdir(parents=True, exist_ok=True)
        append_line(self.out / "validation.jsonl", step, values)
        return PriorValidationResult(step, values)


@torch.inference_mode()
def context_figures(
    model: ContextNetwork, tokens: Sequence[Tensor], condition: Tensor | None = None, batch_size: int = 8
) -> dict[str, float]:
    """bits_L and saved_L, see `ContextValidation`, of tokens (B, h, w) of every level up to the last covered.

    condition: (B, C, h', w'), of a network that is told one.
    """
    values: dict[str, float] = {}
    device = next(model.parameters()).device
    for level in model.config.covered:
        nats = torch.cat(
            [
                model.nats(
                    [grid[part].to(device) for grid in tokens[: level + 1]],
                    level,
                    None if condition is None else condition[part].to(device),
                ).cpu()
                for part in torch.arange(len(tokens[0])).split(batch_size)
            ]
        )
        bits = float(nats.mean()) / math.log(2)
        values[f"bits_{level + 1}"] = bits
        values[f"saved_{level + 1}"] = 1 - bits / math.log2(model.config.codebook_sizes[level])
    return values
