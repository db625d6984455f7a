"""The course of a learning rate."""

from __future__ import annotations


def learning_rate_share(step: int, *, steps: int, warmup_steps: int, decay_share: float) -> float:
    """Of the highest rate, at `step` of `steps`: linear warm-up, constant at 1, linear fall to zero."""
    rise = min(1.0, (step + 1) / max(1, warmup_steps))
    fall = min(1.0, (steps - step) / max(1.0, decay_share * steps))
    return rise * fall
