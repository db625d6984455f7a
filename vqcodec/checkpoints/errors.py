"""What can be wrong with a checkpoint of another project."""

from __future__ import annotations


class ForeignCheckpointError(ValueError):
    """A file is no checkpoint that can be read, asks for something to be run, or is of a family that is not known."""
