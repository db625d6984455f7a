"""Every kind of codebook, look-up and gradient behind the one interface."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vqcodec.models.codebooks import GradientCodebook, SimCodebook
from vqcodec.models.config import QuantizerConfig
from vqcodec.models.gumbel import GumbelQuantizer
from vqcodec.models.quantizer import ResidualQuantizer, VectorQuantizer, rotated

CHANNELS = 6


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def kinds() -> list[QuantizerConfig]:
    base = QuantizerConfig((16, 8), 4)
    made = [
        replace(base, codebook=codebook, lookup=lookup, gradient=gradient)
        for codebook, lookup, gradient in product(
            ("average", "gradient", "sim"), ("lifted", "cosine", "euclidean"), ("straight-through", "rotation")
        )
    ]
    by_product = replace(base, codebook="gradient", lookup="product")
    return [*made, replace(base, codebook="gumbel", lookup="euclidean"), by_product]


def name(config: QuantizerConfig) -> str:
    return f"{config.codebook}-{config.lookup}-{config.gradient}"


@pytest.fixture(params=kinds(), ids=name)
def quantizer(request: pytest.FixtureRequest) -> ResidualQuantizer:
    torch.manual_seed(5)
    made = ResidualQuantizer(CHANNELS, request.param)
    made.begin_learning()
    return made


def mixture(seed: int = 0, side: int = 24) -> Tensor:
    """Latents (2, C, side, side) around 16 centres."""
    centres = 2 * torch.randn(16, CHANNELS, generator=seeded(7))
    chosen = torch.randint(16, (2, side, side), generator=seeded(seed))
    noise = 0.2 * torch.randn(2, side, side, CHANNELS, generator=seeded(seed + 1))
    return (centres[chosen] + noise).permute(0, 3, 1, 2)


# ---- every kind ----


def test_evaluation_is_the_latent_of_the_tokens(quantizer: ResidualQuantizer) -> None:
    quantizer.eval()
    latent = mixture(side=5)
    tokens = quantizer.tokens(latent, 2)
    for count in (1, 2):
        result = quantizer(latent, torch.full((2,), count))
        torch.testing.assert_close(result.quantized, quantizer.latent(tokens[:count]))
        assert all(torch.equal(a, b) for a, b in zip(result.indices, tokens, strict=True))


def test_training_brings_the_quantised_latents_nearer(quantizer: ResidualQuantizer) -> None:
    """By the gradients of a reconstruction loss and of both latent losses, and whatever the codebook does itself."""
    latent, levels = mixture(side=12), torch.full((2,), 2)

    def error() -> float:
        quantizer.eval()
        with torch.no_grad():
            return float((quantizer.latent(quantizer.tokens(latent, 2)) - latent).square().mean())

    before = error()
    optimizer = torch.optim.Adam(quantizer.parameters(), lr=8e-3)
    quantizer.train()
    for _ in range(50):
        result = quantizer(latent, levels)
        loss = (result.quantized - latent).square().mean()
        if quantizer.config.codebook != "gumbel":
            loss = loss + result.codebook_loss + 0.25 * result.commitment_loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert error() < 0.7 * before


def test_the_latents_get_a_gradient_through_every_level(quantizer: ResidualQuantizer) -> None:
    latent = mixture(side=4).requires_grad_()
    quantizer.train()(latent, torch.tensor([1, 2])).quantized.square().sum().backward()
    assert latent.grad is not None
    assert (latent.grad.abs().sum(dim=(1, 2, 3)) > 0).all()


def test_a_state_survives_saving(quantizer: ResidualQuantizer) -> None:
    other = ResidualQuantizer(CHANNELS, quantizer.config)
    other.begin_learning()
    other.load_state_dict(quantizer.state_dict())
    latent = mixture(side=4)
    for a, b in zip(quantizer.eval().tokens(latent, 2), other.eval().tokens(latent, 2), strict=True):
        assert torch.equal(a, b)


# ---- losses ----


@pytest.mark.parametrize("lookup", ["cosine", "euclidean"])
@pytest.mark.parametrize("codebook", ["gradient", "sim"])
def test_the_losses_of_vq_vae(codebook: str, lookup: str) -> None:
    """Equation 3: mean |sg[z] - e|^2 moves the codes, mean |z - sg[e]|^2 what comes from the Encoder."""
    torch.manual_seed(2)
    made = ResidualQuantizer(CHANNELS, QuantizerConfig((16,), 4, codebook=codebook, lookup=lookup))
    made.begin_learning()
    latent = mixture(side=3).requires_grad_()
    result = made.train()(latent, torch.tensor([1, 1]))
    level = made.each()[0]
    assert isinstance(level, VectorQuantizer)
    vectors = level.vectors(latent.permute(0, 2, 3, 1).reshape(-1, CHANNELS))
    wanted = (vectors - level.codebook.look_up(result.indices[0].flatten())).square().mean()
    torch.testing.assert_close(result.codebook_loss, wanted)
    torch.testing.assert_close(result.commitment_loss, wanted)
    codes = level.codebook.transform.weight if isinstance(level.codebook, SimCodebook) else level.codebook.code_vectors
    moves = torch.autograd.grad(result.codebook_loss, [latent, codes], allow_unused=True, retain_graph=True)
    assert moves[0] is None
    assert moves[1] is not None
    moves = torch.autograd.grad(result.commitment_loss, [latent, codes], allow_unused=True)
    assert moves[0] is not None
    assert moves[1] is None


def test_pictures_that_do_not_use_a_level_do_not_count() -> None:
    torch.manual_seed(2)
    made = ResidualQuantizer(CHANNELS, QuantizerConfig((16, 8), 4, codebook="gradient", lookup="euclidean"))
    made.begin_learning()
    latent = mixture(side=3)
    both, first = made.eval()(latent, torch.tensor([2, 1])), made(latent[:1], torch.tensor([2]))
    second = made(latent[1:], torch.tensor([1]))
    # level 1 is the mean over both pictures, level 2 that of the first picture alone
    alone = ResidualQuantizer(CHANNELS, replace(made.config, codebook_sizes=(16,)))
    alone.begin_learning()
    alone.load_state_dict({k: v for k, v in made.state_dict().items() if k.startswith("levels.0")})
    level_1 = [alone.eval()(latent[i : i + 1], torch.tensor([1])).codebook_loss for i in (0, 1)]
    level_2 = 2 * first.codebook_loss - level_1[0]
    torch.testing.assert_close(both.codebook_loss, ((level_1[0] + level_1[1]) / 2 + level_2) / 2)
    torch.testing.assert_close(second.codebook_loss, level_1[1] / 2)


# ---- the rotation trick ----


def test_rotated_is_the_code_and_turns_the_gradient_with_it() -> None:
    """Against the explicit matrix of Fifty et al., 2024, §4.2."""
    vectors = torch.randn(50, 5, dtype=torch.float64, generator=seeded(1)).requires_grad_()
    codes = torch.randn(50, 5, dtype=torch.float64, generator=seeded(2))
    made = rotated(vectors, codes)
    torch.testing.assert_close(made, codes)
    upstream = torch.randn(50, 5, dtype=torch.float64, generator=seeded(3))
    made.backward(upstream)
    assert vectors.grad is not None
    for vector, code, above, below in zip(vectors.detach(), codes, upstream, vectors.grad, strict=True):
        e, q = F.normalize(vector, dim=0), F.normalize(code, dim=0)
        r = F.normalize(e + q, dim=0)
        rotation = torch.eye(5, dtype=torch.float64) - 2 * torch.outer(r, r) + 2 * torch.outer(q, e)
        torch.testing.assert_close(rotation @ rotation.T, torch.eye(5, dtype=torch.float64))
        torch.testing.assert_close(below, code.norm() / vector.norm() * rotation.T @ above)


# ---- SimVQ and gradient codebooks ----


def test_sim_codes_all_move_with_one() -> None:
    codebook = SimCodebook(8, 4, unit=False)
    codebook.codes()[3].sum().backward()
    assert not codebook.code_vectors.requires_grad
    assert codebook.transform.weight.grad is not None
    before = codebook.codes().detach()
    with torch.no_grad():
        codebook.transform.weight -= 0.1 * codebook.transform.weight.grad
    assert ((codebook.codes().detach() - before).abs().amax(dim=1) > 1e-6).all()


def test_a_revived_sim_code_is_put_where_it_is_seen() -> None:
    codebook = SimCodebook(8, 4, unit=False)
    torch.nn.init.orthogonal_(codebook.transform.weight)
    codebook.begin_learning()
    codebook.average_counts[2] = 0
    vectors = torch.randn(1, 4, generator=seeded(4))
    assert codebook.revive_dead_codes(vectors, seeded()) == 1
    torch.testing.assert_close(codebook.codes()[2].detach(), vectors[0])


def test_unit_gradient_codes_are_looked_up_at_length_one() -> None:
    codebook = GradientCodebook(8, 4)
    with torch.no_grad():
        codebook.code_vectors.mul_(3)
    torch.testing.assert_close(codebook.codes().norm(dim=1), torch.ones(8))


def test_euclidean_look_up_is_the_nearest_code() -> None:
    codebook = GradientCodebook(37, 5, unit=False)
    with torch.no_grad():
        codebook.code_vectors.mul_(torch.linspace(0.1, 4, 37)[:, None])
    vectors = 2 * torch.randn(300, 5, generator=seeded(3))
    expected = torch.cdist(vectors.double(), codebook.code_vectors.detach().double()).argmin(dim=1)
    assert torch.equal(codebook.nearest(vectors), expected)


# ---- Gumbel ----


def test_gumbel_choices_are_noisy_in_training_only() -> None:
    torch.manual_seed(1)
    level = GumbelQuantizer(CHANNELS, 16, QuantizerConfig((16,), 4, codebook="gumbel"))
    level.codebook.begin_learning()
    latent = 0.1 * torch.randn(200, CHANNELS, generator=seeded(1))
    in_use = torch.ones(200, dtype=torch.bool)
    level.train()
    first, second = (level.learn(latent, in_use).indices for _ in range(2))
    assert not torch.equal(first, second)
    level.eval()
    assert torch.equal(level.learn(latent, in_use).indices, level.choose(latent))


def test_the_divergence_of_gumbel_choices_from_the_uniform_distribution() -> None:
    level = GumbelQuantizer(CHANNELS, 16, QuantizerConfig((16,), 4, codebook="gumbel"))
    level.codebook.begin_learning()
    in_use = torch.tensor([True, False])
    latent = torch.zeros(2, CHANNELS)
    with torch.no_grad():
        level.logits.bias.zero_()
        assert float(level.learn(latent, in_use).codebook_loss) == pytest.approx(0, abs=1e-6)
        level.logits.bias[3] = 100.0
        assert float(level.learn(latent, in_use).codebook_loss) == pytest.approx(math.log(16), rel=1e-5)


# ---- levels of several resolutions ----


@pytest.mark.parametrize("side", [(4, 4), (5, 7), (1, 1)])
def test_coarser_levels_have_smaller_grids(side: tuple[int, int]) -> None:
    torch.manual_seed(3)
    config = QuantizerConfig((16, 8, 8), 4, level_strides=(4, 2, 1))
    made = ResidualQuantizer(CHANNELS, config)
    made.begin_learning()
    made.eval()
    latent = torch.randn(2, CHANNELS, *side, generator=seeded(1))
    tokens = made.tokens(latent, 3)
    assert [grid.shape[1:] for grid in tokens] == [tuple(-(-n // s) for n in side) for s in (4, 2, 1)]
    result = made(latent, torch.full((2,), 3))
    torch.testing.assert_close(result.quantized, made.latent(tokens))
    coarse = made.latent(tokens[:1])
    assert coarse.shape[2:] == tuple(4 * -(-n // 4) for n in side)
    one = made(latent, torch.full((2,), 1)).quantized
    torch.testing.assert_close(coarse[:, :, : side[0], : side[1]], one)


def test_a_coarse_level_carries_the_means() -> None:
    """With a codebook as large as the pictures' blocks are many, level 1 gives each block its mean."""
    torch.manual_seed(0)
    made = ResidualQuantizer(CHANNELS, QuantizerConfig((32,), 8, lookup="euclidean", level_strides=(2,)))
    made.begin_learning()
    blocks = torch.randn(1, CHANNELS, 4, 4, generator=seeded(2))
    latent = blocks.repeat_interleave(2, 2).repeat_interleave(2, 3).repeat(2, 1, 1, 1)
    with torch.no_grad():
        made.start_levels(latent, seeded(1))
        made.eval()
        torch.testing.assert_close(made.latent(made.tokens(latent, 1)), latent, rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"codebook_sizes": (1,)}, "2 to 262144"),
        ({"codebook_sizes": (262145,)}, "2 to 262144"),
        ({"level_strides": (2,)}, "as many level strides"),
        ({"level_strides": (2, 3)}, "multiple of the next"),
        ({"codebook": "magic"}, "codebook 'magic': there are average, gradient, sim, gumbel"),
        ({"lookup": "magic"}, "lookup 'magic': there are lifted, cosine, euclidean"),
        ({"gradient": "magic"}, "gradient 'magic': there are straight-through, rotation"),
    ],
)
def test_quantizers_that_cannot_be(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(QuantizerConfig((16, 8), 4), **changes)  # type: ignore[arg-type]
