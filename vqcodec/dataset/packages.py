"""The packages of the extras `dataset` and `ray`, or one line that says what to install."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from vqcodec.dataset.errors import PackagesError


def needed(name: str, extra: str) -> Any:
    """A module of a package that `vqcodec[extra]` brings. Raises PackagesError."""
    try:
        return import_module(name)
    except ImportError as error:
        raise PackagesError(
            f"datasets of tokens need {name.split('.')[0]}: pip install 'vqcodec[{extra}]' ({error})"
        ) from error


pa = needed("pyarrow", "dataset")
pq = needed("pyarrow.parquet", "dataset")
