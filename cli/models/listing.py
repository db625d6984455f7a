"""What `vqcodec models` prints; loads no torch."""

from __future__ import annotations

import json
from typing import Any

import click

from vqcodec.cards.errors import ModelError
from vqcodec.cards.finding import installed_models, pass_over
from vqcodec.cards.model_card import ModelFolder
from vqcodec.cli.common.failures import printable


def print_models(*, as_json: bool) -> None:
    """The installed models, one after the other; one without its weights gives a ModelFolderWarning.

    Raises ModelError for a damaged embedded one, after those before it.
    """
    has_models = False
    for model in installed_models():
        try:
            values = describe_model(model)
        except ModelError as error:
            pass_over(f"{error}; passed over")
            continue
        has_models = True
        click.echo(json.dumps(values) if as_json else as_text(values))
    if not has_models and not as_json:
        click.echo("no models installed")


def describe_model(model: ModelFolder) -> dict[str, Any]:
    """The facts about a model, by name. Rates are of fixed-length tokens, without header, on sides that f divides.

    Raises ModelError where a file is missing.
    """
    card, shape = model.card, model.card.autoencoder
    sizes = shape.quantizer.codebook_sizes
    bits = shape.level_rates
    return {
        "name": card.name,
        "model_id": card.model_id.hex(),
        "fingerprint": card.fingerprint,
        "folder": str(model.path),
        "bytes": model.size_bytes,
        "downsampling_factor": shape.downsampling_factor,
        "codebook_sizes": list(sizes),
        "bits_per_pixel": [round(sum(bits[: level + 1]), 5) for level in range(len(bits))],
        "data": card.training.get("data", "not stated"),
        "steps": card.training.get("steps"),
        "licence": card.licence or "not stated",
        **({"picture_side": shape.picture_side} if shape.picture_side else {}),
    } | ({"origin": card.origin} if card.origin else {})


def as_text(values: dict[str, Any]) -> str:
    """What `describe_model` says, in lines."""
    rates = ", ".join(f"{rate:.3f}" for rate in values["bits_per_pixel"])
    rows = [
        ("id", values["model_id"]),
        ("size", f"{values['bytes'] / 1e6:.1f} MB"),
        ("rates", f"{rates} bits per pixel with 1 to {len(values['bits_per_pixel'])} levels"),
        ("tokens", f"f = {values['downsampling_factor']}, K = {', '.join(map(str, values['codebook_sizes']))}"),
        *(
            [("pictures", "of {0} x {0} pixels only".format(values["picture_side"]))]
            if "picture_side" in values
            else []
        ),
        ("trained on", values["data"] if values["steps"] is None else f"{values['data']}, {values['steps']} steps"),
        ("licence", values["licence"]),
        ("folder", values["folder"]),
    ]
    return "\n".join([printable(values["name"]), *(f"  {name:<12}{printable(str(text))}" for name, text in rows)])
