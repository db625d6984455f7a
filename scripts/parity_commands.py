"""`parity.py --commands`: families from the files that their projects publish, by the commands that a user types.

Pictures are the reference's, rounded to 8 bits, and one with odd sides cut out of the first. Tokens of `encode` and of
`tokenize` must be those that the networks choose for the same 8 bits; those that are not the reference's, whose picture
was not rounded, are told. What `decode` makes of the reference's own tokens must be within 1 of 255 of the reference.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from parity_layouts import write_published
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from vqcodec.cards.engines import load_network
from vqcodec.cards.model_card import load_model_folder
from vqcodec.codec import Codec
from vqcodec.dataset.reader import TokenDataset
from vqcodec.pictures.image import to_tensor

COMMAND = Path(sys.executable).with_name("vqcodec")
HEADER = (
    "| material | files | picture | not the network's tokens | not the reference's | decoded, from the network's "
    "| reference's tokens decoded, from the reference's |\n|---|---|---|---|---|---|---|"
)
Pixels = NDArray[np.uint8]


class CommandError(Exception):
    """A command failed; the first of its lines that tell of an error, which starts with the file."""


def run(*arguments: object) -> None:
    done = subprocess.run([COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error: " in line]
        raise CommandError(lines[0].split("error: ", 1)[1] if lines else f"exit {done.returncode}: {done.stderr}")


@dataclass(frozen=True)
class Case:
    """A picture; what the reference has of it, in 0..255, or None."""

    name: str
    pixels: Pixels
    tokens: list[NDArray[np.int64]] | None = None
    decoded: NDArray[np.float64] | None = None


def compare_commands(source: Path, recipe: dict[str, Any], checkpoint: Path | None = None) -> list[str]:
    """Lines of the table for a family. checkpoint: in the place of the file that is written of it."""
    expected = load_file(source / "expected.safetensors")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "published").mkdir()
        published = write_published(source, recipe, folder / "published")
        path = checkpoint or published.path
        options = ["--config", published.config] if published.config else []
        model = folder / "model"
        run("models", "import", path, "--name", "m", "--out", model, *options)
        title = f"| {path.name if checkpoint else source.name} | {'' if checkpoint else published.files}"
        if "image.square" not in expected:
            asked = ["--class", 3] if source.name.endswith("_class") else []
            return [f"{title} | {_generated(model, folder, *asked)} | | | | |"]
        lines = []
        cases = _cases(expected, model)
        alone = load_model_folder(model).card.autoencoder.picture_side > 0  # others than one size are refused
        for group in [[case] for case in cases] if alone else [cases]:
            try:
                lines += [f"{title} {line}" for line in _compare(group, model, folder)]
            except CommandError as error:
                names, (_, told) = ", ".join(case.name for case in group), str(error).split(": ", 1)
                lines.append(f"{title} | {names} | refused: {told} | | | |")
        return lines


def generate_with(source: Path, recipe: dict[str, Any], tokenizer: Path) -> list[str]:
    """The same for a prior in a file of its own, of the tokens of the family in `tokenizer`."""
    with tempfile.TemporaryDirectory() as name:
        folder, model = Path(name), Path(name, "model")
        for part in ("a", "b"):
            (folder / part).mkdir()
        run("models", "import", write_published(tokenizer, recipe, folder / "a").path, "--name", "m", "--out", model)
        published = write_published(source, recipe, folder / "b")
        prior = folder / "prior"
        run("models", "import", published.path, "--name", "p", "--for", model, "--out", prior)
        told = _generated(model, folder, "--prior", prior)
    return [f"| {source.name} | {published.files} | {told} | | | | |"]


def _generated(model: Path, folder: Path, *options: object) -> str:
    run("generate", "-o", folder / "generated", "--model", model, "--size", "32x32", *options)
    with Image.open(folder / "generated" / "000.png") as made:
        return f"generates {made.width} x {made.height}"


def _cases(expected: dict[str, Tensor], model: Path) -> list[Case]:
    networks = load_model_folder(model).card.autoencoder.networks
    is_unit = getattr(networks, "pixel_range", "signed") == "unit"
    ema = "_ema" if any("_ema." in name for name in expected) else ""

    def levels(values: Tensor) -> NDArray[np.float64]:
        """(1, C, H, W) to (H, W, C) in 0..255."""
        scaled = values[0].double().movedim(0, 2).numpy()
        return scaled * 255 if is_unit else (scaled + 1) * 127.5

    cases = []
    for name in ("square", "wide"):
        all_codes = f"indices_all.{name}" in expected  # of a model that numbers some of its codes anew: before that
        tokens = expected[f"indices_all.{name}" if all_codes else f"indices{ema}.{name}"][0]
        decoded = expected[f"decoded_straight_through.{name}" if all_codes else f"decoded{ema}.{name}"]
        pixels = levels(expected[f"image.{name}"]).round().clip(0, 255).astype(np.uint8)
        if tokens.ndim == 1 and pixels.shape[0] != pixels.shape[1]:
            cases.append(Case(name, pixels))
            continue
        grids = _grids(tokens, model, pixels) if tokens.ndim == 1 else list(tokens.reshape(-1, *tokens.shape[-2:]))
        cases.append(Case(name, pixels, [grid.numpy() for grid in grids], levels(decoded).clip(0, 255)))
    rows, cols = (side - side // 8 - 1 for side in cases[0].pixels.shape[:2])
    return [*cases, Case("odd", cases[0].pixels[:rows, : cols - 2])]


def _grids(row: Tensor, model: Path, pixels: Pixels) -> list[Tensor]:
    """VAR's tokens, all in a row."""
    card, (height, width) = load_model_folder(model).card, pixels.shape[:2]
    shapes = [card.stream_model.grid_shape(level, width, height) for level in range(card.autoencoder.levels)]
    return [part.view(shape) for part, shape in zip(row.split([a * b for a, b in shapes]), shapes, strict=True)]


