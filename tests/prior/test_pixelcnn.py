"""The gated PixelCNN: what each prediction depends on, where it starts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from influence_helpers import influence, random_tokens, randomise
from torch import Tensor

from vqcodec.prior.pixelcnn import GatedPixelCNN

CODES = 6


@pytest.fixture(autouse=True)
def _one_seed_for_all() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        yield


def make_network(depth: int) -> GatedPixelCNN:
    """Wide enough for no prediction to lose all that it depends on in the rectifiers."""
    network = GatedPixelCNN(CODES, width=32, depth=depth, token_width=4).double()
    randomise(network, by=0.2)
    return network


def seen(rows: int, cols: int, reach: int) -> Tensor:
    """(N, N) bool: whether the token at the first position is before the second one and in reach of it."""
    row, col = torch.arange(rows * cols) // cols, torch.arange(rows * cols) % cols
    down, right = row[:, None] - row, col[:, None] - col
    is_before = (down < 0) | ((down == 0) & (right < 0))
    return is_before & (down >= -reach) & (right.abs() <= reach)


@pytest.mark.parametrize(("depth", "reach"), [(1, 3), (2, 4), (3, 5)])
def test_a_logit_depends_on_every_earlier_token_in_reach_and_on_nothing_else(depth: int, reach: int) -> None:
    network = make_network(depth)
    assert network.reach == reach
    rows, cols = 8, 9
    with torch.no_grad():
        changes = influence(network, random_tokens(rows, cols, codes=CODES), CODES)
    assert torch.equal(changes, seen(rows, cols, reach))


def test_there_is_no_blind_spot_for_the_gradient() -> None:
    network = make_network(4)
    rows, cols, reach = 9, 13, 6
    embedded: list[Tensor] = []
    network.tokens.register_forward_hook(lambda module, given, made: embedded.append(made.requires_grad_()))
    logits = network(random_tokens(1, rows, cols, codes=CODES))
    for row, col in [(8, 6), (8, 0), (7, 12), (3, 5)]:
        [gradient] = torch.autograd.grad(logits[0, row, col, 0], embedded[0], retain_graph=True)
        reached = gradient[0].abs().sum(dim=2) > 0
        assert torch.equal(reached, seen(rows, cols, reach)[:, row * cols + col].view(rows, cols))


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (6, 1), (2, 3)])
def test_any_size_goes_through(shape: tuple[int, int]) -> None:
    network = make_network(2)
    tokens = random_tokens(3, *shape, codes=CODES)
    logits = network(tokens)
    assert logits.shape == (3, *shape, CODES)
    for number in range(3):
        torch.testing.assert_close(network(tokens[number : number + 1])[0], logits[number])


def test_untrained_all_codes_are_equally_likely_and_every_weight_learns() -> None:
    network = GatedPixelCNN(CODES, width=8, depth=3, token_width=4)
    tokens = random_tokens(2, 5, 5, codes=CODES)
    assert not network(tokens).any()
    randomise(network)
    network.requires_grad_(True)
    network(tokens).square().mean().backward()
    without = {name for name, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()}
    assert without == set()


def test_untrained_features_keep_their_size_in_a_deep_stack() -> None:
    network = GatedPixelCNN(CODES, width=24, depth=12, token_width=16)
    features = network.tokens(random_tokens(4, 16, 16, codes=CODES)).permute(0, 3, 1, 2)
    vertical, horizontal = features, features
    for layer in network.layers:
        vertical, horizontal = layer(vertical, horizontal)
        assert 0.1 < vertical[:, :, 4:].std() < 1
        assert 0.1 < horizontal[:, :, 4:].std() < 1


@pytest.mark.parametrize("name", ["codebook_size", "width", "depth", "token_width"])
def test_sizes_under_one_are_refused(name: str) -> None:
    sizes = {"codebook_size": 4, "width": 4, "depth": 1, "token_width": 4, name: 0}
    with pytest.raises(ValueError, match="are 1 or more"):
        GatedPixelCNN(**sizes)
