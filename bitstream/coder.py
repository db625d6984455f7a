"""The range coder: tokens of one level <-> payload bytes, driven by an entropy model.

There is one loop over the tokens, `_code_level`, for both directions: the writer's coder returns the tokens that it
was given, the reader's returns the tokens that it read. Encoding and decoding are the same text and cannot drift. A
third coder chooses the tokens by what they take. An entropy model that codes whole levels by itself is asked to
instead; it must give the same payloads.

The arithmetic is constriction's default range coder (32-bit words, 64-bit state, 24-bit precision). It takes float32
and quantises: value i gets 1 + p[i] * (2**24 - K) / sum(p). Fed p = frequency - 1, the factor is exactly 1 and every
partial sum is an integer below 2**24, so it codes with exactly our frequencies; a test checks that for every value.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final, Protocol, TypeAlias

import constriction
import numpy as np
import numpy.typing as npt

from vqcodec.bitstream.entropy_models import CodedTokens, CodingContext, EntropyModel, WholeLevels, whole_levels_of
from vqcodec.bitstream.errors import CorruptStreamError, RangeCoderError
from vqcodec.bitstream.frequencies import FREQUENCY_BITS, IntegerArray, check_frequencies
from vqcodec.bitstream.limits import MAX_PAYLOAD_BYTES_PER_TOKEN, PAYLOAD_SLACK_BYTES
from vqcodec.bitstream.tokens import TokenGrid

_WORD_BYTES: Final = 4
_STATE_BITS: Final = 64
_DAMAGED: Final = "a payload is no output of the range coder; the file is damaged"
#: bounds memory: distortions are (tokens, K)
_CHOSEN_AT_ONCE: Final = 1024


#: (n,) positions in raster order -> (n, K): the distortion of each value of the tokens there
Distortions: TypeAlias = Callable[[IntegerArray], npt.NDArray[np.floating[Any]]]


class _SymbolCoder(Protocol):
    def code(self, positions: IntegerArray, frequencies: IntegerArray) -> npt.NDArray[np.int32]:
        """The tokens (n,) at ``positions`` (n,): those given (writer), read (reader) or chosen."""


class _Encoder(ABC):
    """Codes tokens and returns them."""

    def __init__(self) -> None:
        self._coder = constriction.stream.queue.RangeEncoder()

    def code(self, positions: IntegerArray, frequencies: IntegerArray) -> npt.NDArray[np.int32]:
        tokens = self.choose(positions, frequencies)
        if frequencies.shape[1] > 1:  # a token that can have one value only costs nothing
            self._coder.encode(tokens, *_model_arguments(frequencies, len(positions)))
        return tokens

    @abstractmethod
    def choose(self, positions: IntegerArray, frequencies: IntegerArray) -> npt.NDArray[np.int32]:
        """The tokens (n,) to code at these positions (n,)."""

    def payload(self) -> bytes:
        """The shortest bytes that decode to the tokens coded so far. They never end in a zero byte."""
        word_count, (lower, span) = self._coder.pos()
        words = self._coder.get_compressed()
        if len(words) == 0:
            return b""
        # Any number in [low, low + span) decodes alike: ``word_count`` whole words, then 64 bits. The words at hand are
        # of a number within it that may have carried into the whole words; undo that carry to find ``low``.
        head = int.from_bytes(words[:word_count].astype(">u4").tobytes(), "big")
        if lower + (1 << 32) - 1 >= 1 << _STATE_BITS:
            head -= 1
        low = (head << _STATE_BITS) + lower
        for zero_bits in range(_STATE_BITS, -1, -8):
            value = -(-low >> zero_bits) << zero_bits  # the smallest multiple of 2**zero_bits that is >= low
            if value < low + span:
                break
        shortest: bytes = value.to_bytes(word_count * _WORD_BYTES + _STATE_BITS // 8, "big").rstrip(b"\0")
        return shortest


class _Decoder:
    """Reads tokens from payload bytes and returns them."""

    def __init__(self, payload: bytes | memoryview) -> None:
        padded = bytes(payload) + bytes(-len(payload) % _WORD_BYTES)
        self._coder = constriction.stream.queue.RangeDecoder(np.frombuffer(padded, dtype=">u4").astype(np.uint32))

    def code(self, positions: IntegerArray, frequencies: IntegerArray) -> npt.NDArray[np.int32]:
        if frequencies.shape[1] == 1:
            return np.zeros(len(positions), dtype=np.int32)
        model, *parameters = _model_arguments(frequencies, len(positions))
        try:
            read = self._coder.decode(model, *(parameters or [len(positions)]))
        except Exception as error:  # constriction has no error class of its own
            raise CorruptStreamError(_DAMAGED) from error
        tokens: npt.NDArray[np.int32] = np.asarray(read, dtype=np.int32)
        return tokens


class _Writer(_Encoder):
    """Codes the given tokens."""

    def __init__(self, grid: TokenGrid) -> None:
        super().__init__()
        self._tokens = grid.indices.reshape(-1)

    def choose(self, positions: IntegerArray, frequencies: IntegerArray) -> npt.NDArray[np.int32]:
        return self._tokens[positions].astype(np.int32)


class _Chooser(_Encoder):
    """Codes the tokens that are cheapest: those with the least distortion + weight * bits."""

    def __init__(self, distortions: Distortions, weight: float) -> None:
        super().__init__()
        self._distortions, self._weight = distortions, weight

    def choose(self, positions: IntegerArray, frequencies: IntegerArray) -> npt.NDArray[np.int32]:
        bits = self._weight * (FREQUENCY_BITS - np.log2(frequencies, dtype=np.float64))
        tokens = np.empty(len(positions), np.int32)
        for start in range(0, len(positions), _CHOSEN_AT_ONCE):
            part = slice(start, start + _CHOSEN_AT_ONCE)
            tokens[part] = (self._distortions(positions[part]) + bits[part if len(bits) > 1 else slice(1)]).argmin(
                axis=1
            )
        return tokens


def _model_arguments(frequencies: IntegerArray, count: int) -> list[Any]:
    """constriction's arguments for ``count`` tokens: a whole model for one shared row, else a family and its rows."""
    categorical = constriction.stream.model.Categorical
    probabilities = (frequencies - 1).astype(np.float32)
    if len(frequencies) == 1 and count > 1:
        return [categorical(probabilities[0], lazy=False, perfect=False)]
    return [categorical(perfect=False), probabilities]


