"""What decides the quality of a small model, one setting at a time: f, K, the quantiser and the losses, at toy scale.

After Esser et al., 2021, §4.3. A row is one short training of a small model of one level. All rows train on the same
crops in the same order and are measured on the same held-out pictures. Each is measured twice: at its start, where
every patch is coded by itself, and after training, when the networks see what surrounds a patch.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import torch

from vqcodec.benchmarks.ablation.rows import Row
from vqcodec.benchmarks.common.environment import describe_run
from vqcodec.benchmarks.common.example_sets import ExampleSets
from vqcodec.benchmarks.common.result_lines import RowFile
from vqcodec.models.autoencoder import Autoencoder
from vqcodec.models.compact import Decoder, Encoder
from vqcodec.models.single_latent import VQAutoencoder
from vqcodec.perceptual.networks import LPIPS
from vqcodec.pictures.image import scale_pixels
from vqcodec.training.stage1.discriminator import AdversaryConfig
from vqcodec.training.stage1.losses import LossWeights
from vqcodec.training.stage1.presets import PRESETS, with_codebook_size, with_factor
from vqcodec.training.stage1.recipe import Stage1Recipe
from vqcodec.training.stage1.trainer import SMALLEST_LPIPS_CROP, Stage1Trainer
from vqcodec.training.stage1.validation import Validation

#: quantiser as the table names it -> what it changes in the tiny preset's
QUANTIZERS: Final[dict[str, dict[str, Any]]] = {
    "average, lifted": {},
    "gradient, lifted": {"codebook": "gradient"},
    "sim, lifted": {"codebook": "sim"},
    "average, cosine": {"lookup": "cosine"},
    "average, euclidean": {"lookup": "euclidean"},
    "average, lifted, rotation": {"gradient": "rotation"},
    "gumbel": {"codebook": "gumbel"},
}
_USUAL, _GUMBEL = "average, lifted", "gumbel"
#: losses as the table names them; without perceptual weights there is "pixels" alone
ALL_LOSSES, NO_PERCEPTUAL, NO_DISCRIMINATOR, PIXELS = "all", "no perceptual", "no discriminator", "pixels"
BATCH_SIZE: Final = 16
#: the start takes at least so many batches, and at least so many patches for each code
_START_BATCHES, _START_VECTORS_PER_CODE = 8, 64
#: pictures through the Encoder
_MEASURED_AT_ONCE: Final = 8


@dataclass(frozen=True)
class Variant:
    """What one row trains. quantizer: a key of QUANTIZERS. losses: one of the names above. Both as a Row has them."""

    factor: int
    codebook_size: int
    quantizer: str = _USUAL
    losses: str = PIXELS


@dataclass(frozen=True)
class Ablation:
    """The rows to train: the factors at one K, the codebook sizes at one f, and the rest at both of these.

    That one K and one f are the middle of each list (the upper of two). crop_size: pixels, a multiple of every factor.
    steps: of each training. perceptual: LPIPS (AlexNet) joins the losses and, from half of the steps on, a
    discriminator. quantizers: whether to compare quantisers.

    Raises ValueError for factors, sizes or crops that no model takes.
    """

    factors: tuple[int, ...]
    codebook_sizes: tuple[int, ...]
    steps: int
    crop_size: int
    seed: int
    perceptual: bool = False
    quantizers: bool = True

    def __post_init__(self) -> None:
        for variant in self.variants():
            self.recipe(variant)  # raises ValueError
        unsuitable = [factor for factor in self.factors if self.crop_size % factor]
        if unsuitable:
            raise ValueError(f"crops of {self.crop_size} pixels: not a multiple of the factor {unsuitable[0]}")
        if self.perceptual and self.crop_size < SMALLEST_LPIPS_CROP:
            raise ValueError(f"crops of {self.crop_size} pixels: LPIPS takes {SMALLEST_LPIPS_CROP} or more")

    def sweeps(self) -> dict[str, list[Variant]]:
        """The rows by what changes between them. A row may be in several sweeps."""
        losses = ALL_LOSSES if self.perceptual else PIXELS
        base = Variant(_middle(self.factors), _middle(self.codebook_sizes), losses=losses)
        sweeps = {
            "downsampling factor": [replace(base, factor=factor) for factor in self.factors],
            "codebook size": [replace(base, codebook_size=size) for size in self.codebook_sizes],
        }
        if self.quantizers:
            sweeps["quantiser"] = [replace(base, quantizer=name) for name in QUANTIZERS]
        if self.perceptual:
            names = (ALL_LOSSES, NO_PERCEPTUAL, NO_DISCRIMINATOR)
            sweeps["losses"] = [replace(base, losses=name) for name in names]
        return sweeps

    def variants(self) -> list[Variant]:
        """Each row once, in the order of the sweeps."""
        return list(dict.fromkeys(variant for sweep in self.sweeps().values() for variant in sweep))

    def describe(self) -> str:
        """What all rows share, for people."""
        return (
            f"{self.steps} steps of {BATCH_SIZE} crops of {self.crop_size} x {self.crop_size} pixels, seed {self.seed}"
        )

    def recipe(self, variant: Variant) -> Stage1Recipe:
        """The tiny preset with the variant's model and losses; warm-up in the first tenth of the steps.

        Gumbel quantisation has the loss weights of the dvae preset, as its codebook loss is another, and like there all
        parts learn at the same rate, as it has no k-means start.
        """
        recipe = with_codebook_size(with_factor(PRESETS["tiny"], variant.factor), variant.codebook_size)
        quantizer = replace(recipe.model.quantizer, **QUANTIZERS[variant.quantizer])
        training = replace(
            recipe.training,
            steps=self.steps,
            batch_size=BATCH_SIZE,
            crop=replace(recipe.training.crop, size=self.crop_size),
            warmup_steps=self.steps // 10,
            perceptual_rise_steps=self.steps // 10,
            seed=self.seed,
            weights=self._weights(variant, recipe.training.weights),
        )
        if variant.losses in (ALL_LOSSES, NO_PERCEPTUAL):
            training = replace(training, adversary=AdversaryConfig(start=self.steps // 2, width=32))
        if variant.quantizer == _GUMBEL:
            training = replace(training, slow_share=PRESETS["dvae"].training.slow_share)
        return Stage1Recipe(replace(recipe.model, quantizer=quantizer), training)

    def _weights(self, variant: Variant, weights: LossWeights) -> LossWeights:
        if variant.quantizer == _GUMBEL:
            known = PRESETS["dvae"].training.weights
            weights = replace(weights, commitment=known.commitment, codebook=known.codebook)
        return replace(weights, lpips_alex=1.0) if variant.losses in (ALL_LOSSES, NO_DISCRIMINATOR) else weights


def settings_of(ablation: Ablation, variant: Variant, data: ExampleSets) -> dict[str, Any]:
    """All that a row's result depends on apart from machine and code, as JSON: equal ones are not trained again."""
    settings: dict[str, Any] = {"data": data.describe(), **ablation.recipe(variant).to_dict()}
    return json.loads(json.dumps(settings))  # lists, as they come back from a file


