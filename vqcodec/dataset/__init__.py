"""Datasets of pictures become datasets of tokens: exact, resumable, on one machine or many. See docs/datasets.md.

A plan is made once; then every shard is a pure function of the plan and its number. Names are loaded on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vqcodec.dataset.batches import TokenizeBatch
    from vqcodec.dataset.errors import DatasetError, PlanMismatch, StorageError
    from vqcodec.dataset.local import tokenize
    from vqcodec.dataset.on_ray import tokenize_on_ray
    from vqcodec.dataset.plan import TokenPlan
    from vqcodec.dataset.reader import TokenDataset
    from vqcodec.dataset.shard import ShardResult, tokenize_shard
    from vqcodec.dataset.spec import TokenSpec

_HOMES = {
    "DatasetError": "errors",
    "PlanMismatch": "errors",
    "ShardResult": "shard",
    "StorageError": "errors",
    "TokenDataset": "reader",
    "TokenPlan": "plan",
    "TokenSpec": "spec",
    "TokenizeBatch": "batches",
    "tokenize": "local",
    "tokenize_on_ray": "on_ray",
    "tokenize_shard": "shard",
}

__all__ = [
    "DatasetError",
    "PlanMismatch",
    "ShardResult",
    "StorageError",
    "TokenDataset",
    "TokenPlan",
    "TokenSpec",
    "TokenizeBatch",
    "tokenize",
    "tokenize_on_ray",
    "tokenize_shard",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'vqcodec.dataset' has no attribute {name!r}")
    return getattr(import_module(f"vqcodec.dataset.{_HOMES[name]}"), name)
