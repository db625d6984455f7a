"""Training of stage 1 on a tiny model: it learns, resumes to the bit, and survives what goes wrong."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from vqcodec.codec import Codec
from vqcodec.models.config import AutoencoderConfig
from vqcodec.perceptual import LPIPS
from vqcodec.training import stage1 as stage1_module
from vqcodec.training.checkpoint import CheckpointError, checkpoints, load_checkpoint, save_checkpoint
from vqcodec.training.data import CropConfig, DataError, PictureSet
from vqcodec.training.export import export_model
from vqcodec.training.losses import LossWeights
from vqcodec.training.stage1 import Stage1Config, Stage1Trainer, TrainingError
from vqcodec.training.validation import Validation

MODEL = AutoencoderConfig(
    patch=4,
    encoder_widths=(8, 16),
    encoder_depths=(1, 1),
    encoder_hidden=(1.0, 1.0),
    decoder_widths=(8, 16),
    decoder_depths=(1, 1),
    decoder_hidden=(1.0, 1.0),
    latent_channels=12,
    codebook_sizes=(16, 8),
    code_dimension=4,
)
CONFIG = Stage1Config(
    steps=6,
    batch_size=2,
    crop=CropConfig(size=40),
    learning_rate=2e-3,
    warmup_steps=2,
    level_shares=(1.0, 1.0),
    weights=LossWeights(vgg_crops=1, vgg_crop_size=16),
    perceptual_rise_steps=2,
)


@pytest.fixture(autouse=True)
def _one_seed_for_all() -> Iterator[None]:
    """A trainer seeds torch; the other tests need not notice."""
    with torch.random.fork_rng(devices=[]):
        yield


@pytest.fixture
def trainer(
    pictures: Path, perceptual_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Stage1Trainer]:
    """Makes a trainer in a folder of this test, with some settings of CONFIG changed."""
    monkeypatch.setattr(stage1_module, "fast_dtype", lambda device: torch.float32)

    def make(out: str = "run", model: AutoencoderConfig = MODEL, **changes: Any) -> Stage1Trainer:
        return Stage1Trainer(
            model,
            replace(CONFIG, **changes),
            PictureSet([pictures]),
            tmp_path / out,
            perceptual_weights=perceptual_weights,
            device="cpu",
        )

    return make


Trainers = Callable[..., Stage1Trainer]


def leaves(value: Any, name: str = "") -> dict[str, Any]:
    """Everything in a checkpoint that holds nothing else, by path."""
    if isinstance(value, dict):
        value = list(value.items())
    elif isinstance(value, (list, tuple)):
        value = list(enumerate(value))
    else:
        return {name: value}
    return {key: found for inner, part in value for key, found in leaves(part, f"{name}.{inner}").items()}


def assert_same_checkpoint(left: Path, right: Path) -> None:
    a, b = leaves(load_checkpoint(left)), leaves(load_checkpoint(right))
    assert a.keys() == b.keys()
    assert sum(isinstance(value, Tensor) for value in a.values()) > 100
    for name, value in a.items():
        assert torch.equal(value, b[name]) if isinstance(value, Tensor) else value == b[name], name


# ---- learning ----


def test_the_loss_falls(trainer: Trainers) -> None:
    history: list[dict[str, float]] = []
    made = trainer(
        steps=40,
        batch_size=4,
        crop=CropConfig(size=40, resized=0),
        learning_rate=3e-3,
        level_shares=(0.0, 1.0),
        weights=LossWeights(lpips_alex=0.2, lpips_vgg=0.2, vgg_crop_size=32),
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
        "usage_1",
        "usage_2",
        "seconds",
    }
    assert set(history[-1]) == names
    assert all(np.isfinite(list(values.values())).all() for values in history)


def test_dead_codes_are_revived_now_and_then(trainer: Trainers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage1_module, "_REVIVAL_INTERVAL", 2)
    history: list[dict[str, float]] = []
    trainer().run(report=lambda step, values: history.append(values))
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


# ---- resuming ----


@pytest.mark.parametrize(("first", "dtype"), [(1, torch.float32), (3, torch.float32), (3, torch.bfloat16)])
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
            raise KeyboardInterrupt

    made = trainer()
    with pytest.raises(KeyboardInterrupt):
        made.run(report=interrupt)
    assert load_checkpoint(checkpoints(made.out)[-1])["step"] == 3
    whole, rest = trainer("whole"), trainer()
    whole.run()
    rest.resume()
    rest.run()
    assert_same_checkpoint(checkpoints(whole.out)[-1], checkpoints(rest.out)[-1])


def test_the_settings_survive_the_checkpoint(trainer: Trainers) -> None:
    made = trainer()
    state = load_checkpoint(made.save())
    assert Stage1Config.from_dict(state["config"]) == made.config
    assert AutoencoderConfig.from_dict(state["model_config"]) == MODEL


def test_another_model_cannot_resume(trainer: Trainers) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint there to resume from"):
        trainer().resume()
    path = trainer().save()
    other = trainer(model=replace(MODEL, latent_channels=16))
    with pytest.raises(CheckpointError, match=f"{path.name}: made with another model configuration"):
        other.resume()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"level_shares": (1.0,)}, ValueError, "1 level shares for 2 levels"),
        ({"crop": CropConfig(size=44)}, TrainingError, "crops of 44 pixels: take a multiple of 8"),
        ({"crop": CropConfig(size=32)}, TrainingError, "crops of 32 pixels"),
    ],
)
def test_settings_that_cannot_be(
    trainer: Trainers, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        trainer(**changes)


# ---- gradients that are not finite ----


class Spoilt(nn.Module):
    """A loss that is not finite at some calls."""

    def __init__(self, loss: nn.Module, spoilt: Callable[[int], bool]) -> None:
        super().__init__()
        self.loss, self.spoilt, self.calls = loss, spoilt, 0

    def forward(self, *given: Any) -> dict[str, Tensor]:
        terms: dict[str, Tensor] = self.loss(*given)
        if self.spoilt(self.calls):
            terms["l1"] = terms["l1"] * float("nan")
        self.calls += 1
        return terms


def test_a_step_without_a_finite_gradient_is_skipped(trainer: Trainers) -> None:
    made = trainer()
    made.loss = Spoilt(made.loss, lambda call: call == 2)  # type: ignore[assignment]
    snapshots: list[dict[str, Tensor]] = []
    made.run(report=lambda *_: snapshots.append({n: p.detach().clone() for n, p in made.model.named_parameters()}))
    changed = [any(not torch.equal(a[name], b[name]) for name in a) for a, b in pairwise(snapshots)]
    assert changed == [True, False, True, True, True]
    assert all(torch.isfinite(value).all() for value in made.model.state_dict().values())


def test_ten_such_steps_in_a_row_end_the_run(trainer: Trainers) -> None:
    made = trainer(steps=40)
    made.loss = Spoilt(made.loss, lambda call: call not in (0, 9))  # type: ignore[assignment]
    with pytest.raises(TrainingError, match="step 19: ten steps in a row gave no finite gradient"):
        made.run()
    assert all(torch.isfinite(value).all() for value in made.model.state_dict().values())


# ---- validation ----


def test_validation_writes_a_line_and_a_picture(trainer: Trainers, pictures: Path, perceptual_weights: Path) -> None:
    made = trainer()
    validation = Validation(PictureSet([pictures]), made.out, LPIPS(perceptual_weights), crop_size=64, shown=2)
    made.run(checkpoint_every=3, validation=validation)
    lines = [json.loads(line) for line in (made.out / "validation.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [3, 6]
    assert set(lines[0]) == {"step", "psnr_db_1", "psnr_db_2", "lpips_1", "lpips_2"}
    with Image.open(made.out / "previews" / "00000006.png") as sheet:
        assert sheet.size == (3 * 64, 2 * 64)
        with Image.open(pictures / "0.png") as original:
            left, top = (96 - 64) // 2, (80 - 64) // 2
            crop = np.asarray(original)[top : top + 64, left : left + 64]
        assert np.abs(np.asarray(sheet)[:64, :64].astype(int) - crop).max() <= 1


def test_validation_does_not_change_the_run(trainer: Trainers, pictures: Path, perceptual_weights: Path) -> None:
    quiet, watched = trainer("quiet"), trainer("watched")
    quiet.run()
    validation = Validation(PictureSet([pictures]), watched.out, LPIPS(perceptual_weights), crop_size=64)
    watched.run(checkpoint_every=2, validation=validation)
    assert_same_checkpoint(checkpoints(quiet.out)[-1], checkpoints(watched.out)[-1])


def test_validation_pictures_may_be_too_small(pictures: Path, perceptual_weights: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no validation picture has both sides of 192 pixels"):
        Validation(PictureSet([pictures]), tmp_path, LPIPS(perceptual_weights))


# ---- export ----


def export(checkpoint: Path, folder: Path, pictures: Path) -> None:
    export_model(
        checkpoint,
        folder,
        name="small",
        pictures=PictureSet([pictures]),
        picture_count=2,
        description="four generated pictures",
        licence="CC0-1.0",
    )


def test_an_exported_model_encodes_and_decodes(trainer: Trainers, pictures: Path, tmp_path: Path) -> None:
    made = trainer()
    made.run()
    export(checkpoints(made.out)[-1], tmp_path / "models" / "small", pictures)
    assert {path.name for path in (tmp_path / "models").rglob("*")} == {"small", "card.json", "stage1.safetensors"}
    codec = Codec.load(tmp_path / "models" / "small", device="cpu", dtype=torch.float32)
    card = codec.card
    assert (card.name, card.licence, card.autoencoder) == ("small", "CC0-1.0", MODEL)
    assert (card.training["data"], card.training["steps"]) == ("four generated pictures", 6)
    assert [len(table) for table in card.static_frequencies] == [16, 8]
    assert {sum(table) for table in card.static_frequencies} == {2**24}
    stream = codec.encode(pictures / "0.png")
    decoded = codec.decode(stream)
    assert decoded.size == (96, 80)
    assert len(stream) <= len(codec.encode(pictures / "0.png", entropy="uniform"))
    # float16 weights make nearly the same picture as the averaged network of the run
    images = torch.from_numpy(np.array(Image.open(pictures / "0.png"))).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.no_grad():
        expected = made.average.detokenize(codec.tokenize(images))
    torch.testing.assert_close(codec.detokenize(codec.tokenize(images)), expected, rtol=0, atol=0.02)


def test_export_of_something_else(pictures: Path, tmp_path: Path) -> None:
    other = save_checkpoint(tmp_path, 3, {"weights": torch.zeros(3)})
    with pytest.raises(CheckpointError, match=f"{other.name}: not a checkpoint of stage 1"):
        export(other, tmp_path / "model", pictures)
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        export(tmp_path / "none.pt", tmp_path / "model", pictures)
    assert not (tmp_path / "model").exists()
