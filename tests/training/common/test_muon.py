"""Muon: what orthogonalising gives, what a step is, and that it learns."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vqcodec.training.common.muon import Muon, orthogonalised


def matrix(rows: int, cols: int, seed: int, smallest: float = 0.1) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A matrix, and its singular vectors and values, which lie in smallest..1: (m, n), (m, r), (r,), (r, n)."""
    generator = torch.Generator().manual_seed(seed)
    left, _, right = torch.linalg.svd(torch.randn(rows, cols, generator=generator), full_matrices=False)
    values = smallest + (1 - smallest) * torch.rand(min(rows, cols), generator=generator)
    return left * values @ right, left, values, right


def iterated(value: np.ndarray) -> np.ndarray:
    """What five steps of the iteration make of a singular value."""
    for _ in range(5):
        value = 3.4445 * value - 4.7750 * value**3 + 2.0315 * value**5
    return value


shapes = st.integers(1, 24)


@settings(max_examples=40, deadline=None)
@given(rows=shapes, cols=shapes, scale=st.sampled_from([1e-2, 1.0, 1e6]), seed=st.integers(0, 999))
def test_singular_values_become_about_one_and_singular_vectors_stay(
    rows: int, cols: int, scale: float, seed: int
) -> None:
    given_matrix, left, values, right = matrix(rows, cols, seed)
    made = orthogonalised(scale * given_matrix)
    assert made.shape == (rows, cols)
    assert made.dtype == torch.float32
    inner = (left.T @ made @ right.T).numpy()
    found = np.diag(inner)
    assert (found > 0.65).all()
    assert (found < 1.25).all()
    assert np.abs(inner - np.diag(found)).max() < 2e-3
    assert np.abs(made.numpy() - (left @ torch.from_numpy(inner) @ right).numpy()).max() < 2e-3
    expected = iterated((values / values.norm()).double().numpy())
    assert found == pytest.approx(expected, abs=5e-3)


@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (4, 4), (1, 6), (6, 1)])
def test_without_a_gradient_there_is_no_direction(shape: tuple[int, int]) -> None:
    assert torch.equal(orthogonalised(torch.zeros(shape)), torch.zeros(shape))


def test_a_direction_that_is_not_there_is_not_made_up() -> None:
    column, row = torch.tensor([[3.0], [0.0], [4.0]]) / 5, torch.tensor([[0.6, 0.8]])
    made = orthogonalised(7 * column @ row)
    assert torch.linalg.matrix_rank(made, atol=1e-4) == 1
    torch.testing.assert_close(made / made.norm(), column @ row)


def test_the_type_stays() -> None:
    assert orthogonalised(matrix(4, 6, 0)[0].double()).dtype == torch.float64


def stepped(weight: Tensor, gradients: list[Tensor], **settings: float) -> Tensor:
    """A parameter after one step a gradient."""
    given_settings = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.0} | settings
    parameter = torch.nn.Parameter(weight.clone())
    optimizer = Muon([parameter], given_settings.pop("lr"), **given_settings)
    for gradient in gradients:
        parameter.grad = gradient.clone()
        optimizer.step()
    return parameter.detach()


def test_kernels_of_convolutions_are_taken_flat() -> None:
    generator = torch.Generator().manual_seed(1)
    weight, *gradients = (torch.randn(6, 4, 3, 3, generator=generator) for _ in range(4))
    made = stepped(weight, gradients, weight_decay=0.1)
    flat = stepped(weight.flatten(1), [gradient.flatten(1) for gradient in gradients], weight_decay=0.1)
    assert torch.equal(made.flatten(1), flat)
    last_order = weight.to(memory_format=torch.channels_last)
    torch.testing.assert_close(stepped(last_order, gradients, weight_decay=0.1), made)


