"""vqcodec train stage1: its options become settings, and a run can be resumed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

from vqcodec.cards.finding import find_model
from vqcodec.cards.model_card import load_model_folder
from vqcodec.cli.main import main
from vqcodec.models.config import AutoencoderConfig, CompactConfig, QuantizerConfig
from vqcodec.training.common.checkpoint import checkpoints, load_checkpoint
from vqcodec.training.data.toy_shapes import write_toy_folder
from vqcodec.training.stage1 import presets
from vqcodec.training.stage1.discriminator import AdversaryConfig
from vqcodec.training.stage1.recipe import Stage1Config, Stage1Recipe, model_config, recipe_of

SMALL = AutoencoderConfig(
    CompactConfig(
        encoder_widths=(4, 4, 8),
        encoder_depths=(0, 0, 1),
        decoder_widths=(4, 4, 8),
        decoder_depths=(0, 0, 1),
        latent_channels=8,
    ),
    QuantizerConfig(codebook_sizes=(4, 4, 4, 4), code_dimension=4),
)


@pytest.fixture(autouse=True)
def _small_networks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The command trains the default networks: make those small."""
    monkeypatch.setitem(presets.PRESETS, "photo", Stage1Recipe(SMALL))
    with torch.random.fork_rng(devices=[]):
        yield


@pytest.fixture
def train(pictures: Path, perceptual_weights: Path, tmp_path: Path) -> Any:
    """Runs the command on the four pictures, in a folder of this test."""

    def run(*options: object) -> Result:
        given = ["--data", pictures, "--out", tmp_path, "--perceptual-weights", perceptual_weights, "--device", "cpu"]
        return CliRunner().invoke(main, ["train", "stage1", *map(str, [*given, *options])])

    return run


FIRST = ("--steps", 3, "--batch-size", 2, "--crop-size", 48, "--set", "training.weights.lpips_vgg=0")


def settings(folder: Path) -> Stage1Config:
    return recipe_of(load_checkpoint(checkpoints(folder)[-1])).training


