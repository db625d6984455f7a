"""The page of a model in a repository: README.md with the hub's metadata. Imports no torch."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from vqcodec.cards.model_card import ModelCard

_LICENCE_ID = re.compile(r"[a-z0-9][a-z0-9.-]*")


@dataclass(frozen=True)
class Example:
    """A picture as the codec has it. size: (width, height). stream_bytes: of its stream. psnr: in dB."""

    size: tuple[int, int]
    stream_bytes: int
    psnr: float


def model_page(card: ModelCard, examples: Sequence[Example], *, sheet: str = "") -> str:
    """Markdown. sheet: name of a picture with the examples, "" for none."""
    licence = card.licence.lower()
    metadata = {
        "library_name": "vqcodec",
        "license": licence if _LICENCE_ID.fullmatch(licence) else "other",
        "tags": ["vqcodec", "image-compression", "vqgan", "image-tokenizer"],
    }
    lines = [
        "---",
        *(f"{key}: {json.dumps(value)}" for key, value in metadata.items()),
        "---",
        "",
        f"# {card.name}",
        "",
    ]
    lines += ["A model of vqcodec, a neural image codec: pictures become small `.vq` streams of tokens, and back.", ""]
    lines += ["```python", "from vqcodec import Codec", "", 'codec = Codec.load("hf://OWNER/REPO")  # this repository']
    lines += ['stream = codec.encode("photo.jpg")', "codec.decode(stream)", "```", ""]
    lines += ["| what | |", "|---|---|", *(f"| {name} | {value} |" for name, value in _facts(card)), ""]
    if examples:
        lines += ["| picture | stream | bits per pixel | PSNR |", "|---|---|---|---|"]
        for each in examples:
            rate = 8 * each.stream_bytes / math.prod(each.size)
            row = f"{each.size[0]} x {each.size[1]} | {each.stream_bytes} bytes | {rate:.4f} | {each.psnr:.2f} dB"
            lines.append(f"| {row} |")
        lines.append("")
    if sheet:
        lines += [f"Originals at the left, decoded at the right:\n\n![examples]({sheet})", ""]
    return "\n".join(lines)


def _facts(card: ModelCard) -> list[tuple[str, str]]:
    shape = card.autoencoder
    sizes, factors = shape.quantizer.codebook_sizes, shape.level_factors
    facts = [
        ("id", f"`{card.model_id.hex()}`"),
        ("pixels a token, each way", ", ".join(map(str, factors))),
        ("codes", ", ".join(map(str, sizes))),
        ("bits per pixel at fixed length", f"{sum(shape.level_rates):.4f}"),
        ("licence of the weights", card.licence or "not stated"),
        ("trained on", str(card.training.get("data", "not stated"))),
    ]
    kept = ("official_class", "repository_of_code", "licence_of_code", "source", "commit", "file", "file_sha256")
    return facts + [(name.replace("_", " "), str(card.origin[name])) for name in kept if card.origin.get(name)]
