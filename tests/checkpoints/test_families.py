"""Every family that can be imported: from its official layout to the tokens and pictures of the same networks."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from official_layouts import (
    CODES,
    State,
    as_diffusers,
    diffusers,
    gumbel,
    llamagen,
    look_up_latents,
    make_network,
    movq,
    networks_of,
    picture,
    rq_vae,
    scales_network,
    taming,
    var,
    with_averages,
)

from vqcodec.checkpoints.errors import ForeignCheckpointError
from vqcodec.checkpoints.families import recognise
from vqcodec.checkpoints.official_config import OfficialConfig, official_config
from vqcodec.checkpoints.quantizers import scales
from vqcodec.checkpoints.reading import read_checkpoint
from vqcodec.checkpoints.translation import Translated, translate
from vqcodec.models.building import build_autoencoder
from vqcodec.models.config import QuantizerConfig
from vqcodec.models.magvit_config import MagvitConfig
from vqcodec.models.maskgit_config import MaskgitConfig
from vqcodec.models.single_latent import VQAutoencoder

HERE = Path("model.ckpt")
EUCLIDEAN = QuantizerConfig((CODES,), 4, codebook="gradient", lookup="euclidean")
INNER = {"code_kernel": 1, "code_channels": 4}
AMUSED = OfficialConfig("VQModel", {}, "unit")


def imported(state: State, folder: Path, official: OfficialConfig | None = None, **options: Any) -> Translated:
    torch.save({"state_dict": state}, folder / "model.ckpt")
    tensors = read_checkpoint(folder / "model.ckpt").tensors
    return translate(tensors, recognise(tensors.keys(), HERE), official or OfficialConfig(), HERE, **options)


def network_of(made: Translated) -> VQAutoencoder:
    network = build_autoencoder(made.config)
    network.load_state_dict(made.state)
    assert isinstance(network, VQAutoencoder)
    return network.eval().requires_grad_(False)


def assert_same(made: Translated, network: VQAutoencoder) -> None:
    images = picture(network.config.channels)
    mine, theirs = network_of(made), network.tokenize(images)
    assert [grid.tolist() for grid in mine.tokenize(images)] == [grid.tolist() for grid in theirs]
    assert len(theirs[0].unique()) > 3
    torch.testing.assert_close(mine.detokenize(theirs), network.detokenize(theirs), rtol=0, atol=1e-5)


FAMILIES: dict[str, tuple[str, Callable[[], tuple[VQAutoencoder, State]], OfficialConfig]] = {}


def family(
    name: str, layout: Callable[[VQAutoencoder], State], official: OfficialConfig | None = None, **network: Any
) -> None:
    def make() -> tuple[VQAutoencoder, State]:
        made = make_network(**network)
        if name in ("taming-gumbel", "movq"):
            look_up_latents(made)
        return made, layout(made)

    FAMILIES[f"{name}-{len(FAMILIES)}"] = (name, make, official or OfficialConfig())


family("taming", taming)
family("taming", taming, attention_resolutions=(), middle_attention=False)
family("taming", taming, OfficialConfig("VQModel", {}, "signed", tanh=True), tanh=True)
family("taming", taming, OfficialConfig("muse.VQGANModel", {}, "unit"), pixel_range="unit", residual_blocks=2)
family("taming", lambda made: {"colorize": torch.ones(3, 5, 1, 1), **taming(made)}, picture_channels=5)
family("taming", lambda made: {"quantize.used": torch.arange(5), **taming(made)}, picture_channels=1)
family(
    "taming", lambda made: {"loss.x": torch.ones(1)} | {f"first_stage_model.{k}": v for k, v in taming(made).items()}
)
family("llamagen", llamagen, quantizer=replace(EUCLIDEAN, lookup="cosine"))
family("llamagen", llamagen, OfficialConfig(l2_norm=False))
family(
    "llamagen",
    lambda made: {f"gen_vision_model.{name}": tensor for name, tensor in llamagen(made).items()},
    quantizer=replace(EUCLIDEAN, lookup="cosine"),
)
family("diffusers", diffusers)
family("diffusers", lambda made: diffusers(made, old_attention=True))
family("diffusers", diffusers, AMUSED, pixel_range="unit", attention_resolutions=(), middle_attention=False)
family("diffusers", diffusers, pixel_range="unit", attention_resolutions=(), middle_attention=False)
family("taming-gumbel", gumbel, quantizer=replace(EUCLIDEAN, codebook="gumbel"), **INNER)
family("movq", movq, spatial_norms=True, **INNER)
family("movq", lambda made: as_diffusers(movq(made)), spatial_norms=True, **INNER)
family("movq", movq, spatial_norms=True, attention_resolutions=(), middle_attention=False, **INNER)
family("ibq", taming, OfficialConfig("src.IBQ.models.ibqgan.IBQ"), quantizer=replace(EUCLIDEAN, lookup="product"))


@pytest.mark.parametrize("key", FAMILIES)
def test_it_is_the_same_network(key: str, tmp_path: Path) -> None:
    name, make, official = FAMILIES[key]
    network, state = make()
    made = imported(state, tmp_path, official)
    assert made.family.name == name
    assert_same(made, network)


def test_rq_vae_has_levels_in_the_space_of_the_codes(tmp_path: Path) -> None:
    quantizer = QuantizerConfig((CODES, CODES), 4, codebook="gradient", lookup="euclidean")
    network = make_network(quantizer, **INNER)
    look_up_latents(network)
    made = imported(rq_vae(network), tmp_path)
    assert (made.family.name, made.config.quantizer.codebook_sizes) == ("rq-vae", (CODES, CODES))
    assert made.left_out == ("quantizer.codebooks",)
    assert_same(made, network)


def test_maskgit_has_its_own_networks(tmp_path: Path) -> None:
    networks = MaskgitConfig(32, (1, 2), 2, 4)
    network = make_network(EUCLIDEAN, networks)
    level: Any = network.quantizer.levels[0]
    look_up_latents(network)
    made = imported({**networks_of(network), "quantize.embedding.weight": level.codebook.code_vectors}, tmp_path)
    assert (made.family.name, made.config.networks) == ("maskgit", networks)
    assert_same(made, network)


def test_the_shortcut_of_maskgit_takes_what_the_block_made() -> None:
    block: Any = make_network(EUCLIDEAN, MaskgitConfig(32, (1, 2), 1, 4)).encoder.down[1].block[0]  # type: ignore[union-attr, index]
    x = picture(32, 4, 4)
    hidden = F.conv2d(F.silu(block.norm1(x)), block.conv1.weight, padding=1)
    hidden = F.conv2d(F.silu(block.norm2(hidden)), block.conv2.weight, padding=1)
    torch.testing.assert_close(block(x), hidden + F.conv2d(hidden, block.nin_shortcut.weight))


def test_simvq_has_the_networks_of_open_magvit2_and_folded_codes(tmp_path: Path) -> None:
    networks = MagvitConfig(32, (1, 2), 1, 4, adaptive=False)
    network = make_network(EUCLIDEAN, networks)
    look_up_latents(network)
    codes, weight, bias = network.quantizer.each()[0].codebook.codes(), torch.randn(4, 4), torch.randn(4)
    table = {"embedding.weight": (codes - bias) @ torch.linalg.inv(weight).T, "embedding_proj.weight": weight}
    table = {f"quantize.{name}": tensor for name, tensor in (table | {"embedding_proj.bias": bias}).items()}
    made = imported(networks_of(network) | table, tmp_path)
    assert (made.family.name, made.config.networks) == ("simvq", networks)
    torch.testing.assert_close(made.state["quantizer.levels.0.codebook.code_vectors"], codes, rtol=1e-3, atol=1e-3)


def test_the_token_of_open_magvit2_has_a_bit_for_each_sign(tmp_path: Path) -> None:
    networks = MagvitConfig(32, (1, 2), 1, 5)
    network = make_network(QuantizerConfig((32,), 5, codebook="gradient", lookup="euclidean"), networks)
    made = imported(networks_of(network), tmp_path)
    assert (made.family.name, made.config.networks) == ("open-magvit2", networks)
    images = picture()
    bits = network.encoder(images) > 0
    tokens = (bits * 2 ** torch.arange(5)[:, None, None]).sum(dim=1)
    assert torch.equal(network_of(made).tokenize(images)[0], tokens)
    expected = network.decoder(bits * 2.0 - 1.0)
    torch.testing.assert_close(network_of(made).detokenize([tokens]), expected, rtol=0, atol=1e-5)


def test_the_adaptive_norm_scales_by_the_spread_of_the_latents() -> None:
    norm: Any = make_network(EUCLIDEAN, MagvitConfig(32, (1, 2), 1, 4)).decoder.adaptive[1]  # type: ignore[union-attr, index]
    x, latent = picture(64, 4, 4), picture(4, 3, 5)
    spread = (latent.flatten(2).std(dim=2) ** 2 + 1e-6).sqrt()
    scale, shift = norm.gamma(spread)[..., None, None], norm.beta(latent.mean(dim=(2, 3)))[..., None, None]
    torch.testing.assert_close(norm(x, latent), scale * F.group_norm(x, 32, eps=1e-6) + shift)
    assert torch.isfinite(norm(x, latent[:, :, :1, :1])).all()  # of one token


def test_projected_codes_of_vqgan_lc_are_folded(tmp_path: Path) -> None:
    state = taming(make_network())
    basis, weight, bias = torch.randn(CODES, 7), torch.randn(4, 7), torch.randn(4)
    del state["quantize.embedding.weight"]
    state |= {"tok_embeddings.weight": basis, "codebook_projection.weight": weight, "codebook_projection.bias": bias}
    made = imported(state | {"discriminator.x": torch.ones(1)}, tmp_path)
    codes = made.state["quantizer.levels.0.codebook.code_vectors"]
    torch.testing.assert_close(codes, F.linear(basis, weight, bias))
    assert (made.folded, made.left_out) == (("codebook_projection into the codes",), ("discriminator",))


def test_the_norms_of_movq_follow_the_codes_at_each_position() -> None:
    norm: Any = make_network(spatial_norms=True, **INNER).decoder.norm_out
    x, codes = picture(32, 6, 8), picture(4, 3, 4)
    near = codes.repeat_interleave(2, 2).repeat_interleave(2, 3)
    scale, shift = (F.conv2d(near, each.weight, each.bias) for each in (norm.conv_y, norm.conv_b))
    normed = F.group_norm(x, 32, norm.norm_layer.weight, norm.norm_layer.bias, eps=1e-6)
    torch.testing.assert_close(norm(x, codes), normed * scale + shift)
    assert (x - norm(x, codes)).abs().amin() > 0


@pytest.mark.parametrize("options", [{}, {**INNER, "tanh": True}, {**INNER, "pixel_range": "unit"}])
def test_spatial_norms_that_cannot_be(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="spatial norms need"):
        make_network(spatial_norms=True, **options)


def test_var_has_levels_in_grids_of_one_size(tmp_path: Path) -> None:
    network = scales_network()
    made = imported(var(network), tmp_path, official_config({"v_patch_nums": [1, 2, 3, 6]}, HERE))
    assert (made.family.name, made.config.quantizer) == ("var", network.config.quantizer)
    assert (made.config.picture_side, made.config.level_factors) == (24, (24, 12, 8, 4))
    images = picture(3, 24, 24)
    mine, theirs = network_of(made).tokenize(images), network.tokenize(images)
    assert [grid.tolist() for grid in mine] == [grid.tolist() for grid in theirs]
    assert [tuple(grid.shape) for grid in mine] == [(1, side, side) for side in (1, 2, 3, 6)]
    for count in range(1, 5):
        expected = network.detokenize(theirs[:count])
        torch.testing.assert_close(network_of(made).detokenize(mine[:count]), expected, rtol=0, atol=1e-5)


def test_the_scales_of_var_share_four_convolutions() -> None:
    tensors = {"quantize.embedding.weight": torch.randn(CODES, 4)}
    for number in range(4):
        tensors[f"quantize.quant_resi.qresi_ls.{number}.weight"] = torch.full((4, 4, 3, 3), float(number))
        tensors[f"quantize.quant_resi.qresi_ls.{number}.bias"] = torch.full((4,), float(number))
    made = scales(tensors, (1, 2, 3, 4, 5, 6, 8, 10, 13, 16), 0.25)
    used = [int(made.state[f"smoothings.{level}.bias"][0] / 0.25) for level in range(10)]
    assert used == [0, 0, 1, 1, 1, 2, 2, 3, 3, 3]
    weight = made.state["smoothings.9.weight"]
    assert torch.equal(weight[0, :, 1, 1], torch.tensor([1.5, 0.75, 0.75, 0.75]))
    assert torch.equal(weight[0, :, 0, 1], torch.full((4,), 0.75))


def test_scales_of_var_that_no_tensor_tells(tmp_path: Path) -> None:
    with pytest.raises(ForeignCheckpointError, match="4 scales: give --config with its v_patch_nums"):
        imported(var(scales_network()), tmp_path)
    with pytest.raises(ForeignCheckpointError, match=r"v_patch_nums \[\[1, 2\]\]: only whole numbers"):
        official_config({"v_patch_nums": [[1, 2]]}, HERE)
    with pytest.raises(ForeignCheckpointError, match=r"level grids \(1, 2, 6, 3\): .* is the largest"):
        imported(var(scales_network()), tmp_path, official_config({"v_patch_nums": [1, 2, 6, 3]}, HERE))


def test_codes_that_are_numbered_anew_are_told(tmp_path: Path) -> None:
    state = taming(make_network(picture_channels=1))
    made = imported(state | {"quantize.used": torch.tensor([2, 5, 11])}, tmp_path)
    assert (made.used_codes, made.config.quantizer.codebook_sizes) == ((2, 5, 11), (CODES,))
    assert imported(state, tmp_path).used_codes == ()


# ---- traps ----


def test_averaged_weights_lie_under_names_without_points(tmp_path: Path) -> None:
    plain, averaged = taming(make_network()), {name: tensor / 2 for name, tensor in taming(make_network()).items()}
    state = with_averages(plain, averaged)
    for wanted, options in ((averaged, {}), (averaged, {"averaged": True}), (plain, {"averaged": False})):
        made = imported(state, tmp_path, OfficialConfig("taming.models.vqgan.VQModel"), **options)
        assert made.averaged == (wanted is averaged)
        assert torch.equal(made.state["encoder.conv_in.weight"], wanted["encoder.conv_in.weight"])
    with pytest.raises(ForeignCheckpointError, match="holds no averaged weights"):
        imported(plain, tmp_path, averaged=True)


def test_averages_of_another_network_are_none_of_the_tokenizer(tmp_path: Path) -> None:
    state = {f"first_stage_model.{name}": tensor for name, tensor in taming(make_network()).items()}
    made = imported(state | {"model_ema.diffusion_modelx": torch.ones(1)}, tmp_path)
    assert not made.averaged


def test_the_token_of_ibq_is_no_nearest_code(tmp_path: Path) -> None:
    wide = QuantizerConfig((CODES,), 16, codebook="gradient", lookup="product")
    network = make_network(wide)
    state = with_averages(taming(network), taming(network))
    made = imported(state, tmp_path)
    assert made.family.name == "ibq"  # by averaged weights beside codes of many dimensions
    images = picture()
    vectors = F.conv2d(network.encoder(images), state["quant_conv.weight"], state["quant_conv.bias"])
    rows = vectors.permute(0, 2, 3, 1).flatten(0, 2)
    codes = state["quantize.embedding.weight"]
    tokens = network_of(made).tokenize(images)[0].flatten()
    assert torch.equal(tokens, (rows @ codes.T).argmax(dim=1))
    assert not torch.equal(tokens, torch.cdist(rows, codes).argmin(dim=1))


def test_the_codes_and_vectors_of_llamagen_have_length_one(tmp_path: Path) -> None:
    network = make_network(replace(EUCLIDEAN, lookup="cosine"))
    state = taming(network)
    made = network_of(imported(llamagen(network), tmp_path))
    images = picture()
    vectors = F.conv2d(network.encoder(images), state["quant_conv.weight"], state["quant_conv.bias"])
    codes = F.normalize(state["quantize.embedding.weight"])
    tokens = (F.normalize(vectors.permute(0, 2, 3, 1).flatten(0, 2)) @ codes.T).argmax(dim=1)
    assert torch.equal(made.tokenize(images)[0].flatten(), tokens)
    latent = codes[tokens].view(1, 6, 8, 4).permute(0, 3, 1, 2)
    back = F.conv2d(latent, state["post_quant_conv.weight"], state["post_quant_conv.bias"])
    torch.testing.assert_close(made.detokenize([tokens.view(1, 6, 8)]), network.decoder(back), rtol=0, atol=1e-5)


def test_the_token_of_gumbel_is_the_largest_logit_without_noise(tmp_path: Path) -> None:
    network = make_network(replace(EUCLIDEAN, codebook="gumbel"), **INNER)
    state = gumbel(network)
    made = network_of(imported(state, tmp_path))
    images = picture()
    logits = F.conv2d(network.encoder(images), state["quantize.proj.weight"], state["quantize.proj.bias"])
    assert torch.equal(made.tokenize(images)[0], logits.argmax(dim=1))
    assert torch.equal(made.tokenize(images)[0], made.tokenize(images)[0])


def test_open_muse_leaves_out_attention_that_is_the_only_one_of_its_stage(tmp_path: Path) -> None:
    """`num_res_blocks` 1: the Encoder's stage has one, the Decoder's two."""
    network = make_network(pixel_range="unit")
    made = imported(taming(network), tmp_path, OfficialConfig("VQGANModel", {}, "unit"))
    assert made.left_out == ("encoder.down.2.attn.0.proj_out",)
    network.encoder.down[2].attn = torch.nn.ModuleList()  # type: ignore[union-attr, index]
    assert_same(made, network)


def test_the_networks_of_the_unit_range_see_zeros_around_black(tmp_path: Path) -> None:
    """Why the range cannot be folded into the weights: what is around the picture is 0 in either range."""
    network = make_network(pixel_range="unit")
    encoder: Any = network.encoder
    images = picture()
    inside = F.conv2d((images + 1) / 2, encoder.conv_in.weight, encoder.conv_in.bias, padding=1)
    seen: list[Any] = []
    encoder.conv_in.register_forward_hook(lambda module, given, made: seen.append(made))
    network.tokenize(images)
    assert torch.equal(seen[0], inside)


# ---- what cannot be imported ----


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"decoder.mid.attn_1.q.bias": None}, r"missing: decoder\.mid\.attn_1\.q\.bias$"),
        ({"encoder.extra.weight": torch.ones(1)}, r"unknown: encoder\.extra\.weight$"),
        ({"encoder.conv_out.bias": torch.zeros(9)}, r"wrong shape: encoder\.conv_out\.bias \(9,\) instead of \(6,\)"),
        ({"encoder.conv_out.bias": torch.full((6,), torch.nan)}, r"not finite: encoder\.conv_out\.bias"),
        ({"quant_conv.bias": None}, r"missing: quant_conv\.bias"),
        ({"quantize.embedding.weight": None}, "of no family that is known; looked for: .*LlamaGen.*taming"),
    ],
)
def test_other_networks_are_told_in_a_line(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    state = {name: tensor for name, tensor in (taming(make_network()) | change).items() if tensor is not None}
    with pytest.raises(ForeignCheckpointError, match=message):
        imported(state, tmp_path)


# ---- configurations ----

DDCONFIG = {"ch": 32, "double_z": False, "resolution": 64, "tanh_out": True}
LDM = {"target": "ldm.VQModel", "params": {"n_embed": 8, "ddconfig": DDCONFIG}}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (LDM, ("ldm.VQModel", "signed", True, 64)),
        ({"model": {"target": "DDPM", "params": {"first_stage_config": LDM}}}, ("ldm.VQModel", "signed", True, 64)),
        ({"_class_name": "VQModel", "lookup_from_codebook": True}, ("VQModel", "unit", False, 0)),
        ({"_class_name": "VQGANModel", "hidden_channels": 128}, ("VQGANModel", "unit", False, 0)),
        ({"class_path": "a.IBQ", "init_args": {"ddconfig": {"resolution": 256}}}, ("a.IBQ", "signed", False, 256)),
    ],
)
def test_what_configurations_say(content: dict[str, Any], expected: tuple[Any, ...]) -> None:
    found = official_config(json.loads(json.dumps(content)), Path("config.json"))
    assert (found.class_name, found.pixel_range, found.tanh, found.resolution) == expected


@pytest.mark.parametrize(
    "options", [{"act_fn": "relu"}, {"norm_num_groups": 8}, {"ddconfig": {"attn_type": "linear"}}, {"double_z": True}]
)
def test_options_of_other_networks_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ForeignCheckpointError, match=r"config\.json: .*only .* can be imported"):
        official_config(options, Path("config.json"))
