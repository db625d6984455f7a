"""Training of a context network on hand-made tokens: it learns, resumes to the bit, and says what does not fit."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from context_helpers import random_network
from integer_helpers import frequencies
from stage1_helpers import Trainers, assert_same_checkpoint
from stage2_helpers import ABOUT, RowTokens, weights_of

from vqcodec.bitstream import TokenGrid
from vqcodec.codec import Codec
from vqcodec.prior.context import ContextModel
from vqcodec.prior.context_config import ContextConfig, context_config
from vqcodec.training.common.checkpoint import CheckpointError, checkpoints, load_checkpoint, newest_checkpoint
from vqcodec.training.common.loop import TrainingError
from vqcodec.training.data.pictures import ArrayPictures
from vqcodec.training.stage2.context_export import context_arrays
from vqcodec.training.stage2.context_recipe import ContextRecipe, ContextTraining
from vqcodec.training.stage2.context_trainer import ContextTrainer, context_recipe_of, is_context
from vqcodec.training.stage2.context_validation import ContextValidation, context_figures
from vqcodec.training.stage2.crop_tokens import TokenBatch

MODEL = ContextConfig((8, 6), (16, 16), channels=12, token_width=6, hidden=16)
CONFIG = ContextTraining(steps=6, batch_size=4, learning_rate=0.02, warmup_steps=2)


@pytest.fixture
def make(tmp_path: Path) -> Any:
    """Makes a trainer in a folder of this test, with some settings of CONFIG changed."""

    def context_trainer(out: str = "run", model: ContextConfig = MODEL, **changes: Any) -> ContextTrainer:
        config = replace(CONFIG, **changes)
        source = RowTokens(config.batch_size)
        return ContextTrainer(ContextRecipe(model, config), source, tmp_path / out, about=ABOUT, device="cpu")

    return context_trainer


# ---- learning ----


def test_predictable_tokens_cost_few_bits_in_whole_numbers_too(make: Any) -> None:
    """Every row of the first level has one token: three of its four columns are told it; the second level follows."""
    history: list[dict[str, float]] = []
    made = make(steps=150, batch_size=16, learning_rate=0.03)
    made.run(report=lambda step, values: history.append(values))
    assert set(history[0]) == {"bits_1", "bits_2", "gradient_norm", "skipped", "seconds"}
    assert (history[0]["bits_1"], history[0]["bits_2"]) == pytest.approx((3, math.log2(6)), abs=1e-5)
    assert history[-1]["bits_1"] < 2.2
    assert history[-1]["bits_2"] < 0.3
    held_out = RowTokens(1)(99).levels
    model = ContextModel(MODEL, context_arrays(made.average))
    pyramid = tuple(TokenGrid(grid[0].numpy(), size) for grid, size in zip(held_out, (8, 6), strict=True))
    chances = frequencies(model, pyramid, 1)[np.arange(12), pyramid[1].indices.reshape(-1)] / 2**24
    assert -np.log2(chances).mean() < 0.4


def test_a_batch_in_parts_has_the_same_gradients(make: Any) -> None:
    whole, parts = make("whole"), make("parts", accumulate=2)
    for each in (whole, parts):
        for weight, known in zip(each.model.parameters(), random_network(MODEL).parameters(), strict=True):
            weight.data.copy_(known)
        each.train_step(RowTokens(4)(0))
    for left, right in zip(whole.model.parameters(), parts.model.parameters(), strict=True):
        assert left.grad is not None
        assert right.grad is not None
        torch.testing.assert_close(left.grad, right.grad, rtol=1e-4, atol=1e-6)
    assert sum(float(each.grad.abs().max() > 0) for each in whole.model.parameters()) > 0.9 * len(
        list(whole.model.parameters())
    )


def test_only_covered_levels_are_learned(make: Any) -> None:
    made = make(model=replace(MODEL, first=1))
    assert set(made.train_step(RowTokens(4)(0))) == {"bits_2", "gradient_norm", "skipped"}


def test_the_average_follows_the_weights(make: Any) -> None:
    made = make(ema_decay=0.3)
    expected = weights_of(made.model)

    def watch(step: int, values: dict[str, float]) -> None:
        decay = min(0.3, (1 + step) / (10 + step))
        for name, value in made.model.named_parameters():
            expected[name] = decay * expected[name] + (1 - decay) * value.detach()

    made.run(report=watch)
    for name, value in made.average.named_parameters():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-6)


def test_a_step_without_a_finite_gradient_is_skipped(make: Any) -> None:
    made = make()
    before = weights_of(made.model)
    made.model.level(0).codes.bias.data[0] = torch.nan
    values = made.train_step(RowTokens(4)(0))
    assert values["skipped"] == 1
    assert torch.equal(made.model.level(1).inner.weight, before["levels.1.inner.weight"])


# ---- checkpoints ----


def test_resuming_gives_the_same_bits(make: Any) -> None:
    whole, part, rest = make("whole"), make("parts"), make("parts")
    whole.run()
    part.run(until=3)
    rest.resume()
    assert rest.step == 3
    rest.run()
    left, right = checkpoints(whole.out)[-1], checkpoints(rest.out)[-1]
    assert left.name == right.name == "checkpoint-00000006.pt"
    assert_same_checkpoint(left, right)


def test_the_settings_survive_the_checkpoint(make: Any) -> None:
    made = make()
    made.save()
    path = newest_checkpoint(made.out)
    state = load_checkpoint(path)
    assert is_context(state)
    assert context_recipe_of(path, state) == made.recipe == ContextRecipe(MODEL, CONFIG)
    assert json.loads(json.dumps(made.recipe.to_dict()))["model"] == MODEL.to_dict()
    with pytest.raises(CheckpointError, match="not a checkpoint of a context network of this version"):
        context_recipe_of(path, state | {"config": {"unknown": 1}})


def test_a_run_of_another_network_cannot_resume(make: Any) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint there to resume from"):
        make().resume()
    make().save()
    with pytest.raises(CheckpointError, match="made with another configuration of the network; use another --out"):
        make(model=replace(MODEL, hidden=9)).resume()
    other = make()
    other.about = ABOUT | {"model_id": "cd" * 8}
    with pytest.raises(CheckpointError, match="has learned the tokens of some; give this model with --model"):
        other.resume()


def test_a_resumed_run_takes_another_decay_of_weights(make: Any) -> None:
    make().save()
    resumed = make(weight_decay=0.5)
    resumed.resume()
    assert {group["weight_decay"] for group in resumed.optimizer.param_groups} == {0.5}


def test_a_checkpoint_of_stage_1_is_named(trainer: Trainers, make: Any) -> None:
    trainer().save()
    with pytest.raises(CheckpointError, match="not a checkpoint of a context network"):
        make().resume()


def test_settings_that_cannot_be(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for changes, message in (
        ({"batch_size": 3, "accumulate": 2}, "a batch of 3 cannot be cut into 2 equal parts"),
        ({"steps": 0}, "steps, batch_size and accumulate are 1 or more"),
    ):
        with pytest.raises(ValueError, match=message):
            make(**changes)
    monkeypatch.setattr("vqcodec.training.stage2.context_trainer.process_count", lambda: 3)
    with pytest.raises(TrainingError, match="a batch of 4 cannot be shared by 3 processes in 1 parts each"):
        make()


# ---- validation ----


def test_the_figures_are_means_over_central_crops(hierarchical_model: Path, tmp_path: Path) -> None:
    codec = Codec.load(hierarchical_model, device="cpu", dtype=torch.float32)
    pixels = np.random.default_rng(5).integers(256, size=(3, 40, 50, 3), dtype=np.uint8)
    network = random_network(context_config(codec.card.autoencoder, first=1, channels=12, token_width=4, hidden=10))
    validation = ContextValidation(ArrayPictures(pixels), codec, tmp_path, levels=4, crop_size=32)
    values = validation.run(network, 7).values
    central = torch.from_numpy(pixels[:, 4:36, 9:41]).permute(0, 3, 1, 2) / 127.5 - 1
    tokens = codec.tokenize(central)
    for level in (1, 2, 3):
        bits = float(network.nats(tokens, level).mean()) / math.log(2)
        table = np.array(codec.card.static_frequencies[level]) / 2**24
        assert values[f"bits_{level + 1}"] == pytest.approx(bits, rel=1e-5)
        assert values[f"saved_{level + 1}"] == pytest.approx(1 - bits / 3, abs=1e-5)
        assert values[f"static_{level + 1}"] == pytest.approx(-np.log2(table[tokens[level].numpy()]).mean())
    assert len(values) == 9
    assert json.loads((tmp_path / "validation.jsonl").read_text()) == {"step": 7} | values


def test_pictures_go_through_in_batches() -> None:
    network = random_network(MODEL)
    batch: TokenBatch = RowTokens(5)(3)
    assert context_figures(network, batch.levels, batch_size=2) == pytest.approx(
        context_figures(network, batch.levels), rel=1e-5
    )
