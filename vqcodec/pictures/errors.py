"""What can be wrong with a picture: one line each, with a remedy."""

from __future__ import annotations

__all__ = ["ImageError", "TooManyPixelsError", "UnreadableImageError"]


class ImageError(ValueError):
    """A picture that cannot be read, converted or written. The message is one line with a remedy."""


class UnreadableImageError(ImageError):
    """The source is missing, empty, cut off, damaged or no picture at all."""


class TooManyPixelsError(ImageError):
    """The picture has more pixels than the limit in force."""
