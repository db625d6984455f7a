"""What can be wrong with a model on disk."""

from __future__ import annotations


class ModelError(ValueError):
    """A model folder is missing or not what it should be."""
