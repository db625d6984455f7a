"""vqcodec train: train the networks on a folder of pictures."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from tqdm import tqdm


@click.group()
def train() -> None:
    """Train the networks on your own pictures."""


@train.command()
@click.option(
    "--data",
    "data",
    multiple=True,
    required=True,
    type=click.Path(exists=True, path_type=Path),
    help="Folder of pictures (nested), tar shard or picture; may be given several times.",
)
@click.option(
    "--out",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for checkpoints, logs and previews.",
)
@click.option(
    "--perceptual-weights",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with the weights of LPIPS's networks; see docs/training.md.",
)
@click.option(
    "--validation",
    type=click.Path(exists=True, path_type=Path),
    help="Held-out pictures, measured at every checkpoint.",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Go on from the newest checkpoint of --out, with its settings; options given here replace them.",
)
@click.option(
    "--init",
    "init",
    metavar="MODEL",
    help="Start from this model, by name, id or folder: fine-tuning. [default: start from the data]",
)
@click.option("--steps", type=click.IntRange(min=1), default=20_000, show_default=True, help="Steps in all.")
@click.option(
    "--until",
    type=click.IntRange(min=1),
    help="Stop at this step, with a checkpoint; the schedule still ends at --steps.",
)
@click.option("--batch-size", type=click.IntRange(min=1), default=8, show_default=True)
@click.option(
    "--crop-size",
    type=click.IntRange(min=48),
    default=128,
    show_default=True,
    help="Side of the training crops, pixels; a multiple of 16.",
)
@click.option("--learning-rate", type=click.FloatRange(min=0, min_open=True), default=3e-4, show_default=True)
@click.option(
    "--decay-share",
    type=click.FloatRange(0, 1),
    default=0.3,
    show_default=True,
    help="Share of the steps, at the end, over which the learning rate falls to zero.",
)
@click.option(
    "--lpips-vgg",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    help="Weight of LPIPS on VGG16; 0 saves about a fifth of the time.",
)
@click.option(
    "--adversarial-weight",
    type=click.FloatRange(min=0),
    default=0.8,
    show_default=True,
    help="Weight of the discriminator's loss, on top of the adaptive weight; 0 trains without one.",
)
@click.option(
    "--discriminator-start",
    type=click.IntRange(min=0),
    default=10_000,
    show_default=True,
    help="The step from which on there is a discriminator.",
)
@click.option(
    "--discriminator-width",
    type=click.IntRange(min=1),
    default=64,
    show_default=True,
    help="Channels of its first layer; 32 is four times as fast.",
)
@click.option(
    "--checkpoint-every", type=click.IntRange(min=1), default=1000, show_default=True, help="Steps between checkpoints."
)
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or mps.")
@click.pass_context
def stage1(context: click.Context, /, **options: Any) -> None:
    """Train Encoder, codebooks and Decoder: L1 and LPIPS, residual levels, quantizer dropout."""
    from vqcodec.codec import load_network
    from vqcodec.devices import keep_freed_memory
    from vqcodec.model_card import find_model
    from vqcodec.models.config import AutoencoderConfig
    from vqcodec.perceptual import LPIPS
    from vqcodec.training.checkpoint import load_checkpoint, model_config, newest_checkpoint
    from vqcodec.training.data import PictureSet
    from vqcodec.training.stage1 import Stage1Config, Stage1Trainer
    from vqcodec.training.validation import Validation

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    out: Path = options["out"]
    if options["resume"]:
        state = load_checkpoint(newest_checkpoint(out))
        base, shape = Stage1Config.from_dict(state["config"]), model_config(state)
    else:
        if any(out.glob("checkpoint-*.pt")):
            raise click.ClickException(f"{out}: holds checkpoints already; give --resume or another --out")
        init = find_model(options["init"]) if options["init"] else None
        shape = init.card.autoencoder if init else AutoencoderConfig()
        base = Stage1Config(level_shares=(2.0, *[1.0] * (shape.levels - 1)))
    config = _configure(base, context, options)
    keep_freed_memory()
    pictures = PictureSet(options["data"], minimum_side=32)
    trainer = Stage1Trainer(
        shape,
        config,
        pictures,
        out,
        perceptual_weights=options["perceptual_weights"],
        device=options["device"],
    )
    if options["resume"]:
        trainer.resume()
    elif init:
        trainer.start_from(load_network(init))
    validation = None
    if options["validation"]:
        lpips = LPIPS(options["perceptual_weights"]).to(trainer.device)
        validation = Validation(PictureSet([options["validation"]]), out, lpips)
    out.mkdir(parents=True, exist_ok=True)
    last = min(options["until"] or config.steps, config.steps)
    with (
        (out / "log.jsonl").open("a", buffering=1) as log,
        tqdm(initial=trainer.step, total=last, unit="step", disable=None) as bar,
    ):

        def report(step: int, values: dict[str, float]) -> None:
            log.write(json.dumps({"step": step} | values) + "\n")
            bar.set_postfix({name: f"{value:.3g}" for name, value in values.items()}, refresh=False)
            bar.update()

        trainer.run(
            checkpoint_every=options["checkpoint_every"], validation=validation, until=options["until"], report=report
        )


def _configure(base: Any, context: click.Context, options: dict[str, Any]) -> Any:
    """`base` with the options that were given, or all of them for a new run."""

    def given(*names: str) -> dict[str, Any]:
        explicit = ParameterSource.DEFAULT
        return {n: options[n] for n in names if not options["resume"] or context.get_parameter_source(n) != explicit}

    config = replace(base, **given("steps", "batch_size", "learning_rate", "decay_share", "seed"))
    if size := given("crop_size"):
        config = replace(config, crop=replace(config.crop, size=size["crop_size"]))
    adversary = {
        field: options[option]
        for option, field in (
            ("adversarial_weight", "weight"),
            ("discriminator_start", "start"),
            ("discriminator_width", "width"),
        )
        if given(option)
    }
    config = replace(config, adversary=replace(config.adversary, **adversary))
    if given("lpips_vgg"):
        config = replace(config, weights=replace(config.weights, lpips_vgg=options["lpips_vgg"]))
    return config
