"""Layers and levels of the core against torch, and what it refuses."""

from __future__ import annotations

import native_program
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from native_builds import installed
from native_program import (
    ADDED,
    CONVOLVE1,
    CONVOLVE3,
    DIFFERENCE,
    GATHER,
    JOIN,
    LAPPED,
    LEVELS,
    LIFTED,
    NORMALISED,
    PATCHES,
    SILU,
    SPREAD,
    SUM,
    ZEROS,
    Program,
    Step,
)
from torch import Tensor

from vqcodec.models.hierarchical import LappedPatches
from vqcodec.models.layers import ChannelNorm
from vqcodec.native.library import Library


@pytest.fixture(scope="module")
def core() -> Library:
    return installed()


def run(core: Library, step: Step, weights: dict[str, np.ndarray], *given: Tensor, threads: int = 1) -> Tensor:
    """What a layer makes of its registers, (C, h, w) each, 0 the first one."""
    program = Program(core)
    registers = {
        number: (*x.shape[1:], len(x), program.grid(x.permute(1, 2, 0).numpy(), f"register {number}")[1])
        for number, x in enumerate(given)
    }
    program.network([step], [weights], registers, threads)
    program.run(core)
    _, values = program.outputs[f"register {step.to}"]
    rows, cols = expected_size(step, given)
    made = values.reshape(rows * cols, -1)
    assert not made[:, step.outputs :].any(), "channels that do not exist"
    return torch.from_numpy(made[:, : step.outputs]).reshape(rows, cols, -1).permute(2, 0, 1)


def expected_size(step: Step, given: tuple[Tensor, ...]) -> tuple[int, int]:
    rows, cols = given[0].shape[1:]
    if step.kind in (SUM, DIFFERENCE, JOIN):
        return min(rows, given[1].shape[1]), min(cols, given[1].shape[2])
    if step.kind in (PATCHES, GATHER):
        return rows // step.factor, cols // step.factor
    return rows * step.factor, cols * step.factor


def reference(step: Step, weights: dict[str, Tensor], x: Tensor, *others: Tensor) -> Tensor:
    """The same with torch, in double precision."""
    second = others[step.second - 1] if step.second else x
    if step.flags & NORMALISED:
        norm = ChannelNorm(step.inputs).double()
        norm.load_state_dict({"weight": weights["gain"], "bias": weights["shift"]})
        x = norm(x[None])[0]
    rows, cols = min(x.shape[1], second.shape[1]), min(x.shape[2], second.shape[2])
    x_part, second_part = x[:, :rows, :cols], second[:, :rows, :cols]
    if step.kind == CONVOLVE3:
        around = F.pad(x[None], (1, 1, 1, 1), mode="constant" if step.flags & ZEROS else "replicate")
        y = F.conv2d(around, weights["weight"], weights["bias"])[0]
    elif step.kind == CONVOLVE1:
        y = F.pixel_shuffle(F.conv2d(x[None], weights["weight"], weights["bias"]), step.factor)[0]
    elif step.kind == PATCHES:
        y = F.conv2d(x[None], weights["weight"], weights["bias"], stride=step.factor)[0]
    elif step.kind == LAPPED:
        lapped = LappedPatches(step.inputs, step.factor, step.lap).double()
        lapped.load_state_dict(weights)
        y = lapped(x[None])[0]
    elif step.kind == GATHER:
        y = F.pixel_unshuffle(x[None], step.factor)[0]
    elif step.kind == SPREAD:
        y = F.pixel_shuffle(x[None], step.factor)[0]
    elif step.kind == JOIN:
        y = torch.cat([x_part, second_part])
    else:
        y = x_part + second_part if step.kind == SUM else x_part - second_part
    y = y + second if step.flags & ADDED else y
    return F.silu(y) if step.flags & SILU else y


