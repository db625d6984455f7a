"""Training of stage 2: the prior learns to predict the tokens of a model (Esser et al., 2021, §3.2).

Everything random is drawn from (seed, step), so that an interrupted run that resumes ends with the same bits as one
that was not. Several processes (see `vqcodec.compute.distributed`) share each batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vqcodec.compute.devices import choose_device, fast_dtype
from vqcodec.compute.distributed import average_gradients, process_count, process_rank
from vqcodec.prior.conditions import Conditions
from vqcodec.prior.transformer import Prior
from vqcodec.training.common.checkpoint import CheckpointError, load_checkpoint, newest_checkpoint
from vqcodec.training.common.loop import Trainer, TrainingError
from vqcodec.training.common.muon import Muon
from vqcodec.training.stage2.crop_tokens import TokenBatch, TokenSource, known_labels
from vqcodec.training.stage2.recipe import Stage2Config, Stage2Recipe


class Stage2Trainer(Trainer[TokenBatch, Prior]):
    """Holds the state of a run. `run()` trains until `recipe.training.steps` and writes checkpoints into `out`.

    about: what the exported card says of the model whose tokens these are (model_id, model_name, classes and so on),
    kept in the checkpoints. Raises TrainingError for a recipe that cannot be trained.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> import numpy as np
        >>> from vqcodec import Codec
        >>> from vqcodec.prior.config import PriorConfig
        >>> from vqcodec.training import ArrayPictures, CropConfig, PictureTokens
        >>> pictures, crop = ArrayPictures(np.zeros((2, 32, 32, 3), np.uint8)), CropConfig(size=32)
        >>> source = PictureTokens(pictures, Codec.load(), levels=1, batch_size=2, crop=crop, seed=0)
        >>> config = PriorConfig((1024,), (16,), ("quincunx",), width=16, depth=1, heads=2, token_width=4)
        >>> recipe = Stage2Recipe(config, Stage2Config(steps=2, batch_size=2, crop=crop))
        >>> with TemporaryDirectory() as folder:
        ...     trainer = Stage2Trainer(recipe, source, Path(folder), about={}, device="cpu")
        ...     trainer.run()
        ...     trainer.step
        2
    """

    def __init__(
        self, recipe: Stage2Recipe, source: TokenSource, out: Path, *, about: dict[str, Any], device: str = "auto"
    ) -> None:
        self.recipe, self.config, self.source, self.out, self.about = recipe, recipe.training, source, out, about
        config = self.config
        if config.batch_size % (process_count() * config.accumulate):
            raise TrainingError(
                f"a batch of {config.batch_size} cannot be shared by {process_count()} processes "
                f"in {config.accumulate} parts each"
            )
        try:
            self.shares = config.shares_of(recipe.model.levels)
        except ValueError as error:
            raise TrainingError(f"{error}; change training.level_shares") from error
        torch.manual_seed(config.seed)
        self.device = choose_device(device)
        self.dtype = fast_dtype(self.device)
        self.model = Prior(recipe.model).to(self.device)
        self.average = Prior(recipe.model).to(self.device).eval().requires_grad_(False)
        self.average.load_state_dict(self.model.state_dict())
        inner, outer = _parameters(self.model)
        decay = config.weight_decay
        self.optimizers = [
            Muon(inner, config.learning_rate, momentum=0.95, weight_decay=decay),
            torch.optim.AdamW(outer, config.learning_rate, betas=(0.9, 0.98), weight_decay=decay, fused=True),
        ]

    @property
    def steps(self) -> int:
        return self.config.steps

    def batches_ahead(self, first: int, last: int) -> Iterator[tuple[int, TokenBatch]]:
        return self.source.ahead(first, last)

    def start_from(self, network: Prior) -> None:
        """Go on from a finished prior; what is new, classes or a condition, has no influence at first.

        Raises TrainingError when its configuration is another than that of this run in anything else.
        """
        known, wanted = network.config, self.recipe.model
        if known.classes not in (0, wanted.classes) or known.condition not in (None, wanted.condition):
            raise TrainingError("the prior to start from knows other classes or another condition than this run")
        if replace(wanted, classes=known.classes, condition=known.condition) != known:
            raise TrainingError("the prior to start from has another configuration than this run")
        for own in (self.model, self.average):
            _take_over(own, network.state_dict())

    def state(self) -> dict[str, Any]:
        return {
            "prior_config": self.recipe.model.to_dict(),
            "config": self.config.to_dict(),
            "about": self.about,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }

    def resume(self) -> None:
        """Go on from the newest checkpoint of `out`. Raises CheckpointError when there is none or it does not fit."""
        path = newest_checkpoint(self.out)
        state = load_checkpoint(path)
        recipe, about = stage2_recipe_of(path, state), state["about"]
        if about["model_id"] != self.about["model_id"]:
            raise CheckpointError(
                f"{path}: has learned the tokens of {about['model_name']}; give this model with --model"
            )
        if about["classes"] != self.about["classes"]:
            raise CheckpointError(f"{path}: has learned other classes; give the same --data, with or without --labels")
        told = about.get("condition_model_id", ""), recipe.model.condition  # before there were any: no id
        if told != (self.about["condition_model_id"], self.recipe.model.condition):
            raise CheckpointError(
                f"{path}: has learned another condition; give the same --condition and --condition-model"
            )
        if recipe.model != self.recipe.model:
            raise CheckpointError(f"{path}: made with another configuration of the prior; use another --out")
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        for optimizer, values in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(values)
            for group in optimizer.param_groups:  # a resumed run may be given another
                group["weight_decay"] = self.config.weight_decay
        self.step = state["step"]

    def train_step(self, batch: TokenBatch) -> dict[str, float]:
        """One optimiser step on this process's share of a batch. Returns bits per token by level, bits_1 and so on."""
        config = self.config
        number = config.seed * 1_000_003 + self.step
        torch.manual_seed(number + process_rank())  # for dropout
        generator = torch.Generator().manual_seed(number)
        for optimizer, share in zip(self.optimizers, (1.0, config.adam_share), strict=True):
            optimizer.param_groups[0]["lr"] = share * config.learning_rate_at(self.step)
            optimizer.zero_grad(set_to_none=True)
        bits = [0.0] * self.recipe.model.levels
        parts = list(_split(batch, config.accumulate))
        for part in parts:
            for level, value in enumerate(self._learn_from(part, 1 / len(parts), generator)):
                bits[level] += value / len(parts)
        average_gradients(self.model.parameters())
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.gradient_clip)
        values = {f"bits_{level + 1}": value for level, value in enumerate(bits) if self.shares[level]}
        if self._take(norm):
            for optimizer in self.optimizers:
                optimizer.step()
            self._update_average()
        return values | {"gradient_norm": float(norm), "skipped": float(self._skipped)}

    def _learn_from(self, batch: TokenBatch, share: float, generator: torch.Generator) -> list[float]:
        """Add the gradients of a part of the batch, `share` of it. Returns the bits per token of each level."""
        bits = []
        for level, level_share in enumerate(self.shares):
            count = math.ceil(level_share * len(batch.labels))
            if not count:
                bits.append(0.0)
                continue
            part = _some(batch, torch.randperm(len(batch.labels), generator=generator)[:count])
            loss = self.loss(part, level, generator)
            (share * level_share * loss).backward()
            bits.append(float(loss.detach()) / math.log(2))
        return bits

    def loss(self, batch: TokenBatch, level: int, generator: torch.Generator) -> Tensor:
        """The mean cross-entropy of the tokens of a level, in nats."""
        tokens = [grid.to(self.device) for grid in batch.levels[: level + 1]]
        seen = _corrupted(batch.levels[level], self.config.pkeep, self.recipe.model.codebook_sizes[level], generator)
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            logits = self.model(tokens, level, self._conditions(batch, generator), seen=seen.to(self.device))
        return F.cross_entropy(logits.float().flatten(0, 2), tokens[level].flatten())

    def _conditions(self, batch: TokenBatch, generator: torch.Generator) -> Conditions:
        """Those of the batch, some left out."""
        config, classes = self.config, self.recipe.model.classes
        labels = grid = None
        if classes:
            dropped = torch.rand(len(batch.labels), generator=generator) < config.label_dropout
            labels = torch.where(dropped, classes, known_labels(batch.labels, classes)).to(self.device)
        if self.recipe.model.condition and batch.condition is not None:
            dropped = torch.rand(len(batch.labels), generator=generator) < config.condition_dropout
            grid = torch.where(dropped[:, None, None, None], -1, batch.condition).to(self.device)
        return Conditions(labels=labels, grid=grid)

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(self.config.ema_decay, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(list(self.average.parameters()), list(self.model.parameters()), 1 - decay)


def stage2_recipe_of(path: Path, state: dict[str, Any]) -> Stage2Recipe:
    """The prior and the settings of a checkpoint, read from `path`. Raises CheckpointError."""
    from vqcodec.prior.config import PriorConfig

    try:
        return Stage2Recipe(PriorConfig.from_dict(state["prior_config"]), Stage2Config.from_dict(state["config"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path}: not a checkpoint of stage 2 of this version ({error})") from error


@torch.no_grad()
def _take_over(network: Prior, known: dict[str, Tensor]) -> None:
    """The weights of a prior that may know less; what this one has besides gets weight 0."""
    for name, weight in network.state_dict().items():
        if name not in known:
            if not name.startswith("condition."):  # its vectors enter by a convolution, which starts at 0
                weight.zero_()
        elif weight.shape == known[name].shape:
            weight.copy_(known[name])
        else:  # of what lies below: the coarser levels, then the condition
            weight.zero_()[:, : known[name].shape[1]] = known[name]


def _split(batch: TokenBatch, parts: int) -> Iterator[TokenBatch]:
    for chosen in torch.arange(len(batch.labels)).chunk(parts):
        yield _some(batch, chosen)


def _some(batch: TokenBatch, chosen: Tensor) -> TokenBatch:
    condition = None if batch.condition is None else batch.condition[chosen]
    return TokenBatch([level[chosen] for level in batch.levels], batch.labels[chosen], condition)


def _corrupted(tokens: Tensor, pkeep: float, codes: int, generator: torch.Generator) -> Tensor:
    """A share `pkeep` of the tokens, the others random."""
    if pkeep == 1:
        return tokens
    kept = torch.rand(tokens.shape, generator=generator) < pkeep
    return torch.where(kept, tokens, torch.randint(codes, tokens.shape, generator=generator))


def _parameters(model: Prior) -> tuple[list[Tensor], list[Tensor]]:
    """The matrices and kernels inside the network, then all others: embeddings, the last layers, vectors."""
    tables = (module for module in model.modules() if isinstance(module, torch.nn.Embedding))
    outer = {id(parameter) for module in (*tables, model.heads) for parameter in module.parameters()}
    inner: list[Tensor] = [p for p in model.parameters() if p.dim() > 1 and id(p) not in outer]
    chosen = {id(parameter) for parameter in inner}
    return inner, [p for p in model.parameters() if id(p) not in chosen]
