"""The ways in which a ``.vq`` stream can be wrong, one class for each.

All of them are `StreamError`, which is a `ValueError`: a caller who only wants to know whether the bytes can be
decoded catches that one. A mistake of the caller (a negative width, a grid of the wrong shape) is a plain `ValueError`.
"""

from __future__ import annotations


class StreamError(ValueError):
    """The bytes cannot be decoded as a ``.vq`` stream. Base class; each subclass names one reason."""


class NotAStreamError(StreamError):
    """The bytes do not start with the magic of a ``.vq`` stream."""


class UnsupportedVersionError(StreamError):
    """The stream uses a format version, a box type or an entropy model that this reader does not have."""


class TruncatedStreamError(StreamError):
    """The bytes end before the stream does."""


class CorruptStreamError(StreamError):
    """The bytes contradict the format or the checksum."""


class TrailingDataError(StreamError):
    """Bytes follow the end of the stream."""


class UnknownModelError(StreamError):
    """The stream names a model that the caller does not have. Raised by the caller's look-up."""


class WrongModelError(StreamError):
    """The stream names another model than the one that it was to be decoded with."""


class RangeCoderError(RuntimeError):
    """The range coder that is installed computes something else than the format says: no stream can be coded."""


class LimitExceededError(StreamError):
    """A size in the stream, or asked of the writer, is over a limit of `vqcodec.bitstream.limits`."""