def logged(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_a_run_and_its_continuation(train: Any, tmp_path: Path) -> None:
    first = train(*FIRST, "--seed", 5, "--learning-rate", 0.001, "--set", "training.decay_share=0.5", "--until", 2)
    assert first.exit_code == 0, first.output
    started = settings(tmp_path)
    default = Stage1Config()
    assert started == replace(
        default,
        steps=3,
        batch_size=2,
        crop=replace(default.crop, size=48),
        learning_rate=0.001,
        decay_share=0.5,
        seed=5,
        weights=replace(default.weights, lpips_vgg=0),
    )
    assert [line["step"] for line in logged(tmp_path)] == [0, 1]
    second = train("--resume")
    assert second.exit_code == 0, second.output
    assert settings(tmp_path) == started
    assert [line["step"] for line in logged(tmp_path)] == [0, 1, 2]
    third = train("--resume", "--steps", 4, "--learning-rate", 0.002)
    assert third.exit_code == 0, third.output
    assert settings(tmp_path) == replace(started, steps=4, learning_rate=0.002)
    assert load_checkpoint(checkpoints(tmp_path)[-1])["step"] == 4


def test_validation_and_checkpoints_on_the_way(train: Any, tmp_path: Path) -> None:
    held_out = tmp_path / "held-out.png"
    Image.effect_noise((200, 220), 40).convert("RGB").save(held_out)
    result = train(*FIRST, "--validation", held_out, "--checkpoint-every", 2)
    assert result.exit_code == 0, result.output
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-00000002.pt", "checkpoint-00000003.pt"]
    lines = [json.loads(line) for line in (tmp_path / "validation.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 3]
    assert {path.name for path in (tmp_path / "previews").iterdir()} == {"00000002.png", "00000003.png"}


def test_without_networks_there_is_no_discriminator_on_their_features(pictures: Path, tmp_path: Path) -> None:
    given = ["train", "stage1", "--data", pictures, "--out", tmp_path, "--device", "cpu", "--preset", "photo-5"]
    small = ["--no-perceptual", "--batch-size", 2, "--codebook-size", 4, "--until", 1]
    result = CliRunner().invoke(main, list(map(str, [*given, *small, "--set", "model.networks.widths=[4,8,8]"])))
    assert result.exit_code == 0, result.output
    assert not settings(tmp_path).adversary.weight


def test_a_recipe_that_was_printed_can_be_read_back(train: Any, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.json"
    printed = CliRunner().invoke(main, ["train", "presets", "photo-5"]).output
    recipe.write_text(printed.replace('"seed": 0', '"seed": 3'))
    small = ("--set", "model.networks.widths=[4,8,8]", "--set", "training.adversary.weight=0")
    codes = ("--codebook-size", 4, "--set", "training.weights.vgg_crops=1")
    result = train("--recipe", recipe, "--batch-size", 2, "--until", 1, *small, *codes)
    assert result.exit_code == 0, result.output
    assert settings(tmp_path).seed == 3
    recipe.write_text(printed.replace('"seed"', '"sed"'))
    result = train("--recipe", recipe, "--out", tmp_path / "other")
    assert result.exit_code == 1
    assert f"{recipe}: not a recipe of this version" in result.stderr


def test_a_branch_has_a_falling_rate_and_the_settings_of_its_trunk(train: Any, tmp_path: Path) -> None:
    constant = ("--set", "training.decay_share=0")
    assert train(*FIRST, *constant, "--steps", 9, "--until", 2).exit_code == 0
    checkpoint, branch = checkpoints(tmp_path)[-1], tmp_path / "branch"
    result = train("--decay-from", checkpoint, "--steps", 3, "--out", branch)
    assert result.exit_code == 0, result.output
    assert settings(branch) == replace(settings(tmp_path), decay_from=2, steps=5)
    assert [line["step"] for line in logged(branch)] == [2, 3, 4]
    for options, said in (
        (["--decay-from", checkpoint], "--decay-from needs --steps"),
        (["--decay-from", checkpoint, "--steps", 2, "--factor", 8], "the model and settings of its checkpoint alone"),
        (["--decay-from", checkpoint, "--steps", 2, "--minutes", 1], "the model and settings of its checkpoint alone"),
    ):
        refused = train(*options, "--out", tmp_path / "refused")
        assert refused.exit_code == 2
        assert said in refused.stderr


def test_a_branch_that_was_stopped_goes_on_by_the_same_command(train: Any, tmp_path: Path) -> None:
    assert train(*FIRST, "--steps", 9, "--until", 1).exit_code == 0
    branch = ("--decay-from", checkpoints(tmp_path)[-1], "--steps", 2, "--out", tmp_path / "branch")
    assert train(*branch, "--until", 2).exit_code == 0
    resumed = train(*branch, "--resume")
    assert (resumed.exit_code, resumed.stderr) == (0, "")
    assert [line["step"] for line in logged(tmp_path / "branch")] == [1, 2]
    refused = train(*branch[:4], "--resume")
    assert refused.exit_code == 2
    assert f"{tmp_path}: the run there is no branch from" in refused.stderr


def test_a_run_of_something_else_is_not_resumed_in_silence(train: Any, tmp_path: Path, tiny_model: Path) -> None:
    assert train(*FIRST).exit_code == 0
    for options in (["--preset", "tiny"], ["--init", tiny_model]):
        refused = train(*options, "--resume")
        assert refused.exit_code == 2
        assert f"{tmp_path}: the run there trains another shape than the options say" in refused.stderr
    again = train(*FIRST, "--preset", "photo", "--resume")
    assert again.exit_code == 0
    assert again.stderr == "warning: 3 steps are done; --steps or --until asks for more\n"
    assert again.stdout == f"{tmp_path / 'checkpoint-00000003.pt'}: 3 of 3 steps\n"


def test_a_branch_of_a_run_that_holds_a_part_goes_on_holding_it(train: Any, tmp_path: Path, tiny_model: Path) -> None:
    start = (*FIRST, "--init", tiny_model, "--hold", "codebooks")
    assert train(*start, "--steps", 9, "--until", 1).exit_code == 0
    assert settings(tmp_path).perceptual_rise_steps == 0
    branch = tmp_path / "branch"
    result = train("--decay-from", checkpoints(tmp_path)[-1], "--steps", 1, "--out", branch)
    assert result.exit_code == 0, result.output
    assert settings(branch).held == ("codebooks",)
    assert load_checkpoint(checkpoints(branch)[-1])["origin"]["reads"]


def test_a_run_by_time_ends_in_time_with_its_rate_down(train: Any, tmp_path: Path) -> None:
    result = train("--minutes", 0.05, "--batch-size", 2, "--crop-size", 48, "--set", "training.weights.lpips_vgg=0")
    assert result.exit_code == 0, result.output
    lines = logged(tmp_path)
    assert sum(line["seconds"] for line in lines[:-1]) < 3 <= sum(line["seconds"] for line in lines)
    state = load_checkpoint(checkpoints(tmp_path)[-1])
    assert state["step"] == len(lines)
    assert state["seconds"] == pytest.approx(sum(line["seconds"] for line in lines))
    branch = train("--decay-from", checkpoints(tmp_path)[-1], "--steps", 2, "--out", tmp_path / "branch")
    assert branch.exit_code == 0, branch.output
    assert len(logged(tmp_path / "branch")) == 2  # whose time is not that of its trunk
    rate = settings(tmp_path).learning_rate_at(len(lines) - 1, state["seconds"])
    assert rate == 0 < settings(tmp_path).learning_rate_at(len(lines) - 1, 0.0)


def test_a_folder_with_checkpoints_is_not_overwritten(train: Any, tmp_path: Path) -> None:
    assert train(*FIRST, "--until", 1).exit_code == 0
    result = train(*FIRST)
    assert result.exit_code == 1
    assert "holds checkpoints already; give --resume or another --out" in result.stderr


def test_what_cannot_be_is_one_line(train: Any) -> None:
    for options, said in (
        (["--resume"], "no checkpoint there to resume from"),
        ([*FIRST, "--crop-size", 50], "crops of 50 pixels: take a multiple of 16"),
        ([*FIRST, "--device", "cuda:99"], "not available here"),
    ):
        result = train(*options)
        assert result.exit_code == 1, result.output
        assert result.stderr.startswith("error: ")
        assert said in result.stderr
        assert result.stderr.count("\n") == 1


def test_a_model_is_fine_tuned_in_its_own_shape(train: Any, tiny_model: Path, tmp_path: Path) -> None:
    result = train(*FIRST, "--init", tiny_model, "--until", 2)
    assert result.exit_code == 0, result.output
    state = load_checkpoint(checkpoints(tmp_path)[-1])
    assert model_config(state) == load_model_folder(tiny_model).card.autoencoder
    again = train("--resume")
    assert again.exit_code == 0, again.output
    assert load_checkpoint(checkpoints(tmp_path)[-1])["step"] == 3


def test_a_run_goes_on_by_what_the_card_says_the_model_was_trained_by(train: Any, tmp_path: Path) -> None:
    small = ("--no-perceptual", "--batch-size", 1, "--crop-size", 32, "--steps", 1)
    result = train(*small, "--init", "photo-5")
    assert (result.exit_code, "warning" in result.stderr) == (0, False), result.output
    found, stated = settings(tmp_path), find_model("photo-5").card.training["settings"]
    assert (found.level_shares, found.weights.colour) == (tuple(stated["level_shares"]), stated["weights"]["colour"])
    assert (found.learning_rate, found.decay_share, found.held, found.minutes) == (1.5e-4, 1, (), 0)
    assert (found.adversary.kind, found.adversary.start, found.adversary.rise_steps) == ("features", 0, 0)


def test_a_card_without_settings_is_told_of(train: Any, tiny_model: Path, tmp_path: Path) -> None:
    result = train(*FIRST, "--init", tiny_model, "--until", 1)
    assert "warning: the card of tiny does not say how this version could go on training it" in result.stderr
    assert (
        "warning"
        not in train(*FIRST, "--init", tiny_model, "--preset", "tiny", "--until", 1, "--out", tmp_path / "b").stderr
    )


def test_a_model_that_is_not_there_is_named(train: Any, tmp_path: Path) -> None:
    result = train(*FIRST, "--init", tmp_path / "nowhere")
    assert result.exit_code == 1
    assert "nowhere: no such model folder" in result.stderr


def test_the_discriminators_options_become_settings(train: Any, tmp_path: Path) -> None:
    changes = {"weight": 0.5, "start": 1, "width": 4}
    result = train(*FIRST, *(f"--set=training.adversary.{name}={value}" for name, value in changes.items()))
    assert result.exit_code == 0, result.output
    assert settings(tmp_path).adversary == AdversaryConfig(weight=0.5, start=1, width=4)
    assert ["discriminator" in line for line in logged(tmp_path)] == [False, True, True]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_ends_the_command_with_a_checkpoint(name: str, tmp_path: Path) -> None:
    write_toy_folder(tmp_path / "toys", 8, 32, 0)
    out = tmp_path / "run"
    command = [sys.executable, "-m", "vqcodec.cli.main", "train", "stage1", "--device", "cpu", "--no-tensorboard"]
    command += ["--data", str(tmp_path / "toys"), "--out", str(out)]
    first = [*command, "--preset", "tiny", "--codebook-size", "4", "--batch-size", "2"]
    with subprocess.Popen(first, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not ((out / "log.jsonl").exists() and logged(out)):
            time.sleep(0.05)
        process.send_signal(getattr(signal, name))
        _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + getattr(signal, name), said
    steps = load_checkpoint(checkpoints(out)[-1])["step"]
    assert said == f"stopped by {name} after {steps} steps; go on with --resume\n"
    assert len(logged(out)) == steps
    result = CliRunner().invoke(main, [*command[3:], "--resume", "--until", str(steps + 1)])
    assert result.exit_code == 0, result.output
    assert load_checkpoint(checkpoints(out)[-1])["step"] == steps + 1


def test_presets_are_listed_and_shown() -> None:
    listed = CliRunner().invoke(main, ["train", "presets"])
    assert [line.split()[0] for line in listed.output.splitlines()] == list(presets.PRESETS)
    shown = CliRunner().invoke(main, ["train", "presets", "vqvae"])
    assert json.loads(shown.output) == json.loads(json.dumps(presets.PRESETS["vqvae"].to_dict()))
    unknown = CliRunner().invoke(main, ["train", "presets", "magic"])
    assert unknown.exit_code == 2
    assert "preset magic: there are photo, photo-5, tiny" in unknown.output


def test_options_and_settings_change_the_preset(train: Any, tmp_path: Path) -> None:
    options = [
        "--preset",
        "tiny",
        "--factor",
        8,
        "--codebook-size",
        4,
        "--accumulate",
        2,
        "--set",
        "training.warmup_steps=1",
    ]
    assert train(*FIRST[:4], "--crop-size", 32, *options).exit_code == 0
    recipe = recipe_of(load_checkpoint(checkpoints(tmp_path)[-1]))
    assert recipe.model.downsampling_factor == 8
    assert recipe.model.quantizer.codebook_sizes == (4,)
    assert (recipe.training.accumulate, recipe.training.warmup_steps, recipe.training.crop.size) == (2, 1, 32)


def test_wrong_usage(train: Any) -> None:
    for options, said in (
        (["--set", "training.stepz=1"], "there is no stepz"),
        (["--factor", 3], "take 1, 2, 4, 8, 16 or 32"),
        (["--codebook-size", 1], "2 to 262144"),
        (["--preset", "magic"], "preset magic: there are"),
        (["--decoder-only"], "(--hold, --decoder-only): give --init"),
        (["--hold", "codebooks"], "(--hold, --decoder-only): give --init"),
        (["--set", "training.held=codebooks"], "(--hold, --decoder-only): give --init"),
    ):
        result = train(*options)
        assert result.exit_code == 2, result.output
        assert said in result.output


def test_perceptual_losses_need_their_weights(pictures: Path, tmp_path: Path) -> None:
    given = ["train", "stage1", "--data", str(pictures), "--out", str(tmp_path), "--device", "cpu"]
    result = CliRunner().invoke(main, given)
    assert result.exit_code == 1
    assert result.stderr == (
        "error: perceptual losses and a discriminator on features need --perceptual-weights; give --no-perceptual to "
        "train without them\n"
    )
    quick = ["--no-perceptual", "--steps", "1", "--batch-size", "2", "--crop-size", "48"]
    assert CliRunner().invoke(main, [*given, *quick]).exit_code == 0


def test_toys_are_drawn_once(tmp_path: Path) -> None:
    command = ["train", "toys", str(tmp_path / "toys"), "--count", "9", "--side", "16"]
    first = CliRunner().invoke(main, command)
    assert first.exit_code == 0, first.output
    assert first.output.endswith("toys: 9 pictures of 16 x 16 pixels\n")
    assert len(list((tmp_path / "toys").rglob("*.png"))) == 9
    second = CliRunner().invoke(main, command)
    assert second.exit_code == 1
    assert "holds files already" in second.stderr
