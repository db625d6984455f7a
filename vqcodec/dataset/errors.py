"""What can be wrong with a dataset of tokens, its sources and the storage that they lie on."""

from __future__ import annotations


class DatasetError(ValueError):
    """Sources, options or a folder of tokens that cannot be used. One line, which names the file and the remedy."""


class PlanMismatch(DatasetError):
    """The folder holds a dataset that was planned otherwise; the message says in what."""


class StorageError(DatasetError):
    """What was to be read or written cannot be now. It says nothing about a picture: the shard stays to do."""


class PackagesError(DatasetError):
    """A package of one of the extras is missing."""
