"""Checkpoints: written whole or not at all, the newest few kept, read without unpickling code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from vqcodec.whole_files import delete_left_overs, replacing

_NAME = re.compile(r"checkpoint-(\d{8})\.pt")
#: checkpoints that a run leaves, unless told otherwise
DEFAULT_KEEP = 2


class CheckpointError(ValueError):
    """A checkpoint is missing or cannot be read."""


def save_checkpoint(folder: Path, step: int, state: dict[str, Any], *, keep: int = DEFAULT_KEEP) -> Path:
    """Write folder/checkpoint-STEP.pt, whole or not at all, and delete all but the `keep` newest.

    keep = 0 deletes none. Returns the path. Raises ValueError for a negative `keep`, OSError when it cannot be written.
    """
    if keep < 0:
        raise ValueError(f"keep {keep} checkpoints: take 0 for all, or the number of the newest to keep")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"checkpoint-{step:08d}.pt"
    delete_left_overs(folder, "checkpoint-")
    with replacing(path, durable=True) as temporary, temporary.open("wb") as file:
        torch.save({**state, "step": step}, file)
    if keep:
        for old in checkpoints(folder)[:-keep]:
            old.unlink()
    return path


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a folder, oldest first."""
    return sorted(path for path in folder.glob("checkpoint-*.pt") if _NAME.fullmatch(path.name))


def newest_checkpoint(folder: Path) -> Path:
    """Raises CheckpointError when there is none."""
    found = checkpoints(folder)
    if not found:
        raise CheckpointError(f"{folder}: no checkpoint there to resume from; leave --resume out to start anew")
    return found[-1]


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU. Raises CheckpointError."""
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such checkpoint") from error
    except Exception as error:  # torch raises nearly everything on damaged files
        raise CheckpointError(f"{path}: not a readable checkpoint: it is damaged or something else") from error
    if not isinstance(state, dict) or "step" not in state:
        raise CheckpointError(f"{path}: not a checkpoint of vqcodec")
    return state
