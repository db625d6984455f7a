"""Two processes that train together (gloo): one model in both, and the same as one process makes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
from stage1_helpers import CONFIG, MODEL, leaves
from stage2_helpers import MODEL as PRIOR
from stage2_helpers import RowTokens, make_trainer, randomise

from vqcodec.compute import distributed
from vqcodec.training.common.checkpoint import checkpoints
from vqcodec.training.common.loop import TrainingError
from vqcodec.training.data.crops import CropConfig
from vqcodec.training.data.pictures import PictureSet
from vqcodec.training.stage1.discriminator import AdversaryConfig
from vqcodec.training.stage1.losses import LossWeights
from vqcodec.training.stage1.recipe import Stage1Recipe
from vqcodec.training.stage1.trainer import Stage1Trainer

pytestmark = pytest.mark.skipif(not dist.is_gloo_available(), reason="torch was built without gloo")

RECIPE = Stage1Recipe(
    MODEL,
    replace(
        CONFIG,
        steps=5,
        batch_size=4,
        crop=CropConfig(size=40),
        revival_interval=2,
        weights=LossWeights().without_networks(),
        adversary=AdversaryConfig(weight=0.0),
    ),
)


def train(pictures: Path, out: Path, recipe: Stage1Recipe) -> dict[str, Any]:
    """The state after training, by name."""
    trainer = Stage1Trainer(recipe, PictureSet([pictures]), out, device="cpu")
    trainer.run()
    return leaves({"model": trainer.model.state_dict(), "average": trainer.average.state_dict()})


def _work(rank: int, pictures: Path, folder: Path, recipe: Stage1Recipe) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    try:
        assert (distributed.process_rank(), distributed.process_count()) == (rank, 2)
        torch.save(train(pictures, folder / "run", recipe), folder / f"{rank}.pt")
    finally:
        dist.destroy_process_group()


def together(pictures: Path, folder: Path, recipe: Stage1Recipe) -> list[dict[str, Any]]:
    folder.mkdir()
    multiprocessing.spawn(_work, (pictures, folder, recipe), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in (0, 1)]


def test_two_processes_have_one_model_and_it_is_that_of_one_process(pictures: Path, tmp_path: Path) -> None:
    """k-means start, codebook averages, revival of dead codes and gradients: all over the whole batch."""
    first, second = together(pictures, tmp_path / "two", RECIPE)
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
    alone = train(pictures, tmp_path / "one", RECIPE)
    for name, value in alone.items():
        if "codebook.average" in name or "code_vectors" in name or "project" in name:
            torch.testing.assert_close(first[name], value, rtol=2e-2, atol=2e-3, msg=name)
    assert [path.name for path in checkpoints(tmp_path / "two" / "run")] == ["checkpoint-00000005.pt"]


def test_with_a_discriminator_and_gradients_in_parts_too(pictures: Path, tmp_path: Path) -> None:
    training = replace(RECIPE.training, accumulate=2, adversary=AdversaryConfig(start=1, width=4))
    first, second = together(pictures, tmp_path / "two", replace(RECIPE, training=training))
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


# ---- the prior ----


def train_prior(out: Path, **changes: Any) -> dict[str, Any]:
    """The state after training on what is this process's of each batch, by name."""
    share = slice(distributed.process_rank(), None, distributed.process_count())
    trainer = make_trainer(out, source=RowTokens(share=share), steps=4, **changes)
    trainer.dtype = torch.float32
    randomise(trainer)
    trainer.run()
    return leaves({"model": trainer.model.state_dict(), "average": trainer.average.state_dict()})


def _work_on_prior(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    try:
        random = {"model": replace(PRIOR, dropout=0.2), "pkeep": 0.8, "level_shares": (), "accumulate": 2}
        states = {"whole": train_prior(folder / "run"), "random": train_prior(folder / "random", **random)}
        torch.save(states, folder / f"{rank}.pt")
    finally:
        dist.destroy_process_group()


def test_two_processes_train_one_prior_and_it_is_that_of_one_process(tmp_path: Path) -> None:
    """With dropout and random tokens, each its own, they still have the same weights."""
    multiprocessing.spawn(_work_on_prior, (tmp_path,), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    for run in ("whole", "random"):
        for name, value in first[run].items():
            assert torch.equal(value, second[run][name]), (run, name)
    for name, value in train_prior(tmp_path / "alone").items():
        torch.testing.assert_close(first["whole"][name], value, rtol=1e-3, atol=1e-4, msg=name)
    assert [path.name for path in checkpoints(tmp_path / "run")] == ["checkpoint-00000004.pt"]


def test_a_batch_that_cannot_be_shared(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vqcodec.training.stage1.trainer.process_count", lambda: 3)
    with pytest.raises(TrainingError, match="a batch of 4 cannot be shared by 3 processes"):
        Stage1Trainer(RECIPE, PictureSet([pictures]), tmp_path, device="cpu")


def test_alone_everything_is_as_it_was() -> None:
    assert (distributed.process_rank(), distributed.process_count()) == (0, 1)
    assert distributed.is_first_process()
    value = torch.randn(3)
    parameter = torch.nn.Parameter(value.clone())
    parameter.grad = value.clone()
    distributed.average_gradients([parameter])
    distributed.wait_for_all()
    assert torch.equal(parameter.grad, value)
    assert torch.equal(distributed.sum_over_processes(value.clone()), value)
    assert torch.equal(distributed.broadcast(value.clone()), value)
    with distributed.process_group():
        assert not dist.is_initialized()
