"""Training of stage 1 on a tiny model: it learns, resumes to the bit, and survives what goes wrong."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stage1_helpers import CONFIG, MODEL, Trainers, assert_same_checkpoint
from torch import Tensor, nn

from vqcodec.models.config import AutoencoderConfig, HierarchicalConfig, QuantizerConfig
from vqcodec.training.common.checkpoint import CheckpointError, checkpoints, load_checkpoint, newest_checkpoint
from vqcodec.training.common.interruption import stop_on_signals
from vqcodec.training.common.loop import TrainingError
from vqcodec.training.data.crops import CropConfig
from vqcodec.training.data.pictures import PictureSet
from vqcodec.training.stage1 import trainer as stage1_module
from vqcodec.training.stage1.discriminator import AdversaryConfig, adaptive_weight, adversarial_losses
from vqcodec.training.stage1.losses import Compared, LossWeights
from vqcodec.training.stage1.recipe import Stage1Config, Stage1Recipe, recipe_of
from vqcodec.training.stage1.trainer import Stage1Trainer

# ---- learning ----


def test_the_loss_falls(trainer: Trainers) -> None:
    history: list[dict[str, float]] = []
    made = trainer(
        steps=40,
        batch_size=4,
        crop=CropConfig(size=40, resized=0),
        learning_rate=3e-3,
        level_shares=(0, 1),
        weights=LossWeights(l1=3.0, lpips_alex=0.2, lpips_vgg=0.2, colour=0, vgg_crop_size=32),
        adversary=AdversaryConfig(weight=0.0),
    )
    made.run(report=lambda step, values: history.append(values))
    assert len(history) == 40
    for name in ("l1", "lpips_alex"):
        first, last = (np.mean([values[name] for values in part]) for part in (history[:10], history[-10:]))
        assert last < 0.93 * first, name
    names = {
        "l1",
        "lpips_alex",
        "lpips_vgg",
        "commitment",
        "codebook",
        "gradient_norm",
        "skipped",
        *(f"{name}_{level}" for name in ("usage", "perplexity", "dead") for level in (1, 2)),
        "seconds",
    }
    assert set(history[-1]) == names
    assert all(np.isfinite(list(values.values())).all() for values in history)


def test_dead_codes_are_revived_now_and_then(trainer: Trainers) -> None:
    history: list[dict[str, float]] = []
    trainer(revival_interval=2).run(report=lambda step, values: history.append(values))
    assert [step for step, values in enumerate(history) if "revived" in values] in ([2, 4], [0, 2, 4])


def test_the_schedule_of_the_learning_rate() -> None:
    config = Stage1Config(steps=100, warmup_steps=10, decay_share=0.2, learning_rate=1.0)
    rates = [config.learning_rate_at(step) for step in range(100)]
    assert rates[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert rates[10:81] == [1.0] * 71
    assert rates[80:] == pytest.approx([(100 - step) / 20 for step in range(80, 100)])
    assert replace(config, warmup_steps=0, decay_share=0.0).learning_rate_at(99) == 1.0


def test_the_optimiser_follows_the_schedule(trainer: Trainers) -> None:
    made = trainer()
    seen: list[float] = []
    made.run(report=lambda step, values: seen.append(made.optimizer.param_groups[0]["lr"]))
    assert seen == [made.config.learning_rate_at(step) for step in range(6)]


# ---- the discriminator ----


def test_the_discriminator_takes_part_from_its_start_on(trainer: Trainers) -> None:
    history: list[dict[str, float]] = []
    made = trainer()
    adversary = made.losses.adversary
    assert adversary is not None
    before = [value.clone() for value in adversary.network.parameters()]
    made.run(until=3, report=lambda step, values: history.append(values))
    assert all(torch.equal(a, b) for a, b in zip(before, adversary.network.parameters(), strict=True))
    made.run(report=lambda step, values: history.append(values))
    assert not all(torch.equal(a, b) for a, b in zip(before, adversary.network.parameters(), strict=True))
    assert ["discriminator" in values for values in history] == [False] * 3 + [True] * 3
    assert all({"adversarial", "adaptive_weight", "logits_real", "logits_made"} <= set(v) for v in history[3:])
    assert trainer("without", adversary=AdversaryConfig(weight=0.0)).losses.adversary is None


def test_the_gradient_is_that_of_the_whole_loss_at_once(trainer: Trainers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Esser et al., 2021, equations 6 and 7, in one backward pass through everything."""
    made = trainer(adversary=AdversaryConfig(start=0, width=4), gradient_clip=1e9)
    made.run(until=2)
    batch = made.batches(2)
    generator = torch.Generator().manual_seed(CONFIG.seed * 1_000_003 + 2)
    images = made._to_device(batch)
    levels = (
        torch.multinomial(torch.tensor(CONFIG.level_shares), len(images), replacement=True, generator=generator) + 1
    )
    state = {name: value.clone() for name, value in made.model.state_dict().items()}
    adversary = made.losses.adversary
    assert adversary is not None
    adversary.network.eval()  # no power iteration, which would go on between the two passes
    output = made.model(images, levels)
    terms = made.losses.loss(images, output.reconstruction, levels, generator).terms
    reconstruction = sum(made.losses._weight(name, 2) * value for name, value in terms.items())
    adversarial = adversarial_losses(adversary.network(output.reconstruction)).mean()
    last = made.model.last_layer.weight
    norms = [torch.autograd.grad(loss, last, retain_graph=True)[0] for loss in (reconstruction, adversarial)]
    quantization = output.quantization
    total = reconstruction + 0.8 * adaptive_weight(norms[0], norms[1]) * adversarial
    total = total + 0.1 * (quantization.commitment_loss + quantization.codebook_loss)
    parameters = dict(made.model.named_parameters())
    expected = dict(zip(parameters, torch.autograd.grad(total, list(parameters.values())), strict=True))

    made.model.load_state_dict(state)
    monkeypatch.setattr(made.optimizer, "step", lambda: None)
    made.train_step(batch)
    for name, parameter in parameters.items():
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-4, atol=1e-6, msg=name)


