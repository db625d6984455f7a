"""The ``.vq`` format: bytes <-> token grids. Needs numpy, constriction and zstandard; loads no torch.

`write_stream` and `read_stream` are the two ends, `read_header` describes a stream without its model. docs/format.md
is the normative text.

Examples:
    A picture of 48 x 32 pixels, by a model of one level of four codes at f = 16:

    >>> from vqcodec.bitstream import UNIFORM_ID, GridSpec, StreamModel, TokenGrid, TokenPyramid, UniformModel
    >>> from vqcodec.bitstream import read_stream, write_stream
    >>> model = StreamModel(bytes(4), "toy", (GridSpec(16, 4),), {UNIFORM_ID: UniformModel()})
    >>> tokens = TokenPyramid((TokenGrid([[3, 1, 2], [0, 3, 3]], 4),))
    >>> data = write_stream(tokens, model=model, width=48, height=32, entropy_id=UNIFORM_ID)
    >>> read_stream(data, lambda model_id: model).tokens == tokens
    True
"""

from vqcodec.bitstream.boxes import Boxes, BoxType
from vqcodec.bitstream.container import (
    Stream,
    StreamInfo,
    read_boxes,
    read_header,
    read_stream,
    stream_overhead,
    write_stream,
)
from vqcodec.bitstream.entropy_models import (
    ENTROPY_IDS,
    PRIOR_ID,
    STATIC_ID,
    UNIFORM_ID,
    CodingContext,
    EntropyModel,
    LevelModel,
    StaticModel,
    UniformModel,
    entropy_name,
)
from vqcodec.bitstream.errors import (
    CorruptStreamError,
    LimitExceededError,
    NotAStreamError,
    StreamError,
    TrailingDataError,
    TruncatedStreamError,
    UnknownModelError,
    UnsupportedVersionError,
    WrongModelError,
)
from vqcodec.bitstream.frequencies import FREQUENCY_BITS, FREQUENCY_TOTAL, quantise_frequencies
from vqcodec.bitstream.header import FORMAT_VERSION, MAGIC, MODEL_ID_BYTES, Header
from vqcodec.bitstream.model import GridSpec, StreamModel, expect_model
from vqcodec.bitstream.partial import PartialLevel
from vqcodec.bitstream.tokens import TokenGrid, TokenPyramid
from vqcodec.bitstream.truncation import truncated_sizes, truncated_stream

__all__ = [
    "ENTROPY_IDS",
    "FORMAT_VERSION",
    "FREQUENCY_BITS",
    "FREQUENCY_TOTAL",
    "MAGIC",
    "MODEL_ID_BYTES",
    "PRIOR_ID",
    "STATIC_ID",
    "UNIFORM_ID",
    "BoxType",
    "Boxes",
    "CodingContext",
    "CorruptStreamError",
    "EntropyModel",
    "GridSpec",
    "Header",
    "LevelModel",
    "LimitExceededError",
    "NotAStreamError",
    "PartialLevel",
    "StaticModel",
    "Stream",
    "StreamError",
    "StreamInfo",
    "StreamModel",
    "TokenGrid",
    "TokenPyramid",
    "TrailingDataError",
    "TruncatedStreamError",
    "UniformModel",
    "UnknownModelError",
    "UnsupportedVersionError",
    "WrongModelError",
    "entropy_name",
    "expect_model",
    "quantise_frequencies",
    "read_boxes",
    "read_header",
    "read_stream",
    "stream_overhead",
    "truncated_sizes",
    "truncated_stream",
    "write_stream",
]