#: frequencies, tokens, and their payloads by docs/format.md: each with its own frequencies, all with the first ones
_GOLDEN_FREQUENCIES: Final = np.array([[1, (1 << 24) - 4, 2, 1], [5_592_405, 5_592_405, 5_592_405, 1]] * 4)
_GOLDEN_TOKENS: Final = np.array([3, 1, 1, 0, 1, 2, 1, 3], np.int32)
_GOLDEN_PAYLOADS: Final = ("ffffff71c1aab5", "fffffeffff02fffafbfffffd")


@lru_cache(maxsize=1)
def check_range_coder() -> None:
    """Raises RangeCoderError where the constriction that is installed codes otherwise than the format says.

    A version of it that rounds in another way would write streams that nobody can read.
    """
    places, tokens = np.arange(len(_GOLDEN_TOKENS)), TokenGrid(_GOLDEN_TOKENS[None], 4)
    for frequencies, payload in zip((_GOLDEN_FREQUENCIES, _GOLDEN_FREQUENCIES[:1]), _GOLDEN_PAYLOADS, strict=True):
        writer = _Writer(tokens)
        writer.code(places, frequencies)
        try:
            is_right = np.array_equal(_Decoder(bytes.fromhex(payload)).code(places, frequencies), _GOLDEN_TOKENS)
        except CorruptStreamError:
            is_right = False
        if not is_right or writer.payload().hex() != payload:
            raise RangeCoderError(
                "the constriction that is installed does not code as the .vq format says: install version 0.4.1 or "
                "0.5.0 of it"
            )


