"""A plain training loop for networks that predict token grids, and what they cost per token."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Final, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from vqcodec.compute.devices import fast_dtype
from vqcodec.training.common.loop import TrainingError

#: tokens (B, h, w) int64 -> logits (B, h, w, K)
Predict: TypeAlias = Callable[[Tensor], Tensor]
#: gets the number of each step, from 0, and its bits per token
Report: TypeAlias = Callable[[int, float], None]

_BETAS: Final = (0.9, 0.98)
_WEIGHT_DECAY: Final = 0.01
_GRADIENT_CLIP: Final = 1.0
#: of the training, the share in which the learning rate rises
_WARMUP_SHARE: Final = 0.1
#: grids through the network when measuring
_MEASURED_AT_ONCE: Final = 16


@dataclass(frozen=True)
class Training:
    """AdamW; the learning rate rises linearly in the first tenth and falls as a cosine to zero.

    Either `steps` or `seconds` says when it ends. Raises ValueError for both or none of these.
    """

    batch_size: int
    learning_rate: float
    seed: int
    steps: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.seconds is None):
            raise ValueError("a training ends after steps or after seconds: give one of them")


def train(
    network: nn.Module, predict: Predict, tokens: Tensor, training: Training, report: Report
) -> tuple[int, float]:
    """Train `network`, of which `predict` gives the logits, on tokens (N, h, w). Returns the steps and seconds taken.

    With `steps` the result depends on the seed alone. Every grid is taken once before any is taken again. Raises
    TrainingError when the loss is not finite.
    """
    device = next(network.parameters()).device
    dtype = fast_dtype(device)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=training.learning_rate, betas=_BETAS, weight_decay=_WEIGHT_DECAY
    )
    network.train()
    started = time.perf_counter()
    for step, chosen in enumerate(_batches(len(tokens), training.batch_size, training.seed)):
        spent = time.perf_counter() - started
        progress = spent / training.seconds if training.seconds else (step + 1) / ((training.steps or 0) + 1)
        if progress >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = training.learning_rate * _rate(progress)
        batch = tokens[torch.from_numpy(chosen)].to(device)
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            logits = predict(batch)
        loss = F.cross_entropy(logits.float().flatten(0, 2), batch.flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), _GRADIENT_CLIP)
        optimizer.step()
        value = float(loss.detach())
        if not math.isfinite(value):
            raise TrainingError(f"step {step}: the loss is not finite; take a lower --learning-rate")
        report(step, value / math.log(2))
    network.eval()
    return step, time.perf_counter() - started


@torch.inference_mode()
def bits_per_token(predict: Predict, tokens: Tensor, device: torch.device) -> float:
    """The mean of -log2 of the probability of each token of (N, h, w), by logits in float32."""
    nats = 0.0
    for batch in tokens.to(device).split(_MEASURED_AT_ONCE):
        nats += float(F.cross_entropy(predict(batch).float().flatten(0, 2), batch.flatten(), reduction="sum"))
    return nats / tokens.numel() / math.log(2)


def order_0_bits(training: Tensor, tokens: Tensor, codebook_size: int) -> float:
    """Bits per token of `tokens` by the frequencies of those in `training`, each count one more than it is (Laplace).

    Both int64 of any shape, in 0..codebook_size-1.
    """
    counts = torch.bincount(training.flatten(), minlength=codebook_size).double() + 1
    return float(-(counts / counts.sum()).log2()[tokens.flatten()].mean())


def _rate(progress: float) -> float:
    """The share of the learning rate after the share `progress` of the training."""
    return min(1.0, progress / _WARMUP_SHARE) * (1 + math.cos(math.pi * progress)) / 2


def _batches(size: int, batch_size: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Without end, (batch_size,) of 0..size-1, each once before any comes again."""
    left = np.empty(0, np.int64)
    for epoch in count():
        left = np.concatenate([left, np.random.default_rng((seed, epoch)).permutation(size)])
        while len(left) >= batch_size:
            yield left[:batch_size]
            left = left[batch_size:]