def _compare(cases: list[Case], model: Path, folder: Path) -> list[str]:
    codec, network = Codec.load(model, device="cpu"), load_network(load_model_folder(model)).eval()
    tag = cases[0].name
    pictures, streams, decoded, tokens = (folder / f"{tag}_{name}" for name in ("png", "vq", "decoded", "tokens"))
    for made in (pictures, streams):
        made.mkdir()
    for case in cases:
        pixels = case.pixels[:, :, 0] if case.pixels.shape[2] == 1 else case.pixels
        if pixels.ndim == 3 and pixels.shape[2] != 3:  # of a map of classes: any picture, which is refused
            pixels = pixels[:, :, :3]
        Image.fromarray(pixels).save(pictures / f"{case.name}.png")
    run("encode", *pictures.iterdir(), "-o", streams, "--model", model)
    for case in cases:
        if case.tokens:
            height, width = case.pixels.shape[:2]
            stream = codec.write([grid[None] for grid in case.tokens], width, height)
            (streams / f"{case.name}_reference.vq").write_bytes(stream)
    run("decode", *streams.glob("*.vq"), "-o", decoded, "--model", model)
    size = load_model_folder(model).card.autoencoder.picture_side or "native"
    run("tokenize", pictures, "-o", tokens, "--model", model, "--size", size, "--workers", 1)
    dataset = TokenDataset(tokens, columns=["key"])
    rows = {row["key"]: row["levels"] for row in map(dataset.__getitem__, range(len(dataset)))}
    return [_line(case, network, codec, streams, decoded, rows) for case in cases]


@torch.no_grad()
def _line(
    case: Case, network: Any, codec: Codec, streams: Path, decoded: Path, rows: dict[str, list[NDArray[Any]]]
) -> str:
    images = to_tensor(
        np.repeat(case.pixels, 3 // case.pixels.shape[2], axis=2), codec.card.autoencoder.downsampling_factor
    )
    own = network.tokenize(images[:, : case.pixels.shape[2]])
    encoded = [grid.indices for grid in codec.read(streams / f"{case.name}.vq").tokens.levels]
    stored = next(grids for key, grids in rows.items() if key.split("/")[-1].startswith(case.name))
    wrong = sum(_unequal(grids, [grid[0].numpy() for grid in own]) for grids in (encoded, stored))
    count = sum(grid.size for grid in encoded)
    height, width = case.pixels.shape[:2]
    image = network.detokenize(own)[0, :, :height, :width].double().movedim(0, 2).numpy()
    apart = _apart(decoded / f"{case.name}.png", ((image + 1) * 127.5).clip(0, 255))
    verdict = " WRONG" if wrong or apart > 1 else ""
    if case.tokens is None or case.decoded is None:
        return f"| {case.name} | {wrong} of {2 * count} | | {apart}{verdict} | |"
    other = _unequal(encoded, case.tokens)
    from_reference = _apart(decoded / f"{case.name}_reference.png", case.decoded)
    verdict = verdict or (" WRONG" if from_reference > 1 else "")
    return f"| {case.name} | {wrong} of {2 * count} | {other} of {count} | {apart} | {from_reference}{verdict} |"


def _unequal(ours: Any, theirs: Any) -> int:
    return sum(int((np.asarray(a) != np.asarray(b)).sum()) for a, b in zip(ours, theirs, strict=True))


def _apart(path: Path, wanted: NDArray[np.float64]) -> int:
    """Most levels between a PNG and what it should be, in 0..255, rounded."""
    with Image.open(path) as made:
        values = np.asarray(made.convert("RGB")).astype(int)
    return int(np.abs(values - wanted.round().astype(int)).max())
