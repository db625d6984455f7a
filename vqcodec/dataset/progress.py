"""How far a job is: pictures done of planned, pictures a second, what is left, where time goes, what fails."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from vqcodec.dataset.shard import STAGES


@dataclass
class Progress:
    """Of one run. planned: pictures that this run has to do; done, failed: of these."""

    planned: int
    done: int = 0
    failed: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    started: float = field(default_factory=time.monotonic)

    def add(self, done: int, failed: int, stage: str, seconds: float) -> None:
        """What a worker tells."""
        self.done += done
        self.failed += failed
        self.seconds[stage] += seconds

    @property
    def per_second(self) -> float:
        """Pictures a second so far."""
        return self.done / max(1e-9, time.monotonic() - self.started)

    def values(self) -> dict[str, Any]:
        """As JSON takes it; shares are of the workers' time."""
        total = sum(self.seconds.values()) or 1.0
        rate = self.per_second
        return {
            "done": self.done,
            "planned": self.planned,
            "failed": self.failed,
            "pictures_per_second": round(rate, 2),
            "seconds_left": round((self.planned - self.done) / rate) if rate else None,
            "shares": {stage: round(spent / total, 3) for stage, spent in self.seconds.items()},
            "failures": dict(sorted(self.kinds.items())),
        }

    def line(self) -> str:
        """For people."""
        values = self.values()
        shares = ", ".join(f"{stage} {share:.0%}" for stage, share in values["shares"].items())
        failures = ", ".join(f"{count} {kind}" for kind, count in values["failures"].items())
        left = values["seconds_left"]
        return (
            f"{self.done:,} of {self.planned:,} pictures, {self.per_second:.1f}/s"
            f"{f', {_time(left)} left' if left else ''} ({shares})"
            f"{f'; {self.failed:,} failed' if self.failed else ''}{f' ({failures})' if failures else ''}"
        )


def _time(seconds: int) -> str:
    if seconds >= 3600:
        return f"{seconds // 3600} h {seconds % 3600 // 60} min"
    return f"{seconds // 60} min {seconds % 60} s" if seconds >= 60 else f"{seconds} s"