# ---- resuming ----


@pytest.mark.parametrize(("first", "dtype"), [(1, torch.float32), (4, torch.float32), (4, torch.bfloat16)])
def test_resuming_gives_the_same_bits(
    trainer: Trainers, first: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage1_module, "fast_dtype", lambda device: dtype)
    whole = trainer("whole")
    whole.run()
    part = trainer("parts")
    part.run(until=first)
    assert part.step == first
    rest = trainer("parts")
    rest.resume()
    assert rest.step == first
    rest.run()
    assert_same_checkpoint(checkpoints(whole.out)[-1], checkpoints(rest.out)[-1])


def test_resuming_with_a_discriminator_on_features_gives_the_same_bits(trainer: Trainers) -> None:
    """And with what follows earlier steps: the adaptive weight, and the quantile that gradients are clipped at."""
    changes = {
        "adversary": AdversaryConfig(start=1, kind="features", width=4, weight_interval=2, by_level=(1.0, 0.5)),
        "clip_quantile": 0.5,
        "betas": (0.8, 0.9),
    }
    whole, part, rest = (trainer(out, **changes) for out in ("whole", "parts", "parts"))
    whole.run(until=4)
    part.run(until=2)
    rest.resume()
    rest.run(until=4)
    assert_same_checkpoint(checkpoints(whole.out)[-1], checkpoints(rest.out)[-1])
    assert rest.losses.adversary is not None
    assert (rest.losses.adversary.network.get_buffer("scales") > 0).all()


def test_a_branch_goes_on_from_another_run_with_a_falling_rate(trainer: Trainers) -> None:
    trunk = trainer("trunk", decay_share=0.0)
    trunk.run(until=3)
    branch = trainer("branch", decay_from=3, steps=7)
    branch.branch_off(checkpoints(trunk.out)[-1])
    assert branch.step == 3
    assert all(map(torch.equal, branch.model.parameters(), trunk.model.parameters()))
    rates: list[float] = []
    branch.run(report=lambda step, values: rates.append(branch.optimizer.param_groups[0]["lr"]))
    assert rates == pytest.approx([branch.config.learning_rate * share for share in (1, 0.75, 0.5, 0.25)])
    assert checkpoints(branch.out)[-1].name == "checkpoint-00000007.pt"