def measure(
    ablation: Ablation,
    variant: Variant,
    data: ExampleSets,
    *,
    perceptual_weights: Path | None = None,
    device: str = "auto",
    report: Callable[[int, dict[str, float]], None] = lambda step, values: None,
) -> Row:
    """Train and measure one row. Its checkpoint lies in a temporary folder that is deleted.

    perceptual_weights: folder with the networks of LPIPS, needed where the ablation is perceptual. report: gets every
    step's number and values. Raises TrainingError, PerceptualWeightsError, DeviceError; OSError for the folder.
    """
    recipe = ablation.recipe(variant)
    started = time.perf_counter()
    with TemporaryDirectory(prefix="vqcodec-ablation-") as name:
        folder = Path(name)
        lpips = LPIPS(perceptual_weights) if perceptual_weights else None
        trainer = Stage1Trainer(recipe, data.training, folder, perceptual_weights=perceptual_weights, device=device)
        lpips = lpips.to(trainer.device) if lpips else None
        count = len(data.held_out)
        validation = Validation(data.held_out, folder, lpips, crop_size=data.side, pad=True, at_most=count, shown=1)
        start = _start(trainer)
        before: dict[str, float] = {}
        if variant.quantizer != _GUMBEL:  # whose choices start at random
            before = validation.run(_patches_alone(start).to(trainer.device), 0).values
        trainer.start_from(start)
        trainer.run(checkpoint_every=recipe.training.steps, keep=1, report=report)
        values = validation.run(trainer.average, trainer.step).values
        usage, perplexity = _choices(trainer.average, validation.images)
    return Row(
        **asdict(variant),
        tokens=(data.side // variant.factor) ** 2,
        bits_per_pixel=math.log2(variant.codebook_size) / variant.factor**2,
        start_psnr_db=before.get("psnr_db_1"),
        psnr_db=values["psnr_db_1"],
        usage=usage,
        perplexity=perplexity,
        start_lpips=before.get("lpips_1"),
        lpips=values.get("lpips_1"),
        parameters=sum(parameter.numel() for parameter in trainer.average.parameters()),
        seconds=time.perf_counter() - started,
        settings=settings_of(ablation, variant, data),
        environment=_environment(trainer),
    )


class Rows:
    """The rows of an ablation, each measured when it is first asked for and not in the results file already.

    results: the file that measured rows are added to, made with its folder; None to keep none. damaged: a message for
    each line of it that holds no row. perceptual_weights, device: as `measure` takes them. Raises OSError for the file.
    """

    def __init__(
        self,
        ablation: Ablation,
        data: ExampleSets,
        results: Path | None = None,
        *,
        perceptual_weights: Path | None = None,
        device: str = "auto",
    ) -> None:
        self.ablation, self.data = ablation, data
        self._perceptual_weights, self._device = perceptual_weights, device
        self._file = RowFile(results, Row.from_json)
        self.damaged = self._file.damaged

    def row(self, variant: Variant, report: Callable[[int, dict[str, float]], None] = lambda step, values: None) -> Row:
        """Raises what `measure` raises."""

        def measured() -> Row:
            return measure(
                self.ablation,
                variant,
                self.data,
                perceptual_weights=self._perceptual_weights,
                device=self._device,
                report=report,
            )

        return self._file.row(settings_of(self.ablation, variant, self.data), measured)


def _start(trainer: Stage1Trainer) -> VQAutoencoder:
    """Principal components and k-means codes from crops of steps that are never reached, on the CPU."""
    config, model = trainer.config, trainer.recipe.model
    tokens_per_batch = config.batch_size * (config.crop.size // model.downsampling_factor) ** 2
    wanted = -(-_START_VECTORS_PER_CODE * max(model.quantizer.codebook_sizes) // tokens_per_batch)
    steps = range(config.steps, config.steps + max(_START_BATCHES, wanted))
    learning = deepcopy(trainer.average).cpu()
    images = torch.cat([scale_pixels(torch.from_numpy(trainer.batches(step))) for step in steps])
    learning.start(images, torch.Generator().manual_seed(config.seed))
    start = VQAutoencoder(model).eval()
    start.load_state_dict(learning.state_dict(), strict=False)  # the counts of choices are not in a finished model
    return start


def _patches_alone(start: VQAutoencoder) -> VQAutoencoder:
    """A copy that sees nothing but the patch itself: its deep networks, which start near zero, give zero."""
    alone = deepcopy(start)
    for network in (alone.encoder, alone.decoder):
        assert isinstance(network, (Encoder, Decoder))
        for parameter in network.deep.parameters():
            parameter.data.zero_()
    return alone


@torch.no_grad()
def _choices(model: Autoencoder, images: torch.Tensor) -> tuple[float, float]:
    """Usage (0..1) and perplexity (1..K) of the codes that images (N, 3, H, W) in [-1, 1] choose."""
    device = next(model.parameters()).device
    [codes] = model.config.quantizer.codebook_sizes
    tokens = [model.tokenize(part.to(device))[0].flatten() for part in images.split(_MEASURED_AT_ONCE)]
    counts = torch.bincount(torch.cat(tokens), minlength=codes)
    pmf = counts[counts > 0].double() / counts.sum()
    return len(pmf) / codes, float((-pmf * pmf.log()).sum().exp())


def _environment(trainer: Stage1Trainer) -> dict[str, Any]:
    """As of every benchmark, without the command, which names the user's folders: the settings say all of it."""
    described = {name: value for name, value in describe_run().items() if name != "command"}
    return described | {"device": str(trainer.device), "dtype": str(trainer.dtype).removeprefix("torch.")}


def _middle(values: tuple[int, ...]) -> int:
    return sorted(values)[len(values) // 2]