@pytest.mark.parametrize("shape", [(16, 16), (8, 40), (40, 8), (12, 3, 3, 3), (6, 1)])
def test_a_step_has_the_size_that_it_has_with_adamw(shape: tuple[int, ...]) -> None:
    """0.2 times the learning rate, whatever the shape and the size of the gradient; within the iteration's error."""
    rows, cols = shape[0], int(np.prod(shape[1:]))
    for scale in (1e-3, 1.0, 1e3):
        gradient = scale * matrix(rows, cols, 3)[0].view(shape)
        step = stepped(torch.zeros(shape), [gradient], lr=0.5)
        assert 0.65 < float(step.square().mean().sqrt()) / (0.5 * 0.2) < 1.25
        assert float((step * gradient).sum()) < 0


def test_momentum_is_a_moving_average_that_looks_one_step_ahead() -> None:
    generator = torch.Generator().manual_seed(2)
    weight, *gradients = (torch.randn(3, 5, generator=generator) for _ in range(5))
    average, expected = torch.zeros(3, 5), weight.clone()
    for gradient in gradients:
        average = 0.9 * average + 0.1 * gradient
        direction = orthogonalised(0.9 * average + 0.1 * gradient)
        expected = expected * (1 - 0.1 * 0.5) - 0.1 * 0.2 * 5**0.5 * direction
    torch.testing.assert_close(stepped(weight, gradients, weight_decay=0.5), expected)
    without = weight - 0.1 * 0.2 * 5**0.5 * orthogonalised(gradients[0])
    torch.testing.assert_close(stepped(weight, gradients[:1], momentum=0.0), without)


def test_weight_decay_shrinks_what_gets_no_gradient_of_its_own() -> None:
    weight = torch.full((2, 3), 4.0)
    assert torch.equal(stepped(weight, [torch.zeros(2, 3)] * 2, weight_decay=0.5), weight * 0.95**2)
    assert torch.equal(stepped(weight, [torch.zeros(2, 3)] * 2), weight)


def test_a_parameter_without_a_gradient_stays_as_it_is() -> None:
    left, right = (torch.nn.Parameter(torch.ones(2, 2)) for _ in range(2))
    optimizer = Muon([left, right], 0.1, momentum=0.9, weight_decay=0.5)
    left.grad = torch.eye(2)
    optimizer.step()
    assert torch.equal(right, torch.ones(2, 2))
    assert not torch.equal(left, torch.ones(2, 2))
    assert list(optimizer.state) == [left]


def test_vectors_are_refused() -> None:
    with pytest.raises(ValueError, match="Muon takes parameters of two or more dimensions"):
        Muon(
            [torch.nn.Parameter(torch.ones(2, 2)), torch.nn.Parameter(torch.ones(2))],
            0.1,
            momentum=0.9,
            weight_decay=0.0,
        )


def test_its_state_is_carried_over() -> None:
    generator = torch.Generator().manual_seed(3)
    gradients = [torch.randn(3, 4, generator=generator) for _ in range(4)]
    expected = stepped(torch.ones(3, 4), gradients)
    parameter = torch.nn.Parameter(torch.ones(3, 4))
    optimizer = Muon([parameter], 0.1, momentum=0.9, weight_decay=0.0)
    for number, gradient in enumerate(gradients):
        if number == 2:
            state = optimizer.state_dict()
            optimizer = Muon([parameter], 0.1, momentum=0.9, weight_decay=0.0)
            optimizer.load_state_dict(state)
        parameter.grad = gradient.clone()
        optimizer.step()
    assert torch.equal(parameter, expected)


def test_it_solves_least_squares() -> None:
    generator = torch.Generator().manual_seed(4)
    inputs, solution = torch.randn(40, 6, generator=generator), torch.randn(6, 4, generator=generator)
    weight = torch.nn.Parameter(torch.zeros(4, 6))
    optimizer = Muon([weight], 0.0, momentum=0.9, weight_decay=0.0)
    losses = []
    for step in range(150):
        optimizer.param_groups[0]["lr"] = 0.5 * (1 - step / 150)
        loss = (inputs @ weight.T - inputs @ solution).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 1e-3 * losses[0]
    torch.testing.assert_close(weight.detach(), solution.T, rtol=0, atol=0.05)