#: of layers, and (C, h, w) of the registers that they read
CASES = {
    "3 x 3": (Step(CONVOLVE3, 0, 5, 5, 17), (5, 7, 9)),
    "3 x 3, many": (Step(CONVOLVE3, 0, 5, 130, 65, flags=SILU), (130, 21, 40)),
    "3 x 3, one row": (Step(CONVOLVE3, 0, 5, 16, 16), (16, 1, 5)),
    "3 x 3, one position": (Step(CONVOLVE3, 0, 5, 16, 16), (16, 1, 1)),
    "3 x 3, one position, zeros": (Step(CONVOLVE3, 0, 5, 16, 16, flags=ZEROS), (16, 1, 1)),
    "3 x 3, zeros": (Step(CONVOLVE3, 0, 5, 24, 40, flags=ZEROS | SILU), (24, 8, 6)),
    "3 x 3, most inputs with zeros": (Step(CONVOLVE3, 0, 5, 1024, 5, flags=ZEROS), (1024, 3, 2)),
    "3 x 3, normalised": (Step(CONVOLVE3, 0, 5, 33, 20, flags=NORMALISED | SILU), (33, 9, 14)),
    "3 x 3, everything": (
        Step(CONVOLVE3, 0, 5, 20, 20, second=1, flags=NORMALISED | SILU | ADDED | ZEROS),
        (20, 9, 13),
        (20, 9, 13),
    ),
    "3 x 3, added in place": (Step(CONVOLVE3, 0, 1, 20, 24, second=1, flags=ADDED), (20, 5, 7), (24, 5, 7)),
    "1 x 1": (Step(CONVOLVE1, 0, 5, 19, 34), (19, 6, 11)),
    "1 x 1, larger": (Step(CONVOLVE1, 0, 5, 19, 34, second=1, factor=2, flags=SILU | ADDED), (19, 6, 11), (34, 12, 22)),
    "1 x 1, four times larger": (Step(CONVOLVE1, 0, 5, 32, 6, factor=4), (32, 3, 5)),
    "patches": (Step(PATCHES, 0, 5, 3, 24, factor=4), (3, 20, 28)),
    "patches, padded": (Step(PATCHES, 0, 5, 7, 21, second=1, factor=2, flags=SILU | ADDED), (7, 10, 30), (21, 5, 15)),
    "gather": (Step(GATHER, 0, 5, 3, 48, factor=4), (3, 12, 20)),
    "gather, padded": (Step(GATHER, 0, 5, 5, 20, factor=2), (5, 6, 10)),
    "spread": (Step(SPREAD, 0, 5, 48, 3, factor=4), (48, 5, 3)),
    "spread, added": (Step(SPREAD, 0, 5, 48, 3, second=1, factor=4, flags=ADDED), (48, 5, 3), (3, 20, 12)),
    "spread, many": (Step(SPREAD, 0, 5, 24, 6, factor=2), (24, 5, 3)),
    "lapped": (Step(LAPPED, 0, 5, 24, 3, factor=4, lap=2), (24, 5, 7)),
    "lapped, a row of many": (Step(LAPPED, 0, 5, 1, 3, factor=8, lap=8), (1, 1, 120)),
    "lapped, one position": (Step(LAPPED, 0, 5, 17, 3, factor=4, lap=2), (17, 1, 1)),
    "lapped, side by side": (Step(LAPPED, 0, 5, 9, 3, factor=2, lap=0), (9, 3, 4)),
    "lapped by all of a patch": (Step(LAPPED, 0, 5, 17, 3, factor=4, lap=4), (17, 1, 6)),
    "join": (Step(JOIN, 0, 5, 9, 16, second=1), (9, 5, 7), (7, 5, 7)),
    "join, padded": (Step(JOIN, 0, 5, 12, 17, second=1), (12, 5, 7), (5, 6, 4)),
    "join, few": (Step(JOIN, 0, 5, 3, 4, second=1), (3, 5, 7), (1, 5, 7)),
    "sum": (Step(SUM, 0, 5, 3, 3, second=1), (3, 7, 6), (3, 5, 9)),
    "sum, in place": (Step(SUM, 0, 0, 20, 20, second=1), (20, 5, 6), (20, 6, 9)),
    "difference": (Step(DIFFERENCE, 0, 5, 18, 18, second=1), (18, 7, 6), (18, 8, 5)),
}


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("name", CASES)
def test_a_layer_computes_what_torch_does(core: Library, name: str, threads: int) -> None:
    step, *shapes = CASES[name]
    random = np.random.default_rng(3)
    weights = step.random_weights(random)
    given = [torch.from_numpy(random.normal(0.2, 1, shape).astype(np.float32)) for shape in shapes]
    doubles = {key: torch.from_numpy(value).double() for key, value in weights.items()}
    with torch.no_grad():
        expected = reference(step, doubles, *(x.double() for x in given))
    made = run(core, step, weights, *given, threads=threads)
    assert made.shape == expected.shape
    assert (made - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_normalisation_of_what_has_no_variance(core: Library) -> None:
    step = Step(CONVOLVE3, 0, 5, 20, 16, flags=NORMALISED)
    weights = step.random_weights(np.random.default_rng(3))
    x = torch.full((20, 4, 5), 3.0)
    doubles = {key: torch.from_numpy(value).double() for key, value in weights.items()}
    with torch.no_grad():
        assert torch.allclose(run(core, step, weights, x).double(), reference(step, doubles, x.double()), atol=1e-5)


def test_silu_of_large_numbers(core: Library) -> None:
    step = Step(CONVOLVE1, 0, 5, 16, 16, flags=SILU)
    weights = {"weight": np.eye(16, dtype=np.float32).reshape(16, 16, 1, 1), "bias": np.zeros(16, np.float32)}
    x = torch.tensor([0, 1e-30, -1e-30, 1e-3, -1e-3, 1, -1, 10, -10, 80, -80, 87, -90, 1e4, -1e4, 1e30])
    made = run(core, step, weights, x[:, None, None]).flatten()
    assert torch.allclose(made, F.silu(x), rtol=1e-6, atol=1e-33)


@pytest.mark.parametrize("threads", [1, 3])
def test_the_smallest_numbers_stay_even_where_the_process_drops_them(core: Library, threads: int) -> None:
    step = Step(CONVOLVE1, 0, 5, 16, 16)
    weights = {"weight": np.eye(16, dtype=np.float32).reshape(16, 16, 1, 1), "bias": np.zeros(16, np.float32)}
    x = torch.full((16, 20, 20), 1e-40)
    before = run(core, step, weights, x).numpy().tobytes()
    torch.set_flush_denormal(True)
    try:
        after = run(core, step, weights, x, threads=threads).numpy().tobytes()
    finally:
        torch.set_flush_denormal(False)
    assert before == after == x.numpy().tobytes()


@pytest.mark.parametrize(
    ("step", "shapes"),
    [
        pytest.param(Step(CONVOLVE3, 0, 0, 16, 16), [(16, 4, 4)], id="3 x 3 in place"),
        pytest.param(Step(CONVOLVE1, 0, 0, 32, 32), [(32, 4, 4)], id="1 x 1 in place"),
        pytest.param(Step(CONVOLVE1, 0, 5, 3, 16), [(3, 4, 4)], id="1 x 1 of pixels"),
        pytest.param(Step(CONVOLVE1, 0, 5, 16, 16, factor=0), [(16, 4, 4)], id="no factor"),
        pytest.param(Step(CONVOLVE1, 0, 5, 16, 16, flags=NORMALISED), [(16, 4, 4)], id="1 x 1, normalised"),
        pytest.param(Step(CONVOLVE3, 0, 5, 1025, 16, flags=ZEROS), [(1025, 4, 4)], id="too many inputs for zeros"),
        pytest.param(Step(CONVOLVE3, 0, 5, 17, 16), [(16, 4, 4)], id="other inputs"),
        pytest.param(Step(CONVOLVE3, 1, 5, 16, 16), [(16, 4, 4)], id="a register that is not there"),
        pytest.param(Step(CONVOLVE3, 0, 16, 16, 16), [(16, 4, 4)], id="a register beyond the last"),
        pytest.param(Step(CONVOLVE3, 0, -1, 16, 16), [(16, 4, 4)], id="a register before the first"),
        pytest.param(Step(CONVOLVE3, 0, 5, 16, 16, second=1, flags=ADDED), [(16, 4, 4), (16, 4, 5)], id="other size"),
        pytest.param(Step(PATCHES, 0, 5, 3, 16, factor=2), [(3, 4, 5)], id="no whole patches"),
        pytest.param(Step(GATHER, 0, 5, 3, 16, factor=2), [(3, 4, 4)], id="gather, other outputs"),
        pytest.param(Step(SPREAD, 0, 5, 12, 4, factor=2), [(12, 4, 4)], id="spread, other outputs"),
        pytest.param(Step(SPREAD, 0, 5, 12, 3, factor=2, flags=SILU), [(12, 4, 4)], id="spread, SiLU"),
        pytest.param(Step(LAPPED, 0, 5, 16, 4, factor=2), [(16, 4, 4)], id="lapped, other outputs"),
        pytest.param(Step(LAPPED, 0, 5, 16, 3, factor=2, lap=3), [(16, 4, 4)], id="lapped too far"),
        pytest.param(Step(JOIN, 0, 5, 16, 16, second=1), [(16, 4, 4), (5, 4, 4)], id="join, other outputs"),
        pytest.param(Step(JOIN, 0, 1, 16, 21, second=1), [(16, 4, 4), (5, 4, 4)], id="join in place"),
        pytest.param(Step(SUM, 0, 5, 16, 16, second=1), [(16, 4, 4), (5, 4, 4)], id="sum, other inputs"),
        pytest.param(Step(SUM, 0, 0, 16, 16, second=1), [(16, 4, 4), (16, 3, 4)], id="sum in place, other size"),
        pytest.param(Step(11, 0, 5, 16, 16), [(16, 4, 4)], id="no such layer"),
    ],
)
def test_a_layer_that_cannot_be_is_refused(core: Library, step: Step, shapes: list[tuple[int, int, int]]) -> None:
    given = [torch.zeros(shape) for shape in shapes]
    with pytest.raises(AssertionError, match="do not fit"):
        run(core, step, step.random_weights(np.random.default_rng(3)), *given)


@pytest.mark.parametrize("name", LEVELS)
def test_levels_take_the_nearest_code(core: Library, name: str) -> None:
    program, random = Program(core), np.random.default_rng(7)
    latents = random.normal(size=(9, 10, 33)).astype(np.float32)
    level, parts = native_program.random_level(program, random, *LEVELS[name])
    grid, _ = program.grid(latents)
    count, _, lookup = LEVELS[name]
    tokens = program.place(np.zeros((9, 10), np.int32), "tokens")
    distances = program.place(np.zeros((9, 10, count), np.float32), "distances")
    program.call("vq_distances", level, grid, distances, 2)
    program.call("vq_tokens", level, grid, tokens, 2)
    program.run(core)
    vectors = latents.astype(float) @ parts["project"].T + parts["bias"]
    if lookup == LIFTED:
        lifted = (vectors - parts["mean"]) * native_program.INVERSE_DEVIATION
        vectors = np.concatenate([lifted, np.full((9, 10, 1), native_program.LIFT)], axis=-1)
    if lookup:
        vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    expected = ((vectors[..., None, :] - parts["codes"]) ** 2).sum(-1)
    assert np.allclose(program.outputs["distances"][1], expected, rtol=1e-4, atol=1e-5)
    assert (program.outputs["tokens"][1] == expected.argmin(-1)).all()
