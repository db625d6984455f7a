"""Every limit of the format. A size is checked against its limit before anything of that size is allocated.

The limits bound what a hostile stream can cost: at most `MAX_TOKENS` tokens are decoded (about a second and 200 MB
with a table entropy model), whatever the header says. The number of payload bytes bounds nothing, since a run of
probable tokens may cost no byte at all.
"""

from __future__ import annotations

from typing import Final

MAX_SIDE_PIXELS: Final = 2**20
"""Largest width or height of a picture, in pixels."""

MAX_PIXELS: Final = 2**30
"""Largest width times height, in pixels. Readers may ask for less (`max_pixels`)."""

MAX_LEVELS: Final = 16
"""Most levels in a stream: the header has four bits for it."""

MAX_CODEBOOK_SIZE: Final = 2**18
"""Largest codebook size K, so that a table of frequencies stays far below the fixed total of 2**24."""

MAX_TOKENS: Final = 2**24
"""Most tokens of all levels together: four levels at f = 8 for a picture of 16384 x 16384."""

MAX_ENTROPY_ID: Final = 15
"""Largest entropy model id: the header has four bits for it."""

MAX_STREAM_BYTES: Final = 2**30
"""Largest stream, in bytes."""

MAX_BOX_SECTION_BYTES: Final = 2**28
"""Largest box section as stored, in bytes, all boxes together."""

MAX_METADATA_BYTES: Final = 2**24
"""Largest ICC, EXIF or XMP payload after decompression, in bytes, each."""

MAX_VARINT_BYTES: Final = 5
"""Longest varint, in bytes. Its value is below 2**32."""

MAX_PAYLOAD_BYTES_PER_TOKEN: Final = 4
"""A token costs at most 24 bits and a rounding loss below 0.01 bit: N tokens need at most 4 N + 8 bytes."""

PAYLOAD_SLACK_BYTES: Final = 8
"""The constant part of the bound above, in bytes."""
