"""The Triton kernel of `vqcodec.kernels.fused`.

A program takes ROWS vectors through all codes, TILE codes at a time. Factors are split into two bfloat16 each: three
products on the matrix units give scores that are nearly those of float32, or one, of all parts side by side, where
that is shorter. A tile's codes stand in PLACES places, those
of one place are a *group*. Per score one comparison is left, the maximum of its group; what has to be kept, the best
group of each place and the second best score, costs five instructions for each group. In the end the codes of the best
group are compared by the contract itself, in float64. Where another group comes too near for rounding to be ruled out
(`vqcodec.kernels.code_scores`), the codes of the best groups of all places are, for that vector, and where even the
second best group of a place does, all codes.

Compiled without fusing of multiplications and additions: the float64 of the contract is then that of plain torch.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from triton import Config

from vqcodec.kernels.code_scores import LARGEST_SCORE, LEAST_LENGTH
from vqcodec.kernels.dispatch import interpreted

#: codes that are compared at a time where rounding cannot be ruled out
_SETTLED = tl.constexpr(256)
_BIG = tl.constexpr(2**31 - 1)
_INFINITY_BITS = tl.constexpr(0x7F800000)
_LARGEST_SCORE = tl.constexpr(LARGEST_SCORE)  # below it scores are told from NO_CODE, too
#: the type of factors: the interpreter multiplies the bits of bfloat16, as if they were whole numbers
_FACTOR = tl.constexpr(tl.float32 if interpreted() else tl.bfloat16)
_LEAST_LENGTH = tl.constexpr(LEAST_LENGTH)


def _configs() -> list[Config]:
    """Of which the fastest is found for every kind of call, once; the interpreter takes the first."""
    choices = [(64, 128, 4, 3), (64, 256, 4, 2), (64, 256, 4, 3), (128, 128, 8, 3), (128, 256, 8, 2), (128, 256, 8, 3)]
    choices += [(256, 128, 8, 3)]  # the more rows, the fewer times are all codes read from the cache
    configs = [
        Config({"ROWS": rows, "TILE": tile, "enable_fp_fusion": False}, num_warps=warps, num_stages=stages)
        for rows, tile, warps, stages in choices
    ]
    return configs[:1] if interpreted() or not torch.cuda.is_available() else configs


@triton.jit
def _costs(
    z,
    codes,
    code_squares,
    rows,
    row_stride,
    column_stride,
    indices,
    size,
    DIMENSION: tl.constexpr,
    COSINE: tl.constexpr,
):
    """The contract's, in float64, of codes of these indices for these rows of z: both of shapes that broadcast."""
    sums = (rows + indices).to(tl.float64) * 0.0
    for dimension in range(DIMENSION):
        ours = tl.load(z + rows * row_stride + dimension * column_stride).to(tl.float64)
        theirs = tl.load(codes + indices * DIMENSION + dimension, mask=indices < size, other=0.0).to(tl.float64)
        if COSINE:
            sums += ours * theirs
        else:
            sums += (ours - theirs) * (ours - theirs)
    if COSINE:
        square = tl.load(code_squares + indices, mask=indices < size, other=0.0)
        sums = tl.where(square == 0, sums, -sums * tl.abs(sums) / tl.where(square == 0, 1.0, square))
    return tl.where((indices < size) & (tl.abs(sums) < float("inf")), sums, float("inf"))


@triton.jit
def _first_least(costs, indices):
    """The least index of those with the least cost, over all of them."""
    least = tl.min(tl.min(costs, axis=1), axis=0)
    return tl.min(tl.min(tl.where(costs == least, indices, _BIG), axis=1), axis=0)


@triton.jit
def _nearest_of_all(
    z, codes, code_squares, row, row_stride, column_stride, size, DIMENSION: tl.constexpr, COSINE: tl.constexpr
):
    """The nearest of all codes to one row, by the contract."""
    places = tl.reshape(tl.arange(0, _SETTLED), (1, _SETTLED)).to(tl.int64)
    least = tl.full((1, _SETTLED), float("inf"), tl.float64)
    found = places
    for start in range(0, size, _SETTLED):
        costs = _costs(z, codes, code_squares, row, row_stride, column_stride, start + places, size, DIMENSION, COSINE)
        found = tl.where(costs < least, start + places, found)
        least = tl.minimum(costs, least)
    return _first_least(least, found)


@triton.jit
def _slice(z, rows, row_stride, column_stride, start, count, DIMENSION: tl.constexpr, SLICE: tl.constexpr):
    """(ROWS, SLICE) of z in float32, zeros beyond its ends."""
    columns = start + tl.arange(0, SLICE)
    inside = (rows < count)[:, None]
    if DIMENSION % SLICE:
        inside = inside & (columns < DIMENSION)[None, :]
    pointers = z + rows[:, None] * row_stride + columns[None, :] * column_stride
    return tl.load(pointers, mask=inside, other=0.0).to(tl.float32)


@triton.jit
def _lift(squares, radius):
    """(ROWS,) that makes scores of vectors with these squares positive: 1 % more than they can be below zero."""
    length = tl.sqrt(squares) + _LEAST_LENGTH
    return (1.01 * (length + radius) * radius).to(tl.bfloat16).to(tl.float32)


