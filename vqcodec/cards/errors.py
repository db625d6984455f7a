"""What can be wrong with a model on disk."""

from __future__ import annotations


class ModelError(ValueError):
    """A model folder is missing or not what it should be.

    Examples:
        >>> from vqcodec import find_model
        >>> try:
        ...     find_model("no-such-model")
        ... except ModelError as error:
        ...     print(str(error).split(":")[0])
        no-such-model
    """
