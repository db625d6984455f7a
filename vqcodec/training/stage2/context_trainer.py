"""Training of a context network: every token of every level that it covers, from those coded before it.

Everything random is drawn from (seed, step), so that an interrupted run that resumes ends with the same bits as one
that was not. Several processes (see `vqcodec.compute.distributed`) share each batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vqcodec.compute.devices import choose_device
from vqcodec.compute.distributed import average_gradients, process_count
from vqcodec.prior.context_config import ContextConfig
from vqcodec.prior.context_network import ContextNetwork
from vqcodec.training.common.checkpoint import CheckpointError, load_checkpoint, newest_checkpoint
from vqcodec.training.common.loop import Trainer, TrainingError
from vqcodec.training.stage2.context_recipe import ContextRecipe, ContextTraining
from vqcodec.training.stage2.crop_tokens import TokenBatch, TokenSource

#: in a checkpoint, the shape of the network
CONTEXT_KEY = "context_config"


class ContextTrainer(Trainer[TokenBatch, ContextNetwork]):
    """Holds the state of a run. `run()` trains until `recipe.training.steps` and writes checkpoints into `out`.

    about: what the exported card says of the model whose tokens these are (model_id, model_name, classes and so on),
    kept in the checkpoints. Raises TrainingError for a batch that the processes cannot share.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> import numpy as np
        >>> from vqcodec import Codec
        >>> from vqcodec.training import ArrayPictures, CropConfig, PictureTokens
        >>> pictures, crop = ArrayPictures(np.zeros((2, 32, 32, 3), np.uint8)), CropConfig(size=32)
        >>> source = PictureTokens(pictures, Codec.load(), levels=1, batch_size=2, crop=crop, seed=0)
        >>> config = ContextConfig((1024,), (16,), channels=8, token_width=4, hidden=8)
        >>> recipe = ContextRecipe(config, ContextTraining(steps=2, batch_size=2, crop=crop))
        >>> with TemporaryDirectory() as folder:
        ...     trainer = ContextTrainer(recipe, source, Path(folder), about={}, device="cpu")
        ...     trainer.run()
        ...     trainer.step
        2
    """

    def __init__(
        self, recipe: ContextRecipe, source: TokenSource, out: Path, *, about: dict[str, Any], device: str = "auto"
    ) -> None:
        self.recipe, self.config, self.source, self.out, self.about = recipe, recipe.training, source, out, about
        config = self.config
        if config.batch_size % (process_count() * config.accumulate):
            raise TrainingError(
                f"a batch of {config.batch_size} cannot be shared by {process_count()} processes "
                f"in {config.accumulate} parts each"
            )
        torch.manual_seed(config.seed)
        self.device = choose_device(device)
        self.model = ContextNetwork(recipe.model).to(self.device)
        self.average = ContextNetwork(recipe.model).to(self.device).eval().requires_grad_(False)
        self.average.load_state_dict(self.model.state_dict())
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), config.learning_rate, betas=(0.9, 0.98), weight_decay=config.weight_decay
        )

    def start_from(self, network: ContextNetwork) -> None:
        """Go on from a finished network, of another state of the model, say. Raises TrainingError for one of another
        shape."""
        if network.config != self.recipe.model:
            raise TrainingError("the context network to start from has another configuration than this run")
        for own in (self.model, self.average):
            own.load_state_dict(network.state_dict())

    @property
    def steps(self) -> int:
        return self.config.steps

    def batches_ahead(self, first: int, last: int) -> Iterator[tuple[int, TokenBatch]]:
        return self.source.ahead(first, last)

    def state(self) -> dict[str, Any]:
        return {
            CONTEXT_KEY: self.recipe.model.to_dict(),
            "config": self.config.to_dict(),
            "about": self.about,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def resume(self) -> None:
        """Go on from the newest checkpoint of `out`. Raises CheckpointError when there is none or it does not fit."""
        path = newest_checkpoint(self.out)
        state = load_checkpoint(path)
        recipe, about = context_recipe_of(path, state), state["about"]
        if about["model_id"] != self.about["model_id"]:
            raise CheckpointError(
                f"{path}: has learned the tokens of {about['model_name']}; give this model with --model"
            )
        told = about.get("condition_model_id", ""), recipe.model.condition
        if told != (self.about.get("condition_model_id", ""), self.recipe.model.condition):
            raise CheckpointError(
                f"{path}: has learned another condition; give the same --condition and --condition-model"
            )
        if recipe.model != self.recipe.model:
            raise CheckpointError(f"{path}: made with another configuration of the network; use another --out")
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        for group in self.optimizer.param_groups:  # a resumed run may be given another
            group["weight_decay"] = self.config.weight_decay
        self.step = state["step"]

    def train_step(self, batch: TokenBatch) -> dict[str, float]:
        """One optimiser step on this process's share of a batch. Returns bits per token by level, bits_1 and so on."""
        config, covered = self.config, self.recipe.model.covered
        self.optimizer.param_groups[0]["lr"] = config.learning_rate_at(self.step)
        self.optimizer.zero_grad(set_to_none=True)
        bits = dict.fromkeys((f"bits_{level + 1}" for level in covered), 0.0)
        grids = [*batch.levels, *([] if batch.condition is None else [batch.condition])]
        parts = list(zip(*(grid.chunk(config.accumulate) for grid in grids), strict=True))
        for part in parts:
            tokens = [grid.to(self.device) for grid in part]
            condition = None if batch.condition is None else tokens.pop()
            for level in covered:  # one after the other: their networks share nothing
                loss = self.loss(tokens, level, condition) / len(parts)
                loss.backward()
                bits[f"bits_{level + 1}"] += float(loss.detach()) / math.log(2)
        average_gradients(self.model.parameters())
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.gradient_clip)
        if self._take(norm):
            self.optimizer.step()
            self._update_average()
        return bits | {"gradient_norm": float(norm), "skipped": float(self._skipped)}

    def loss(self, tokens: list[Tensor], level: int, condition: Tensor | None = None) -> Tensor:
        """The mean cross-entropy of the tokens of a level, in nats. condition: as of `ContextNetwork`."""
        return self.model.nats(tokens, level, condition).mean()

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(self.config.ema_decay, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(list(self.average.parameters()), list(self.model.parameters()), 1 - decay)


def is_context(state: dict[str, Any]) -> bool:
    """Whether this is the state of a checkpoint of a context network."""
    return CONTEXT_KEY in state


def context_recipe_of(path: Path, state: dict[str, Any]) -> ContextRecipe:
    """The network and the settings of a checkpoint, read from `path`. Raises CheckpointError."""
    try:
        return ContextRecipe(ContextConfig.from_dict(state[CONTEXT_KEY]), ContextTraining.from_dict(state["config"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path}: not a checkpoint of a context network of this version ({error})") from error
