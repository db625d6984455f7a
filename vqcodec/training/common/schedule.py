"""The course of a learning rate."""

from __future__ import annotations


def learning_rate_share(
    step: int, *, steps: int, warmup_steps: int, decay_share: float, decay_from: int | None = None
) -> float:
    """Of the highest rate, at `step` of `steps`: linear warm-up, constant at 1, linear fall to zero.

    It falls over the last `decay_share` of the steps, or from the step `decay_from` on.
    """
    falling = decay_share * steps if decay_from is None else steps - decay_from
    rise = min(1.0, (step + 1) / max(1, warmup_steps))
    fall = min(1.0, (steps - step) / max(1.0, falling))
    return rise * fall


def learning_rate_share_by_time(step: int, done: float, *, warmup_steps: int, decay_share: float) -> float:
    """Of the highest rate, when a share `done` of the time is over (0..1): as above, but for the fall."""
    rise = min(1.0, (step + 1) / max(1, warmup_steps))
    fall = min(1.0, (1 - done) / decay_share) if decay_share else 1.0
    return rise * max(0.0, fall)
