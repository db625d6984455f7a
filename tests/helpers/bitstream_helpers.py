"""Models and streams for the tests of the bitstream."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from vqcodec.bitstream import (
    FREQUENCY_TOTAL,
    PRIOR_ID,
    STATIC_ID,
    UNIFORM_ID,
    CodingContext,
    EntropyModel,
    GridSpec,
    StaticModel,
    StreamModel,
    TokenGrid,
    TokenPyramid,
    UniformModel,
    UnknownModelError,
    quantise_frequencies,
)
from vqcodec.bitstream.frequencies import IntegerArray

MODEL_ID = bytes.fromhex("0badcafe")


class ToyPrior:
    """An autoregressive model as a learned prior will be one: wavefront groups, conditioned on all coarser levels.

    Tokens with equal 2 * row + col are coded together; the frequencies depend on the neighbours to the left and above
    and on the tokens at the same place of the coarser levels.
    """

    entropy_id = PRIOR_ID
    name = "toy"

    def begin_level(self, context: CodingContext) -> ToyLevel:
        return ToyLevel(context)


class ToyLevel:
    def __init__(self, context: CodingContext) -> None:
        self.context = context

    def groups(self) -> Iterator[npt.NDArray[np.int64]]:
        rows, cols = self.context.shape
        order = 2 * np.arange(rows)[:, None] + np.arange(cols)
        for step in range(int(order.max()) + 1):
            positions = np.flatnonzero(order == step)
            if len(positions):
                yield positions

    def frequencies(self, positions: IntegerArray) -> npt.NDArray[np.int64]:
        context = self.context
        size = context.codebook_size
        row, col = np.divmod(positions, context.shape[1])
        known = context.known
        left = np.where(col > 0, known[row, col - 1], 0)
        above = np.where(row > 0, known[row - 1, col], 0)
        assert left.min() >= 0
        assert above.min() >= 0
        hint = left * 3 + above * 5 + context.level
        for grid in context.coarser:
            at_row, at_col = row * grid.rows // context.shape[0], col * grid.cols // context.shape[1]
            hint = hint + grid.indices[at_row, at_col].astype(np.int64) * 7
        weights = 1 + (np.arange(size) * 31 + hint[:, None] * 17) % 97
        frequencies: npt.NDArray[np.int64] = 1 + weights * (FREQUENCY_TOTAL - size) // weights.sum(axis=1)[:, None]
        frequencies[:, -1] += FREQUENCY_TOTAL - frequencies.sum(axis=1)
        return frequencies


def make_model(grids: Sequence[tuple[int, int]], *, seed: int = 0, model_id: bytes = MODEL_ID) -> StreamModel:
    """A model with (f, K) grids and the uniform model, skewed static tables and the toy prior."""
    rng = np.random.default_rng(seed)
    counts = [np.floor(rng.gamma(0.3, size=size) * 1000).astype(np.int64) for _, size in grids]
    entropy_models: dict[int, EntropyModel] = {
        UNIFORM_ID: UniformModel(),
        STATIC_ID: StaticModel([quantise_frequencies(row) for row in counts]),
        PRIOR_ID: ToyPrior(),
    }
    return StreamModel(model_id, "test", tuple(GridSpec(*grid) for grid in grids), entropy_models)


def random_tokens(model: StreamModel, width: int, height: int, levels: int, *, seed: int = 0) -> TokenPyramid:
    """Tokens of the first ``levels`` levels of ``model``, all values equally likely."""
    rng = np.random.default_rng(seed)
    return TokenPyramid(
        tuple(
            TokenGrid(
                rng.integers(model.grids[level].codebook_size, size=model.grid_shape(level, width, height)),
                model.grids[level].codebook_size,
            )
            for level in range(levels)
        )
    )


def finder(*models: StreamModel) -> Callable[[bytes], StreamModel]:
    """A look-up over ``models`` as `read_stream` takes it."""

    def find(model_id: bytes) -> StreamModel:
        for model in models:
            if model.model_id == model_id:
                return model
        raise UnknownModelError(f"model {model_id.hex()} is not here")

    return find


def level_frequencies(model: EntropyModel, shape: tuple[int, int], codebook_size: int) -> npt.NDArray[np.int64]:
    """The table (K,) of a table model at level 0."""
    known = np.full(shape, -1, dtype=np.int32)
    level = model.begin_level(CodingContext(0, shape, codebook_size, (), known))
    table: npt.NDArray[np.int64] = level.frequencies(np.arange(1))[0].astype(np.int64)
    return table
