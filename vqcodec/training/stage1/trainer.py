"""Training of stage 1: Encoder, codebooks and Decoder together (Esser et al., 2021, §3.1).

The default networks start from a plain residual vector quantiser of patches (principal components, k-means), which is
quick to compute and keeps the latents from collapsing; quantizer dropout makes one model serve all rates. Everything
random is drawn from (seed, step), so that an interrupted run that resumes ends with the same bits as one that was not
(on CPUs, by steps).

Several processes (see `vqcodec.compute.distributed`) share each batch; gradients and codebook statistics are summed.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vqcodec.compute.devices import choose_device, fast_dtype, to_channels_last
from vqcodec.compute.distributed import (
    average_gradients,
    broadcast,
    process_count,
    process_rank,
)
from vqcodec.models.autoencoder import Autoencoder, AutoencoderOutput
from vqcodec.models.building import build_autoencoder
from vqcodec.models.codebooks import Codebook
from vqcodec.models.deepening import deepened
from vqcodec.models.gumbel import GumbelQuantizer
from vqcodec.models.network_input import network_input
from vqcodec.pictures.arrays import Pixels
from vqcodec.training.common.checkpoint import CheckpointError, load_checkpoint, newest_checkpoint
from vqcodec.training.common.loop import Trainer, TrainingError
from vqcodec.training.data.crops import CropBatches
from vqcodec.training.data.device_crops import DeviceCrops
from vqcodec.training.data.types import Pictures
from vqcodec.training.stage1.clipping import GradientClip
from vqcodec.training.stage1.kept_discriminator import start_from_kept
from vqcodec.training.stage1.losses import JUMP_SIDE
from vqcodec.training.stage1.pixel_gradient import Part, PixelGradient
from vqcodec.training.stage1.recipe import Stage1Recipe, model_config

#: vectors for each code that k-means starts from: the former, unless these are more than _START_VECTORS in all
_START_VECTORS_PER_CODE, _LEAST_START_VECTORS_PER_CODE, _START_VECTORS = 24, 4, 2**18
#: side in pixels: smaller ones, shifted by up to 3 pixels, are too small for AlexNet's pooling
SMALLEST_LPIPS_CROP = 34


class Stage1Trainer(Trainer[Pixels | Tensor, Autoencoder]):
    """Holds the state of a run. `run()` trains until `recipe.training.steps` and writes checkpoints into `out`.

    perceptual_weights: folder with the networks of LPIPS; None where no loss needs them. compile_networks: whether
    Encoder and Decoder go through torch.compile. device_crops: whether all pictures lie on the device and crops are cut
    there; by default on CUDA. Raises TrainingError for a recipe that cannot be trained.

    Examples:
        >>> from dataclasses import replace
        >>> from tempfile import TemporaryDirectory
        >>> import numpy as np
        >>> from vqcodec.training import PRESETS, ArrayPictures
        >>> recipe = PRESETS["tiny"]
        >>> training = replace(recipe.training, steps=2, batch_size=2)
        >>> model = replace(recipe.model, quantizer=replace(recipe.model.quantizer, codebook_sizes=(4,)))
        >>> pictures = ArrayPictures(np.random.default_rng(0).integers(256, size=(4, 32, 32, 3), dtype=np.uint8))
        >>> with TemporaryDirectory() as folder:
        ...     trainer = Stage1Trainer(Stage1Recipe(model, training), pictures, Path(folder), device="cpu")
        ...     trainer.run()
        ...     [path.name for path in Path(folder).iterdir()]
        ['checkpoint-00000002.pt']
    """

    def __init__(
        self,
        recipe: Stage1Recipe,
        pictures: Pictures,
        out: Path,
        *,
        perceptual_weights: Path | None = None,
        device: str = "auto",
        compile_networks: bool = False,
        device_crops: bool | None = None,
    ) -> None:
        self.recipe, self.config, self.out = recipe, recipe.training, out
        config = self.config
        _check(recipe)
        torch.manual_seed(config.seed)
        self.device = choose_device(device)
        self.dtype = fast_dtype(self.device) if config.precision == "auto" else getattr(torch, config.precision)
        self.model = to_channels_last(build_autoencoder(recipe.model), self.device)
        self.average = to_channels_last(build_autoencoder(recipe.model), self.device).eval()
        self.average.load_state_dict(self.model.state_dict())
        self.model.begin_learning()
        for part in config.held:
            _hold(self.model, part)
        self._codebooks_learn = "codebooks" not in config.held
        if compile_networks:
            self.model.encoder.compile()
            self.model.decoder.compile()
        try:
            self.losses = PixelGradient(recipe, perceptual_weights, self.device, self.dtype)
        except ValueError as error:
            raise TrainingError(str(error)) from error
        self.clip = GradientClip(config.gradient_clip, config.clip_quantile)
        self.optimizer = torch.optim.AdamW(
            _parameter_groups(self.model),
            lr=config.learning_rate,
            betas=config.betas,
            weight_decay=config.weight_decay,
            fused=True,
        )
        share = slice(process_rank(), None, process_count())
        if device_crops and recipe.model.label_map:
            raise TrainingError("label maps are not made on the device: leave out --device-crops")
        if device_crops is None:
            device_crops = self.device.type == "cuda" and not (config.crop.pad or recipe.model.label_map)
        self.batches: CropBatches | DeviceCrops
        if device_crops:
            self.batches = DeviceCrops(
                pictures,
                batch_size=config.batch_size,
                crop=config.crop_at,
                seed=config.seed,
                share=share,
                device=self.device,
            )
        else:
            self.batches = CropBatches(
                pictures, batch_size=config.batch_size, crop=config.crop_at, seed=config.seed, share=share
            )
        self.level_shares = torch.tensor(config.shares_of(recipe.model.levels), dtype=torch.float32)
        #: of the model that a run with its codebooks held started from, for the card of what it gives
        self.origin: dict[str, Any] = {}
        self._is_started = False

    def start_from(self, network: Autoencoder, folder: Path | None = None) -> None:
        """Go on from the weights of a finished model, in the place of a start from the data.

        folder: of the model; a discriminator that lies there goes on too. Raises TrainingError when its configuration
        is another than that of this run, but for fewer residual blocks.
        """
        try:
            weights = deepened(network, self.recipe.model).state_dict()
        except ValueError as error:
            raise TrainingError(str(error)) from error
        self.average.load_state_dict(weights)
        self.model.load_state_dict(weights, strict=False)  # the codebooks' moving averages are not in a model
        self.model.begin_learning()
        if folder is not None and self.losses.adversary is not None:
            start_from_kept(self.losses.adversary, folder)
        self._is_started = True

    def resume(self) -> None:
        """Go on from the newest checkpoint of `out`. Raises CheckpointError when there is none or it does not fit."""
        self._load(newest_checkpoint(self.out))

    def branch_off(self, checkpoint: Path) -> None:
        """Go on from a checkpoint of another run, with its optimiser: a trunk at a constant rate, of which branches
        whose rate falls (`decay_from`) give models to release. Raises CheckpointError for one that does not fit.
        """
        self._load(checkpoint)

    def _load(self, path: Path) -> None:
        state = load_checkpoint(path)
        if model_config(state) != self.recipe.model:
            raise CheckpointError(f"{path}: made with another model configuration; use another --out")
        if ("codebooks" in state["config"]["held"]) is self._codebooks_learn:
            raise CheckpointError(
                f"{path}: codebooks are held from the first step on or not at all, as which streams the result reads "
                "hangs on it; start another run with --init"
            )
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        for group in self.optimizer.param_groups:  # a resumed run may be given others
            group["betas"], group["weight_decay"] = self.config.betas, self.config.weight_decay
        self.losses.load(state)
        self.clip.load(state["gradient_norms"])
        self.origin = state["origin"]
        self.seconds = state["seconds"]
        self.step = state["step"]

    @property
    def steps(self) -> int:
        return self.config.steps

    @property
    def minutes(self) -> float:
        return self.config.minutes

    def batches_ahead(self, first: int, last: int) -> Iterator[tuple[int, Pixels | Tensor]]:
        return self.batches.ahead(first, last)

    def begin(self) -> None:
        if not self._is_started:
            self._start()

    def state(self) -> dict[str, Any]:
        return {
            "model_config": self.recipe.model.to_dict(),
            "config": self.config.to_dict(),
            "origin": self.origin,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "gradient_norms": self.clip.state(),
            "seconds": self.seconds,
            **self.losses.state(),
        }

    def train_step(self, batch: Pixels | Tensor) -> dict[str, float]:
        """One optimiser step on this process's share of a batch, (B, size, size, 3) uint8 or as `DeviceCrops` gives it.

        Returns the loss terms by name (means over the share), and what the codebooks are doing.
        """
        config, step = self.config, self.step
        number = config.seed * 1_000_003 + step
        generator = torch.Generator().manual_seed(number)
        torch.manual_seed(number + process_rank())  # for Gumbel noise and dropout
        shares, count = self.level_shares, config.batch_size
        levels = torch.multinomial(shares, count, replacement=True, generator=generator) + 1
        images, levels = self._to_device(batch), levels[self.batches.share].to(self.device)
        self._set_schedules(step)
        self.optimizer.zero_grad(set_to_none=True)
        self.losses.forget()
        size = max(1, len(images) // config.accumulate)
        parts = [
            self._learn_from(part, part_levels, len(part) / len(images), generator)
            for part, part_levels in zip(images.split(size), levels.split(size), strict=True)
        ]
        average_gradients(self.model.parameters())
        norm = self.clip(self.model.parameters())
        values = {name: sum(float(terms[name]) for terms, _ in parts) / len(parts) for name in parts[0][0]}
        values["gradient_norm"] = float(norm)
        is_taken = self._take(norm)
        values["skipped"] = float(self._skipped)
        if is_taken:
            self.optimizer.step()
            self._update_average()
            if config.revival_interval and step and step % config.revival_interval == 0 and self._codebooks_learn:
                latents = [latent.detach() for latent in parts[-1][1]]
                values["revived"] = float(self.model.revive_dead_codes(latents, generator))
            self.losses.learn(step, config.learning_rate_share(step, self.seconds))
        return values | _codebook_values([level.codebook for level in self.model.each_level()])

    def _set_schedules(self, step: int) -> None:
        for group, share in zip(self.optimizer.param_groups, (1.0, self.config.slow_share), strict=True):
            group["lr"] = share * self.config.learning_rate_at(step, self.seconds)
        for level in self.model.each_level():
            if isinstance(level, GumbelQuantizer):
                level.temperature = self.config.temperature_at(step, self.seconds)

    def _learn_from(
        self, images: Tensor, levels: Tensor, share: float, generator: torch.Generator
    ) -> tuple[dict[str, Tensor], tuple[Tensor, ...]]:
        """Add the gradients of a part of the batch, `share` of it. Returns the loss terms and the latents."""
        with self._autocast():
            output: AutoencoderOutput = self.model(images, levels)
            made = output.reconstruction
            part = Part(images, levels, made, share)
            terms, gradient = self.losses(part, self.model.last_layer.weight, self.step, generator)
        quantization = output.quantization
        terms |= {"commitment": quantization.commitment_loss, "codebook": quantization.codebook_loss}
        latent_losses = [self.losses.weight(name) * terms[name] for name in ("commitment", "codebook")]
        latent_loss = torch.stack(latent_losses).sum()
        gradient = gradient.to(made.dtype)
        if latent_loss.requires_grad:
            torch.autograd.backward([made, latent_loss], [share * gradient, torch.full_like(latent_loss, share)])
        else:  # only the Decoder learns
            made.backward(share * gradient)
        return {name: value.detach() for name, value in terms.items()}, output.latents

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(self.config.ema_decay, (1 + self.step) / (10 + self.step))
        currents = self.model.state_dict()
        # codes and statistics too: averaged networks need codebooks that lag behind just as far
        names, averages = zip(*self.average.state_dict().items(), strict=True)
        torch._foreach_lerp_(list(averages), [currents[name] for name in names], 1 - decay)
        for level in self.average.each_level() if self._codebooks_learn else []:
            if level.codebook.unit:
                level.codebook.code_vectors.copy_(F.normalize(level.codebook.code_vectors, dim=1))

    def _to_device(self, batch: Pixels | Tensor) -> Tensor:
        if isinstance(batch, Tensor):
            return batch
        return network_input(self.recipe.model, batch, self.device)

    @torch.no_grad()
    def _start(self) -> None:
        """From crops of steps that are never reached; every process does the same."""
        config, model = self.config, self.recipe.model
        codes = max(model.quantizer.codebook_sizes)
        vectors = max(_LEAST_START_VECTORS_PER_CODE * codes, min(_START_VECTORS_PER_CODE * codes, _START_VECTORS))
        wanted = vectors * max(model.quantizer.strides) ** 2
        tokens_per_batch = config.batch_size * (config.crop_at(config.steps).size // model.downsampling_factor) ** 2
        steps = range(config.steps, config.steps + -(-wanted // tokens_per_batch))
        whole = copy(self.batches)
        whole.share = slice(None)
        images = torch.cat([self._to_device(whole(step)) for step in steps])
        self.model.start(images, torch.Generator().manual_seed(config.seed))
        for value in self.model.state_dict().values():
            broadcast(value)
        self.average.load_state_dict(self.model.state_dict(), strict=False)


def _check(recipe: Stage1Recipe) -> None:
    """Raises TrainingError for crops and batches that do not suit."""
    config, factor = recipe.training, max(recipe.model.level_factors)
    weights, label_map = config.weights, recipe.model.label_map
    try:
        config.shares_of(recipe.model.levels)
    except ValueError as error:
        raise TrainingError(f"{error}; change training.level_shares") from error
    for name, factors in (
        ("weights.distortion_by_level", weights.distortion_by_level),
        ("adversary.by_level", config.adversary.by_level),
    ):
        if factors and len(factors) != recipe.model.levels:
            raise TrainingError(f"training.{name} has {len(factors)} factors for {recipe.model.levels} levels")
    if label_map and (weights.of_pictures or config.adversary.weight):
        raise TrainingError(f"{label_map} are learned by cross-entropy alone: set the weights of all other losses to 0")
    if not label_map and weights.cross_entropy:
        raise TrainingError("training.weights.cross_entropy is for label maps: set it to 0")
    if "decoder" in config.held and config.adversary.weight:
        raise TrainingError("a held Decoder learns nothing of a discriminator: set training.adversary.weight to 0")
    smallest = max(factor, SMALLEST_LPIPS_CROP) if config.weights.lpips_alex else factor
    weighs_blocks = config.weights.border_jump or config.weights.repetition
    smallest = max(smallest, 2 * JUMP_SIDE) if weighs_blocks else smallest
    for side in (config.crop.size, *(size for _, size in config.crop_sizes)):
        if side % factor or side < smallest:
            raise TrainingError(f"crops of {side} pixels: take a multiple of {factor} from {smallest} on")
    if config.batch_size % (process_count() * config.accumulate):
        raise TrainingError(
            f"a batch of {config.batch_size} cannot be shared by {process_count()} processes "
            f"in {config.accumulate} parts each"
        )


def _hold(model: Autoencoder, part: str) -> None:
    """Keep a part, of `PARTS`, from learning."""
    for held in model.parts()[part]:
        held.requires_grad_(False)
        if isinstance(held, torch.nn.Module):
            held.eval()


def _codebook_values(codebooks: list[Codebook]) -> dict[str, float]:
    """Usage, perplexity and dead codes of each level, by name."""
    values: dict[str, float] = {}
    for number, codebook in enumerate(codebooks, start=1):
        statistics = codebook.statistics()
        values |= {f"{name}_{number}": float(value) for name, value in statistics._asdict().items()}
    return values


def _parameter_groups(model: Autoencoder) -> list[dict[str, Any]]:
    """The deep networks' parameters, then those that start near their goal."""
    near_goal = {parameter for part in model.linear_parts() for parameter in part.parameters()}
    fast = [parameter for parameter in model.parameters() if parameter not in near_goal]
    slow = [parameter for parameter in model.parameters() if parameter in near_goal]
    return [{"params": fast}, {"params": slow}]
