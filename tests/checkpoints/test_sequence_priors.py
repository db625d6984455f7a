"""Stage 2 of other projects: the same logits as their GPTs, token by token too, and pictures by the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from cli_helpers import names_in, only_error, vqcodec
from official_layouts import CODES, State, make_network, taming
from safetensors.torch import load_file
from torch import Tensor

from vqcodec.cards.model_card import load_model_folder
from vqcodec.cards.prior_card import load_prior_folder
from vqcodec.prior.conditions import Conditions
from vqcodec.prior.sequence import SequencePrior

WIDTH, HEADS, DEPTH, SIDE, CLASSES = 32, 2, 2, 4, 5
ORDER = [position for start in range(4) for position in range(start, 16, 4)]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


def net2net(*, permuted: bool = False) -> State:
    """Net2NetTransformer with its first stage, under the official names."""
    state = {f"first_stage_model.{name}": tensor for name, tensor in taming(make_network()).items()}
    state |= {
        "transformer.tok_emb.weight": random(CODES, WIDTH),
        "transformer.pos_emb": random(1, 20, WIDTH),
        "transformer.ln_f.weight": random(WIDTH),
        "transformer.ln_f.bias": random(WIDTH, seed=1),
        "transformer.head.weight": random(CODES, WIDTH, seed=2),
    }
    for block in range(DEPTH):
        name = f"transformer.blocks.{block}"
        for layer, shape in {
            "ln1": (WIDTH,),
            "ln2": (WIDTH,),
            "attn.key": (WIDTH, WIDTH),
            "attn.query": (WIDTH, WIDTH),
            "attn.value": (WIDTH, WIDTH),
            "attn.proj": (WIDTH, WIDTH),
            "mlp.0": (4 * WIDTH, WIDTH),
            "mlp.2": (WIDTH, 4 * WIDTH),
        }.items():
            state[f"{name}.{layer}.weight"] = random(*shape, seed=len(layer) + block) / shape[-1] ** 0.5
            state[f"{name}.{layer}.bias"] = random(shape[0], seed=block) / 4
        state[f"{name}.attn.mask"] = torch.ones(1, 1, 20, 20).tril()
    if permuted:
        state["permuter.forward_shuffle_idx"] = torch.tensor(ORDER)
    return state


def config(condition: Any = "__is_unconditional__") -> dict[str, Any]:
    transformer = {"target": "GPT", "params": {"n_head": HEADS}}
    return {
        "model": {"target": "Net2Net", "params": {"transformer_config": transformer, "cond_stage_config": condition}}
    }


BY_CLASS = {"target": "taming.modules.util.Labelator", "params": {"n_classes": CLASSES}}


def official_logits(state: State, sequence: Tensor) -> Tensor:
    """mingpt.GPT, written out: (B, n) -> (B, n, K)."""
    take = {name.removeprefix("transformer."): tensor for name, tensor in state.items()}
    count = sequence.shape[1]
    x = take["tok_emb.weight"][sequence] + take["pos_emb"][:, :count]
    for block in range(DEPTH):
        p = {
            name.removeprefix(f"blocks.{block}."): t for name, t in take.items() if name.startswith(f"blocks.{block}.")
        }
        normed = F.layer_norm(x, (WIDTH,), p["ln1.weight"], p["ln1.bias"])
        query, key, value = (
            F.linear(normed, p[f"attn.{part}.weight"], p[f"attn.{part}.bias"]).unflatten(2, (HEADS, -1)).transpose(1, 2)
            for part in ("query", "key", "value")
        )
        weights = query @ key.transpose(2, 3) * (WIDTH // HEADS) ** -0.5
        weights = weights.masked_fill(p["attn.mask"][:, :, :count, :count] == 0, -torch.inf).softmax(dim=3)
        mixed = (weights @ value).transpose(1, 2).flatten(2)
        x = x + F.linear(mixed, p["attn.proj.weight"], p["attn.proj.bias"])
        normed = F.layer_norm(x, (WIDTH,), p["ln2.weight"], p["ln2.bias"])
        hidden = F.gelu(F.linear(normed, p["mlp.0.weight"], p["mlp.0.bias"]))
        x = x + F.linear(hidden, p["mlp.2.weight"], p["mlp.2.bias"])
    return F.layer_norm(x, (WIDTH,), take["ln_f.weight"], take["ln_f.bias"]) @ take["head.weight"].T


def imported(state: State, folder: Path, condition: Any = "__is_unconditional__") -> Path:
    folder.mkdir()
    torch.save({"state_dict": state}, folder / "model.ckpt")
    (folder / "config.json").write_text(json.dumps(config(condition)))
    result = vqcodec("models", "import", folder, "--name", "m", "--licence", "MIT", "--out", folder / "m")
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    return folder / "m"


@pytest.mark.parametrize("permuted", [False, True])
@pytest.mark.parametrize("label", [None, 3])
def test_logits_are_those_of_mingpt_with_and_without_a_cache(permuted: bool, label: int | None, tmp_path: Path) -> None:
    state = net2net(permuted=permuted)
    model = imported(state, tmp_path / "in", "__is_unconditional__" if label is None else BY_CLASS)
    prior = load_prior_folder(model / "prior").load()
    assert isinstance(prior, SequencePrior)
    grid = torch.randint(CODES, (2, SIDE, SIDE), generator=torch.Generator().manual_seed(1))
    order = ORDER if permuted else list(range(SIDE**2))
    sequence = grid.flatten(1)[:, order]
    first = torch.full((2, 1), label or 0)
    expected = official_logits(state, torch.cat([first, sequence[:, :-1]], dim=1))
    conditions = Conditions(None if label is None else torch.full((2,), label))
    torch.testing.assert_close(prior([grid], 0, conditions).flatten(1, 2)[:, order], expected, rtol=0, atol=1e-4)
    steps = prior.begin([], (SIDE, SIDE), batch=2, conditions=conditions)
    assert [int(group) for group in steps.groups] == order
    one_by_one = torch.cat([steps.logits(grid.flatten(1)) for _ in order], dim=1)
    torch.testing.assert_close(one_by_one, expected, rtol=0, atol=1e-4)


def test_pictures_of_an_imported_prior(tmp_path: Path) -> None:
    model = imported(net2net(), tmp_path / "in", BY_CLASS)
    words = ("generate", "--model", model, "--device", "cpu", "-o", tmp_path / "made", "--size", "16x16")
    result = vqcodec(*words, "--class", 2, "-n", 2)
    assert result.exit_code == 0, result.output
    assert names_in(tmp_path / "made") == ["000.png", "001.png"]
    assert "needs a class" in only_error(vqcodec(*words, "-f"))
    words = (*words[:-1], "64x16")
    assert "more than the 20 that it can hold; give another --size" in only_error(vqcodec(*words, "--class", 1, "-f"))


def test_a_prior_that_is_told_pictures_is_left_out(tmp_path: Path) -> None:
    torch.save({"state_dict": net2net()}, tmp_path / "model.ckpt")
    (tmp_path / "config.json").write_text(json.dumps(config({"target": "taming.models.vqgan.VQModel", "params": {}})))
    result = vqcodec("models", "import", tmp_path, "--name", "m", "--licence", "MIT", "--out", tmp_path / "m")
    assert result.exit_code == 0, result.output
    assert "without its prior" in result.stderr
    assert "only classes are known" in result.stderr
    assert names_in(tmp_path / "m") == ["card.json", "stage1.safetensors"]


# ---- LlamaGen ----


def llamagen_gpt() -> State:
    state = {
        "cls_embedding.embedding_table.weight": random(CLASSES + 1, WIDTH),
        "tok_embeddings.weight": random(CODES, WIDTH),
        "norm.weight": random(WIDTH),
        "output.weight": random(CODES, WIDTH, seed=5),
        "freqs_cis": torch.zeros(17, 8, 2),
    }
    for layer in range(DEPTH):
        shapes = {
            "attention.wqkv": (3 * WIDTH, WIDTH),
            "attention.wo": (WIDTH, WIDTH),
            "feed_forward.w1": (48, WIDTH),
            "feed_forward.w3": (48, WIDTH),
            "feed_forward.w2": (WIDTH, 48),
        }
        for name, shape in shapes.items():
            state[f"layers.{layer}.{name}.weight"] = random(*shape, seed=layer + len(name)) / shape[1] ** 0.5
        for name in ("attention_norm", "ffn_norm"):
            state[f"layers.{layer}.{name}.weight"] = random(WIDTH, seed=layer)
    return state


def official_llamagen(state: State, grid: Tensor, label: int) -> Tensor:
    """autoregressive/models/gpt.py, written out with complex numbers: (B, h, w) -> (B, N, K)."""
    batch, half = len(grid), WIDTH // HEADS // 2
    first = state["cls_embedding.embedding_table.weight"][torch.full((batch, 1), label)]
    x = torch.cat([first, state["tok_embeddings.weight"][grid.flatten(1)[:, :-1]]], dim=1)
    speeds = 10000 ** -(torch.arange(0, half, 2).float() / half)
    rows, cols = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    angles = torch.cat([rows.flatten()[:, None] * speeds, cols.flatten()[:, None] * speeds], dim=1)
    turns = torch.cat([torch.zeros(1, half, dtype=torch.complex64), torch.polar(torch.ones_like(angles), angles)])[:-1]

    def rms(values: Tensor, weight: Tensor) -> Tensor:
        return values * (values.square().mean(dim=2, keepdim=True) + 1e-5).rsqrt() * weight

    def turned(values: Tensor) -> Tensor:
        pairs = torch.view_as_complex(values.unflatten(3, (half, 2)).contiguous())
        return torch.view_as_real(pairs * turns).flatten(3)

    for layer in range(DEPTH):
        p = {n.removeprefix(f"layers.{layer}."): t for n, t in state.items() if n.startswith(f"layers.{layer}.")}
        normed = rms(x, p["attention_norm.weight"])
        parts = (normed @ p["attention.wqkv.weight"].T).split(WIDTH, dim=2)
        query, key, value = (part.unflatten(2, (HEADS, -1)).transpose(1, 2) for part in parts)
        weights = turned(query) @ turned(key).transpose(2, 3) * (WIDTH // HEADS) ** -0.5
        mask = torch.ones(weights.shape[2:], dtype=torch.bool).tril()
        mixed = weights.masked_fill(~mask, -torch.inf).softmax(dim=3) @ value
        x = x + mixed.transpose(1, 2).flatten(2) @ p["attention.wo.weight"].T
        normed = rms(x, p["ffn_norm.weight"])
        hidden = F.silu(normed @ p["feed_forward.w1.weight"].T) * (normed @ p["feed_forward.w3.weight"].T)
        x = x + hidden @ p["feed_forward.w2.weight"].T
    return rms(x, state["norm.weight"]) @ state["output.weight"].T


def test_logits_are_those_of_llamagen(tmp_path: Path) -> None:
    model = imported(net2net(), tmp_path / "in")
    state = llamagen_gpt()
    torch.save({"model": state}, tmp_path / "gpt.pt")
    (tmp_path / "gpt.json").write_text(json.dumps({"n_head": HEADS, "block_size": SIDE**2}))
    words = (
        "models",
        "import",
        tmp_path / "gpt.pt",
        "--config",
        tmp_path / "gpt.json",
        "--name",
        "gpt",
        "--for",
        model,
    )
    assert "a prior needs --out" in vqcodec(*words).stderr
    result = vqcodec(*words, "--out", tmp_path / "gpt")
    assert result.exit_code == 0, result.output
    prior = load_prior_folder(tmp_path / "gpt").load()
    grid = torch.randint(CODES, (2, SIDE, SIDE), generator=torch.Generator().manual_seed(1))
    for label in (2, CLASSES):
        conditions = Conditions(torch.full((2,), label))
        expected = official_llamagen(state, grid, label)
        torch.testing.assert_close(prior([grid], 0, conditions).flatten(1, 2), expected, rtol=0, atol=1e-4)
        steps = prior.begin([], (SIDE, SIDE), batch=2, conditions=conditions)
        one_by_one = torch.cat([steps.logits(grid.flatten(1)) for _ in range(SIDE**2)], dim=1)
        torch.testing.assert_close(one_by_one, expected, rtol=0, atol=1e-4)
    assert torch.equal(prior([grid], 0), prior([grid], 0, Conditions(torch.full((2,), CLASSES))))
    words = ("generate", "--model", model, "--prior", tmp_path / "gpt", "-o", tmp_path / "made", "--device", "cpu")
    assert vqcodec(*words, "--class", 1, "--guidance", 1, "--size", "16x16").exit_code == 0
    assert "pictures of 16 x 16 pixels only" in only_error(vqcodec(*words, "--size", "32x16", "-f"))


def test_averaged_weights_of_a_prior_are_taken_or_not(tmp_path: Path) -> None:
    model, plain = imported(net2net(), tmp_path / "in"), llamagen_gpt()
    averaged = {name: tensor / 2 for name, tensor in plain.items()}
    torch.save({"model": plain, "ema": averaged}, tmp_path / "both.pt")
    torch.save({"model": plain}, tmp_path / "plain.pt")
    (tmp_path / "config.json").write_text(json.dumps({"n_head": HEADS, "block_size": SIDE**2}))
    words = ("--name", "gpt", "--for", model, "--out", tmp_path / "gpt", "-f")
    for more, expected in (((), averaged), (("--ema",), averaged), (("--no-ema",), plain)):
        result = vqcodec("models", "import", tmp_path / "both.pt", *words, *more)
        assert result.exit_code == 0, result.output
        norm = load_file(tmp_path / "gpt" / "prior.safetensors")["norm.weight"]
        torch.testing.assert_close(norm.float(), expected["norm.weight"], rtol=1e-3, atol=1e-3)
    line = only_error(vqcodec("models", "import", tmp_path / "plain.pt", *words, "--ema"))
    assert "plain.pt: it holds no averaged weights; leave out --ema" in line
    result = vqcodec("models", "import", tmp_path / "plain.pt", *words, "--range", "unit")
    assert (result.exit_code, "--range is of a model" in result.stderr) == (2, True)


def test_a_prior_of_other_tokens_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    torch.save({"model": llamagen_gpt()}, tmp_path / "gpt.pt")
    words = ("models", "import", tmp_path / "gpt.pt", "--name", "gpt", "--out", tmp_path / "gpt", "--for")
    assert "has 2" in only_error(vqcodec(*words, tiny_model))
    (tmp_path / "empty.pt").write_bytes(b"\x80\x02}.")
    assert load_model_folder(tiny_model).card.autoencoder.levels == 2
