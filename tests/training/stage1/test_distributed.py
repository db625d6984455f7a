"""Two processes that train together (gloo): one model in both, and the same as one process makes."""

from __future__ import annotations

import signal
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
from vqcodec.training.common.interruption import StopRequest
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


def stopped(pictures: Path, out: Path, *, asked: bool) -> dict[str, Any]:
    """Steps that were done and the signal of the end, when this process was asked for it or another one was."""
    trainer, request = Stage1Trainer(RECIPE, PictureSet([pictures]), out, device="cpu"), StopRequest()
    if asked:
        request.ask(signal.SIGTERM)
    trainer.run(stop=request)
    return {"step": torch.tensor(trainer.step), "signal": torch.tensor(request.number)}


WITH_DISCRIMINATOR = replace(
    RECIPE, training=replace(RECIPE.training, accumulate=2, adversary=AdversaryConfig(start=1, width=4))
)
#: what random tokens and dropout add to the training of a prior, each process its own
RANDOM: dict[str, Any] = {
    "model": replace(PRIOR, dropout=0.2), "pkeep": 0.8, "level_shares": (), "accumulate": 2,
}  # fmt: skip


def _work(rank: int, pictures: Path, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    try:
        assert (distributed.process_rank(), distributed.process_count()) == (rank, 2)
        states = {
            "model": train(pictures, folder / "model", RECIPE),
            "with a discriminator": train(pictures, folder / "with a discriminator", WITH_DISCRIMINATOR),
            "prior": train_prior(folder / "prior"),
            "random prior": train_prior(folder / "random prior", **RANDOM),
            "stopped": stopped(pictures, folder / "stopped", asked=rank == 1),
        }
        torch.save(states, folder / f"{rank}.pt")
    finally:
        dist.destroy_process_group()


@pytest.fixture(scope="module")
def together(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes, started once for all tests, have trained: a folder for each run, and the states of each."""
    folder = tmp_path_factory.mktemp("together")
    multiprocessing.spawn(_work, (pictures, folder), nprocs=2)
    return folder


def same_states(together: Path, run: str) -> dict[str, Any]:
    """The state after a run, which is that of both processes."""
    first, second = (torch.load(together / f"{rank}.pt")[run] for rank in (0, 1))
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
    return dict(first)


def test_two_processes_have_one_model_and_it_is_that_of_one_process(
    pictures: Path, together: Path, tmp_path: Path
) -> None:
    """k-means start, codebook averages, revival of dead codes and gradients: all over the whole batch."""
    made = same_states(together, "model")
    compared = 0
    for name, value in train(pictures, tmp_path, RECIPE).items():
        if "codebook.average" in name or "code_vectors" in name or "project" in name:
            torch.testing.assert_close(made[name], value, rtol=2e-2, atol=2e-3, msg=name)
            compared += 1
    assert compared
    assert [path.name for path in checkpoints(together / "model")] == ["checkpoint-00000005.pt"]


def test_with_a_discriminator_and_gradients_in_parts_too(together: Path) -> None:
    assert same_states(together, "with a discriminator")


def test_a_signal_that_one_of_them_gets_ends_them_all_by_it(together: Path) -> None:
    assert same_states(together, "stopped") == {"step": 1, "signal": signal.SIGTERM}


# ---- the prior ----


def train_prior(out: Path, **changes: Any) -> dict[str, Any]:
    """The state after training on what is this process's of each batch, by name."""
    share = slice(distributed.process_rank(), None, distributed.process_count())
    trainer = make_trainer(out, source=RowTokens(share=share), steps=4, **changes)
    trainer.dtype = torch.float32
    randomise(trainer)
    trainer.run()
    return leaves({"model": trainer.model.state_dict(), "average": trainer.average.state_dict()})


def test_two_processes_train_one_prior_and_it_is_that_of_one_process(together: Path, tmp_path: Path) -> None:
    made = same_states(together, "prior")
    for name, value in train_prior(tmp_path).items():
        torch.testing.assert_close(made[name], value, rtol=1e-3, atol=1e-4, msg=name)
    assert [path.name for path in checkpoints(together / "prior")] == ["checkpoint-00000004.pt"]


def test_with_dropout_and_random_tokens_each_its_own_they_still_have_the_same_weights(together: Path) -> None:
    assert same_states(together, "random prior")


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