def test_crops_on_the_device_train_as_those_of_the_host(
    pictures: Path, perceptual_weights: Path, tmp_path: Path
) -> None:
    """Crops that are not resized are the same to the bit."""
    recipe = Stage1Recipe(MODEL, replace(CONFIG, precision="float32", crop=CropConfig(size=40, resized=0.0)))
    host, device = (
        Stage1Trainer(
            recipe,
            PictureSet([pictures]),
            tmp_path / str(on_device),
            perceptual_weights=perceptual_weights,
            device="cpu",
            device_crops=on_device,
        )
        for on_device in (False, True)
    )
    for made in (host, device):
        made.run(until=3)
    assert_same_checkpoint(checkpoints(host.out)[-1], checkpoints(device.out)[-1])


def test_a_resumed_run_takes_other_settings_of_its_optimiser(trainer: Trainers) -> None:
    trainer("run").run(until=1)
    rest = trainer("run", betas=(0.5, 0.6), weight_decay=0.3)
    rest.resume()
    assert {(group["betas"], group["weight_decay"]) for group in rest.optimizer.param_groups} == {((0.5, 0.6), 0.3)}


def test_a_hierarchical_model_trains_and_resumes(trainer: Trainers) -> None:
    networks = HierarchicalConfig(patch=2, widths=(4, 6, 8), latent_channels=(9, 7), laps=(4, 2))
    quantizer = QuantizerConfig((16, 8), 4, lookup="euclidean", level_strides=(2, 1))
    model = AutoencoderConfig(networks, quantizer)
    whole, part, rest = (trainer(out, model=model) for out in ("whole", "parts", "parts"))
    history: list[dict[str, float]] = []
    whole.run(report=lambda step, values: history.append(values))
    part.run(until=4)
    rest.resume()
    rest.run()
    assert_same_checkpoint(checkpoints(whole.out)[-1], checkpoints(rest.out)[-1])
    assert {"usage_1", "usage_2", "dead_2", "discriminator"} <= set(history[-1])


def test_resuming_before_the_first_step_is_starting(trainer: Trainers) -> None:
    whole, part = trainer("whole"), trainer("parts")
    whole.run(until=2)
    part.save()
    rest = trainer("parts")
    rest.resume()
    rest.run(until=2)
    assert_same_checkpoint(checkpoints(whole.out)[-1], checkpoints(rest.out)[-1])


def test_checkpoints_on_the_way_change_nothing(trainer: Trainers) -> None:
    quiet, busy = trainer("quiet"), trainer("busy")
    quiet.run()
    busy.run(checkpoint_every=2)
    assert [path.name for path in checkpoints(busy.out)] == ["checkpoint-00000004.pt", "checkpoint-00000006.pt"]
    assert_same_checkpoint(checkpoints(quiet.out)[-1], checkpoints(busy.out)[-1])


def test_an_interrupted_run_leaves_a_checkpoint(trainer: Trainers) -> None:
    def interrupt(step: int, values: dict[str, float]) -> None:
        if step == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    made = trainer()
    with stop_on_signals() as stop:
        made.run(report=interrupt, stop=stop)
    assert (stop.requested, made.step) == ("SIGTERM", 3)
    assert load_checkpoint(checkpoints(made.out)[-1])["step"] == 3
    whole, rest = trainer("whole"), trainer()
    whole.run()
    rest.resume()
    rest.run()
    assert_same_checkpoint(checkpoints(whole.out)[-1], checkpoints(rest.out)[-1])


def test_the_settings_survive_the_checkpoint(trainer: Trainers) -> None:
    made = trainer()
    made.save()
    assert recipe_of(load_checkpoint(newest_checkpoint(made.out))) == Stage1Recipe(MODEL, made.config)


def test_another_model_cannot_resume(trainer: Trainers) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint there to resume from"):
        trainer().resume()
    trainer().save()
    other = trainer(model=replace(MODEL, networks=replace(MODEL.networks, latent_channels=16)))
    with pytest.raises(CheckpointError, match=r"checkpoint-00000000\.pt: made with another model configuration"):
        other.resume()


def test_another_discriminator_cannot_resume(trainer: Trainers) -> None:
    trainer(adversary=AdversaryConfig(start=0, width=4)).save()
    with pytest.raises(CheckpointError, match="a discriminator of kind patch and width 4: leave"):
        trainer(adversary=AdversaryConfig(start=0, width=8)).resume()