@triton.jit
def _side_by_side(z, rows, row_stride, column_stride, count, radius, DIMENSION: tl.constexpr, WIDTH: tl.constexpr):
    """(ROWS, WIDTH) of z: its first parts, second parts, first parts again, three ones, its lift; its squares (ROWS,).

    The codes' first parts stand beside the first two, their second parts beside the third, the parts of their offsets
    beside the ones, and a one beside the lift: one product gives whole scores.
    """
    columns = tl.arange(0, WIDTH)
    is_z = (rows < count)[:, None] & (columns < 3 * DIMENSION)[None, :]
    pointers = z + rows[:, None] * row_stride + (columns % DIMENSION)[None, :] * column_stride
    values = tl.load(pointers, mask=is_z, other=0.0).to(tl.float32)
    squares = tl.sum(tl.where((columns < DIMENSION)[None, :], values * values, 0.0), axis=1)
    first = values.to(tl.bfloat16).to(tl.float32)
    parts = tl.where((columns // DIMENSION == 1)[None, :], values - first, first)
    beyond = (columns - 3 * DIMENSION)[None, :]
    parts = tl.where((beyond >= 0) & (beyond < 3), 1.0, parts)
    parts = tl.where(beyond == 3, _lift(squares, radius)[:, None], parts)
    return parts.to(tl.bfloat16), squares


@triton.jit
def _add_products(
    scores, vectors, high, low, places, start, SLICE: tl.constexpr, WIDTH: tl.constexpr, SPLIT: tl.constexpr
):
    """scores (ROWS, TILE) plus products of vectors (ROWS, SLICE) with the codes at `places`, from dimension `start`."""
    offsets = places[None, :] * WIDTH + start + tl.arange(0, SLICE)[:, None]
    theirs_high, theirs_low = tl.load(high + offsets).to(_FACTOR), tl.load(low + offsets).to(_FACTOR)
    ours_high = vectors.to(tl.bfloat16)
    scores = tl.dot(ours_high.to(_FACTOR), theirs_high, scores)
    scores = tl.dot(ours_high.to(_FACTOR), theirs_low, scores)
    if SPLIT:
        ours_low = (vectors - ours_high.to(tl.float32)).to(tl.bfloat16)
        scores = tl.dot(ours_low.to(_FACTOR), theirs_high, scores)
    return scores


@triton.autotune(
    _configs(),
    key=["DIMENSION", "size_class", "LEVELS", "COSINE", "SPLIT", "LEARN"],
    reset_to_zero=["counts", "sums"],
    cache_results=True,
)
@triton.jit(do_not_specialize=["count"])
def find_codes(
    z,
    row_stride,
    column_stride,
    codes,
    code_squares,
    high,
    low,
    offsets,
    radii,
    sizes,
    indices,
    remaining,
    vectors,
    errors,
    counts,
    sums,
    in_use,
    count,
    codes_stride,
    padded,
    relative,
    squared,
    tiny,
    DIMENSION: tl.constexpr,
    SLICE: tl.constexpr,
    SLICES: tl.constexpr,
    LEVELS: tl.constexpr,
    PACKED: tl.constexpr,
    COSINE: tl.constexpr,
    SPLIT: tl.constexpr,
    RESIDUAL: tl.constexpr,
    LEARN: tl.constexpr,
    MASKED: tl.constexpr,
    size_class,
    ROWS: tl.constexpr,
    TILE: tl.constexpr,
    PLACES: tl.constexpr = 16,
):
    """indices (LEVELS, count) of the nearest of `codes` (LEVELS, codes_stride, DIMENSION) to z (count, DIMENSION)."""
    rows = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    inside = rows < count
    width: tl.constexpr = SLICES * SLICE
    for level in tl.static_range(LEVELS):
        size = tl.load(sizes + level)
        radius = tl.load(radii + level)
        level_codes, level_code_squares = codes + level * codes_stride * DIMENSION, code_squares + level * codes_stride
        level_high, level_low = high + level * padded * width, low + level * padded * width
        level_offsets = offsets + level * padded
        if PACKED:
            whole, squares = _side_by_side(z, rows, row_stride, column_stride, count, radius, DIMENSION, width)
        else:
            whole = _slice(z, rows, row_stride, column_stride, 0, count, DIMENSION, SLICE)
            squares = tl.sum(whole * whole, axis=1)
            for number in range(1, SLICES):
                part = _slice(z, rows, row_stride, column_stride, number * SLICE, count, DIMENSION, SLICE)
                squares += tl.sum(part * part, axis=1)

        # of each place: the best and the second best score, and which group the best is of; bits of positive floats
        # are whole numbers in the same order, of which a GPU compares three at a time
        lift = _lift(squares, radius)
        best = tl.zeros((ROWS, PLACES), tl.int32)
        second = best
        chosen = tl.zeros((ROWS, PLACES), tl.int32)
        for tile in range(padded // TILE):
            codes_here = tile * TILE + tl.arange(0, TILE)
            if PACKED:
                packed = tl.load(level_high + codes_here[None, :] * width + tl.arange(0, width)[:, None])
                scores = tl.dot(whole.to(_FACTOR), packed.to(_FACTOR))
            else:
                scores = lift[:, None] + tl.load(level_offsets + codes_here)[None, :]
                scores = _add_products(scores, whole, level_high, level_low, codes_here, 0, SLICE, width, SPLIT)
                for number in range(1, SLICES):
                    part = _slice(z, rows, row_stride, column_stride, number * SLICE, count, DIMENSION, SLICE)
                    scores = _add_products(
                        scores, part, level_high, level_low, codes_here, number * SLICE, SLICE, width, SPLIT
                    )
            bits = scores.to(tl.int32, bitcast=True)
            top = tl.max(tl.reshape(bits, (ROWS, TILE // PLACES, PLACES)), axis=1)
            chosen = tl.where(top > best, tile, chosen)
            second = tl.maximum(second, tl.minimum(best, top))
            best = tl.maximum(best, top)
        best = tl.minimum(best, _INFINITY_BITS).to(tl.float32, bitcast=True)  # a NaN is settled as infinity is
        second = tl.minimum(second, _INFINITY_BITS).to(tl.float32, bitcast=True)

        # the codes of the best group, by the contract
        place = tl.argmax(best, axis=1)
        is_best = tl.arange(0, PLACES)[None, :] == place[:, None]
        rival = tl.max(tl.where(is_best, second, best), axis=1)
        tile = tl.sum(tl.where(is_best, chosen, 0), axis=1)
        members = tile[:, None] * TILE + tl.arange(0, TILE // PLACES)[None, :] * PLACES + place[:, None]
        safe_rows = tl.where(inside, rows, 0)
        costs = _costs(
            z,
            level_codes,
            level_code_squares,
            safe_rows[:, None],
            row_stride,
            column_stride,
            members.to(tl.int64),
            size,
            DIMENSION,
            COSINE,
        )
        least = tl.min(costs, axis=1)
        found = tl.min(tl.where(costs == least[:, None], members, _BIG), axis=1).to(tl.int64)

        # where another group comes too near: the best groups of all places, or all codes, one vector after the other
        length = tl.sqrt(squares) + _LEAST_LENGTH
        margin = relative * (length + radius) * radius + squared * length * length + tiny * (1 + length + radius)
        limit = tl.max(best, axis=1) - margin
        is_clear = (rival < limit) & ((length + radius) * radius < _LARGEST_SCORE)
        doubtful = inside & ~is_clear
        is_deep = ~((tl.max(second, axis=1) < limit) & ((length + radius) * radius < _LARGEST_SCORE))
        left = tl.sum(doubtful.to(tl.int32), axis=0)
        while left > 0:
            row = tl.min(tl.where(doubtful, rows, count), axis=0)
            is_row = rows == row
            if tl.sum((is_row & is_deep).to(tl.int32), axis=0) > 0:
                settled = _nearest_of_all(
                    z, level_codes, level_code_squares, row, row_stride, column_stride, size, DIMENSION, COSINE
                )
            else:
                tiles = tl.sum(tl.where(is_row[:, None], chosen, 0), axis=0)
                near = tiles[None, :] * TILE + tl.reshape(tl.arange(0, TILE), (TILE // PLACES, PLACES))
                near_costs = _costs(
                    z,
                    level_codes,
                    level_code_squares,
                    row,
                    row_stride,
                    column_stride,
                    near.to(tl.int64),
                    size,
                    DIMENSION,
                    COSINE,
                )
                settled = _first_least(near_costs, near).to(tl.int64)
            found = tl.where(is_row, settled, found)
            doubtful = doubtful & ~is_row
            left -= 1
        tl.store(indices + level * count.to(tl.int64) + rows, found, mask=inside)

        if LEARN or RESIDUAL:
            counted = inside
            if MASKED:
                counted = inside & (tl.load(in_use + rows, mask=inside, other=0) != 0)
            error = tl.zeros((ROWS,), tl.float32)
            for number in range(SLICES):
                columns = number * SLICE + tl.arange(0, SLICE)
                here = inside[:, None] & (columns < DIMENSION)[None, :]
                ours = _slice(z, rows, row_stride, column_stride, number * SLICE, count, DIMENSION, SLICE)
                code = found[:, None] * DIMENSION + columns[None, :]
                theirs = tl.load(level_codes + code, mask=here, other=0.0)
                out = rows[:, None] * DIMENSION + columns[None, :]
                if RESIDUAL:
                    tl.store(remaining + out, ours - theirs, mask=here)
                if LEARN:
                    error += tl.sum((ours - theirs) * (ours - theirs), axis=1)
                    tl.store(vectors + out, theirs, mask=here)
                    tl.atomic_add(sums + code, ours, mask=here & counted[:, None])
            if LEARN:
                tl.store(errors + rows, error, mask=inside)
                tl.atomic_add(counts + found, 1.0, mask=counted)
        if RESIDUAL:
            # what is left is in memory, and other threads of the program read it at the next level
            tl.debug_barrier()
            z = remaining
            row_stride = DIMENSION
            column_stride = 1