def _code_level(
    coder: _SymbolCoder,
    model: EntropyModel,
    *,
    level: int,
    shape: tuple[int, int],
    codebook_size: int,
    coarser: tuple[TokenGrid, ...],
    given: TokenGrid | None = None,
    coded: CodedTokens | None = None,
) -> TokenGrid:
    """Code one level in either direction. Raises `ValueError` if the entropy model breaks its protocol.

    given: the tokens, to a writer. coded: where there are tokens, if not everywhere.
    """
    check_range_coder()
    known = np.full(shape, -1, dtype=np.int32) if given is None else given.indices.astype(np.int32)
    flat, is_coded = known.reshape(-1), np.zeros(known.size, dtype=bool)
    view = known.view()
    view.flags.writeable = False
    level_model = model.begin_level(CodingContext(level, shape, codebook_size, coarser, view, given is not None))
    done = 0
    for positions in level_model.groups():
        done += len(positions)
        if done > flat.size or bool(is_coded[positions].any()):
            raise ValueError(f"entropy model {model.name} codes a token of level {level} twice")
        frequencies = level_model.frequencies(positions)
        check_frequencies(frequencies, codebook_size)
        if len(frequencies) not in (1, len(positions)):
            raise ValueError(f"entropy model {model.name} gives {len(frequencies)} rows for {len(positions)} tokens")
        is_coded[positions] = True
        if coded is not None:
            flat[positions] = coded.filler
            here = coded.mask.reshape(-1)[positions]
            positions, frequencies = positions[here], frequencies[here] if len(frequencies) > 1 else frequencies
        if len(positions):
            flat[positions] = coder.code(positions, frequencies)
    if done != flat.size or not is_coded.all():
        raise ValueError(f"entropy model {model.name} does not code every token of level {level} exactly once")
    return TokenGrid(known, codebook_size)


def encode_level(
    grid: TokenGrid,
    model: EntropyModel,
    *,
    level: int,
    coarser: tuple[TokenGrid, ...],
    coded: CodedTokens | None = None,
) -> bytes:
    """The payload of one level: at most 4 bytes above the ideal code length for up to 100,000 tokens.

    ``coarser`` holds the levels before this one. ``coded``: where it has tokens, if not everywhere. Raises `ValueError`
    if the entropy model breaks its protocol.
    """
    whole = whole_levels_of(model, [each.shape for each in (*coarser, grid)], [*_sizes(coarser), grid.codebook_size])
    if whole is not None and level == len(coarser):
        return whole.encode((*coarser, grid), level, coded)[0]
    coder = _Writer(grid)
    _code_level(
        coder,
        model,
        level=level,
        shape=grid.shape,
        codebook_size=grid.codebook_size,
        coarser=coarser,
        given=grid,
        coded=coded,
    )
    return coder.payload()


def encode_levels(levels: tuple[TokenGrid, ...], model: EntropyModel, coded: CodedTokens | None = None) -> list[bytes]:
    """The payload of each level of a picture, as `encode_level` gives it. ``coded``: of the last one."""
    whole = whole_levels_of(model, [grid.shape for grid in levels], _sizes(levels))
    if whole is not None:
        return list(whole.encode(levels, 0, coded))
    last = len(levels) - 1
    return [
        encode_level(grid, model, level=level, coarser=levels[:level], coded=coded if level == last else None)
        for level, grid in enumerate(levels)
    ]


def _sizes(levels: Sequence[TokenGrid]) -> list[int]:
    return [grid.codebook_size for grid in levels]