def test_codebooks_are_not_held_or_released_on_the_way(trainer: Trainers) -> None:
    trainer("free").save()
    trainer("held", held=("codebooks",)).save()
    for name, held in (("free", ("codebooks",)), ("held", ())):
        with pytest.raises(CheckpointError, match="codebooks are held from the first step on or not at all"):
            trainer(name, held=held).resume()
    trainer("free", held=("encoder",)).resume()
    trainer("held", held=("codebooks", "encoder")).resume()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"level_shares": (1.0,)}, "1 level shares for 2 levels; change training.level_shares"),
        ({"adversary": AdversaryConfig(by_level=(1.0,))}, "training.adversary.by_level has 1 factors for 2 levels"),
        (
            {"weights": LossWeights(distortion_by_level=(1.0, 2.0, 3.0))},
            "distortion_by_level has 3 factors for 2 levels",
        ),
        ({"crop": CropConfig(size=44)}, "crops of 44 pixels: take a multiple of 8"),
        (
            {"crop": CropConfig(size=16), "weights": LossWeights(border_jump=1).without_networks()},
            "crops of 16 pixels: take a multiple of 8 from 32 on",
        ),
        ({"crop": CropConfig(size=32)}, "crops of 32 pixels"),
        ({"held": ("decoder",)}, "a held Decoder learns nothing of a discriminator"),
    ],
)
def test_settings_that_cannot_be(trainer: Trainers, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        trainer(**changes)


# ---- gradients that are not finite ----


class Spoilt(nn.Module):
    """A loss that is not finite at some calls."""

    def __init__(self, loss: nn.Module, spoilt: Callable[[int], bool]) -> None:
        super().__init__()
        self.loss, self.spoilt, self.calls = loss, spoilt, 0

    def forward(self, *given: Any) -> Compared:
        compared: Compared = self.loss(*given)
        if self.spoilt(self.calls):
            compared.terms["l1"] = compared.terms["l1"] * float("nan")
        self.calls += 1
        return compared


def test_a_step_without_a_finite_gradient_is_skipped(trainer: Trainers) -> None:
    made = trainer()
    made.losses.loss = Spoilt(made.losses.loss, lambda call: call == 2)
    snapshots: list[dict[str, Tensor]] = []
    skipped: list[float] = []

    def watch(step: int, values: dict[str, float]) -> None:
        skipped.append(values["skipped"])
        snapshots.append({name: value.detach().clone() for name, value in made.model.named_parameters()})

    made.run(report=watch)
    changed = [any(not torch.equal(a[name], b[name]) for name in a) for a, b in pairwise(snapshots)]
    assert changed == [True, False, True, True, True]
    assert skipped == [0, 0, 1, 1, 1, 1]
    assert all(torch.isfinite(value).all() for value in made.model.state_dict().values())


def test_a_step_that_is_skipped_leaves_the_discriminator_nothing(trainer: Trainers) -> None:
    made = trainer(adversary=AdversaryConfig(start=0, width=4, weight_interval=4))
    made.losses.loss = Spoilt(made.losses.loss, lambda call: call in (0, 2))
    weights: list[float] = []
    gradients: list[bool] = []
    adversary = made.losses.adversary
    assert adversary is not None

    def watch(step: int, values: dict[str, float]) -> None:
        weights.append(values["adaptive_weight"])
        gradients.append(any(parameter.grad is not None for parameter in adversary.network.parameters()))
        made.losses.forget()
        assert all(parameter.grad is None for parameter in adversary.network.parameters())

    made.run(report=watch)
    assert gradients[0]  # of the skipped step
    assert weights[0] == 0 < weights[1]  # the first that is a number, not one that creeps up from 0
    assert weights[1] == weights[2] == weights[3]


def test_ten_such_steps_in_a_row_end_the_run(trainer: Trainers) -> None:
    made = trainer(steps=40)
    made.losses.loss = Spoilt(made.losses.loss, lambda call: call not in (0, 9))
    with pytest.raises(TrainingError, match="step 19: ten steps in a row gave no finite gradient"):
        made.run()
    assert all(torch.isfinite(value).all() for value in made.model.state_dict().values())