def choose_level(
    distortions: Distortions,
    model: EntropyModel,
    *,
    weight: float,
    level: int,
    shape: tuple[int, int],
    codebook_size: int,
    coarser: tuple[TokenGrid, ...],
) -> tuple[TokenGrid, bytes]:
    """The tokens of one level with the least distortion + weight * bits, and their payload.

    Greedy: in the order of coding, each group knowing what was chosen before, and not what its choice does to those
    after it. Raises `ValueError` if the entropy model breaks its protocol.
    """
    coder = _Chooser(distortions, weight)
    grid = _code_level(coder, model, level=level, shape=shape, codebook_size=codebook_size, coarser=coarser)
    return grid, coder.payload()


def decode_level(
    payload: bytes | memoryview,
    model: EntropyModel,
    *,
    level: int,
    shape: tuple[int, int],
    codebook_size: int,
    coarser: tuple[TokenGrid, ...],
    coded: CodedTokens | None = None,
) -> TokenGrid:
    """The tokens (rows, cols) of one level from its payload. ``coded``: where it has tokens, if not everywhere.

    Raises `CorruptStreamError` for a payload that no encoder writes. Most damage shows only in the checksum of the
    stream. Raises `ValueError` if the entropy model breaks its protocol.
    """
    _check_payload(payload, level, shape, codebook_size)
    whole = whole_levels_of(model, [*(grid.shape for grid in coarser), shape], [*_sizes(coarser), codebook_size])
    if whole is not None and level == len(coarser):
        return _decoded_whole(whole, [payload], coarser, [codebook_size], coded)[0]
    return _code_level(
        _Decoder(payload), model, level=level, shape=shape, codebook_size=codebook_size, coarser=coarser, coded=coded
    )


def decode_levels(
    payloads: Sequence[bytes | memoryview],
    model: EntropyModel,
    *,
    shapes: Sequence[tuple[int, int]],
    codebook_sizes: Sequence[int],
    coded: CodedTokens | None = None,
) -> tuple[TokenGrid, ...]:
    """The tokens of all levels of a picture from their payloads. ``coded``: of the last one. Raises as `decode_level`
    does."""
    whole = whole_levels_of(model, shapes, codebook_sizes)
    levels: tuple[TokenGrid, ...] = ()
    if whole is not None:
        for level, payload in enumerate(payloads):
            _check_payload(payload, level, shapes[level], codebook_sizes[level])
        return _decoded_whole(whole, payloads, levels, codebook_sizes, coded)
    for level, payload in enumerate(payloads):
        levels += (
            decode_level(
                payload,
                model,
                level=level,
                shape=shapes[level],
                codebook_size=codebook_sizes[level],
                coarser=levels,
                coded=coded if level == len(payloads) - 1 else None,
            ),
        )
    return levels


def _decoded_whole(
    whole: WholeLevels,
    payloads: Sequence[bytes | memoryview],
    coarser: tuple[TokenGrid, ...],
    codebook_sizes: Sequence[int],
    coded: CodedTokens | None,
) -> tuple[TokenGrid, ...]:
    found = whole.decode([bytes(payload) for payload in payloads], coarser, coded)
    if found is None:
        raise CorruptStreamError(_DAMAGED)
    return tuple(TokenGrid(tokens, size) for tokens, size in zip(found, codebook_sizes, strict=True))


def _check_payload(payload: bytes | memoryview, level: int, shape: tuple[int, int], codebook_size: int) -> None:
    """Raise `CorruptStreamError` for a payload that is longer than any is, or ends in a zero byte."""
    rows, cols = shape
    if codebook_size == 1 and len(payload) > 0:
        raise CorruptStreamError(f"level {level} has one code and {len(payload)} payload bytes; the file is damaged")
    if len(payload) > rows * cols * MAX_PAYLOAD_BYTES_PER_TOKEN + PAYLOAD_SLACK_BYTES:
        raise CorruptStreamError(
            f"level {level} has {len(payload)} payload bytes for {rows * cols} tokens, more than they can cost; "
            "the file is damaged"
        )
    if len(payload) > 0 and payload[-1] == 0:
        raise CorruptStreamError(f"the payload of level {level} ends in a zero byte; the file is damaged")
