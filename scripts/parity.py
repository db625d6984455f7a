"""Hold imported models against what the official code makes of the same weights.

    python scripts/parity.py FOLDER                       # all families in FOLDER, a line each
    python scripts/parity.py FOLDER --commands            # the same by the commands, from the files that are published
    python scripts/parity.py FOLDER --full photo.png      # two networks at full width: seconds and memory

FOLDER holds a folder for each family, with the official configuration, names and shapes of the tensors (config.json)
and what the official classes gave (expected.safetensors), and `recipe.py`, which makes weights from names and shapes.
Every model goes the whole way: the files that its project publishes are written, imported and loaded.
"""

from __future__ import annotations

import argparse
import resource
import runpy
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from parity_layouts import write_published
from safetensors.torch import load_file
from torch import Tensor, nn

from vqcodec.cards.engines import load_network
from vqcodec.checkpoints.errors import ForeignCheckpointError
from vqcodec.checkpoints.families import recognise
from vqcodec.checkpoints.importing import import_checkpoint
from vqcodec.checkpoints.reading import read_checkpoint
from vqcodec.checkpoints.sequence_priors import _llamagen, _taming
from vqcodec.codec import Codec
from vqcodec.models.taming import TamingDecoder, TamingEncoder
from vqcodec.models.taming_config import TamingConfig
from vqcodec.prior.conditions import Conditions
from vqcodec.prior.sequence import SequencePrior

STAGE_2 = {"taming_net2net_class": _taming, "taming_net2net_uncond_permuted": _taming, "llamagen_gpt_c2i": _llamagen}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", help="families, by the names of their folders; all by default")
    parser.add_argument("--full", type=Path, metavar="PICTURE", help="measure two networks at full width instead")
    parser.add_argument("--commands", action="store_true", help="by `vqcodec models import`, `encode` and so on")
    arguments = parser.parse_args()
    recipe = runpy.run_path(str(arguments.folder / "recipe.py"))
    if arguments.full:
        measure_full(recipe, arguments.full)
        return
    if arguments.commands:
        sys.exit(by_commands(arguments.folder, arguments.names, recipe))
    failed = False
    print("| material | picture | latents | tokens that differ | decoded |\n|---|---|---|---|---|")
    for path in sorted(arguments.folder.glob("*/config.json")):
        name = path.parent.name
        if arguments.names and name not in arguments.names:
            continue
        try:
            lines = compare_prior(path.parent, recipe) if name in STAGE_2 else compare(path.parent, recipe)
        except ForeignCheckpointError as error:
            lines = [f"| {name} | not imported: {str(error).split(':', 1)[1][:90]} | | | |"]
        failed |= any("WRONG" in line for line in lines)
        print("\n".join(lines), flush=True)
    for path in sorted((arguments.folder / "lightning_ckpt").glob("*.ckpt")):
        tensors = read_checkpoint(path).tensors
        print(f"| {path.name} | {recognise(tensors.keys(), path).family.name}, {len(tensors)} tensors read | | | |")
    sys.exit(failed)


def by_commands(folder: Path, names: list[str], recipe: dict[str, Any]) -> bool:
    """The table by the commands; whether something is wrong."""
    from parity_commands import HEADER, compare_commands, generate_with

    print(HEADER)
    failed = False
    for path in sorted(folder.glob("*/config.json")):
        source = path.parent
        if names and source.name not in names:
            continue
        if source.name == "llamagen_gpt_c2i":
            lines = generate_with(source, recipe, folder / "llamagen_vq")
        else:
            lines = compare_commands(source, recipe)
        failed |= any("WRONG" in line for line in lines)
        print("\n".join(lines), flush=True)
    for checkpoint in [] if names else sorted((folder / "lightning_ckpt").glob("*.ckpt")):
        lines = compare_commands(folder / "taming_tiny", recipe, checkpoint)
        failed |= any("WRONG" in line for line in lines)
        print("\n".join(lines), flush=True)
    return failed


def compare(source: Path, recipe: dict[str, Any]) -> list[str]:
    expected, lines = load_file(source / "expected.safetensors"), []
    for averaged in (False, True):
        if averaged and not any("_ema." in name for name in expected):
            continue
        with tempfile.TemporaryDirectory() as name:
            published = write_published(source, recipe, Path(name))
            done = import_checkpoint(
                str(published.path), "m", averaged=averaged, config=published.config, folder=Path(name, "m")
            )
            network: Any = load_network(done.model).eval().requires_grad_(False)
        for picture in ("square", "wide", "odd"):
            if f"image.{picture}" in expected:
                if network.config.picture_side:
                    lines.append(compare_scales(source.name, network, expected, picture, published.stated))
                    continue
                lines.append(compare_picture(source.name, network, expected, picture, "_ema" if averaged else ""))
                if f"indices_all.{picture}" in expected:
                    used = done.model.card.origin["used_codes"]
                    lines.append(compare_used(source.name, network, expected, picture, used))
    return lines


def compare_used(name: str, network: Any, expected: dict[str, Tensor], picture: str, used: list[int]) -> str:
    """The numbers that taming's priors know: of the codes that are used, and the first one for all others."""
    numbers = {code: number for number, code in enumerate(used)}
    tokens = network.tokenize(expected[f"image.{picture}"])[0]
    renumbered = tokens.clone().apply_(lambda code: numbers.get(int(code), 0))
    wanted = expected[f"indices.{picture}"]
    wrong = int((renumbered != wanted).sum())
    pixels = network.detokenize([torch.tensor(used)[wanted]]) - expected[f"decoded.{picture}"]
    return _row(f"{name}, used codes", picture, None, wrong, wanted.numel(), pixels.abs().max().item())


def compare_scales(name: str, network: Any, expected: dict[str, Tensor], picture: str, stated: dict[str, Any]) -> str:
    """VAR: the tokens of all scales lie in a row. Its code takes other grids, too, which our models do not state."""
    grids = stated["about"][f"grids_{picture}"]
    network.quantizer.grids = [(side, side) if isinstance(side, int) else tuple(side) for side in grids]
    analysis = network.analyse(expected[f"image.{picture}"])
    tokens = network.choose_tokens(analysis, network.config.levels)
    wanted = expected[f"indices.{picture}"]
    parts = wanted.split([rows * cols for rows, cols in network.quantizer.grids], dim=1)
    made = network.detokenize([part.view(grid.shape) for part, grid in zip(parts, tokens, strict=True)])
    wrong = int((torch.cat([grid.flatten(1) for grid in tokens], dim=1) != wanted).sum())
    apart = (analysis.tensors[0] - expected[f"prequant.{picture}"]).abs().max().item()
    worst = (made - expected[f"decoded.{picture}"]).abs().max().item()
    return _row(name, picture, apart, wrong, wanted.numel(), worst)


def compare_picture(name: str, network: Any, expected: dict[str, Tensor], picture: str, ema: str) -> str:
    networks = network.config.networks
    is_unit = getattr(networks, "pixel_range", "signed") == "unit"
    images = expected[f"image.{picture}"]
    if picture == "odd":  # the official code leaves out what is over, where ours pads before
        network.encoder.downsampling_factor = 1
    latent = network.analyse(2 * images - 1 if is_unit else images).tensors[0]
    tokens = torch.stack(
        network.choose_tokens(network.analyse(2 * images - 1 if is_unit else images), network.config.levels), 1
    )
    # of a model that numbers some of its codes anew: before that
    wanted = expected.get(f"indices_all.{picture}", expected[f"indices{ema}.{picture}"])
    decoded = "decoded_straight_through" if f"indices_all.{picture}" in expected else "decoded"
    wanted = wanted if wanted.ndim == 4 else wanted[:, None]
    made = network.detokenize(list(wanted.unbind(1)))
    kind = "prequant" if getattr(networks, "code_kernel", 0) or f"latent.{picture}" not in expected else "latent"
    if kind == "prequant" and not getattr(networks, "code_kernel", 0):
        level = network.quantizer.each()[0]
        latent = level.project_in(latent.movedim(1, -1)).movedim(-1, 1)
    apart = (latent - expected[f"{kind}{ema}.{picture}"]).abs().max().item()
    wrong = int((tokens != wanted).sum())
    pixels = ((made + 1) / 2 if is_unit else made) - expected[f"{decoded}{ema}.{picture}"]
    worst = pixels.abs().max().item()
    return _row(name, picture + ema, apart, wrong, wanted.numel(), worst)


def _row(name: str, picture: str, apart: float | None, wrong: int, count: int, worst: float) -> str:
    verdict = "" if max(apart or 0.0, worst) < 1e-4 and not wrong else " WRONG"
    latents = "" if apart is None else f"{apart:.1e}"
    return f"| {name} | {picture} | {latents} | {wrong} of {count} | {worst:.1e}{verdict} |"


def compare_prior(source: Path, recipe: dict[str, Any]) -> list[str]:
    expected = load_file(source / "expected.safetensors")
    with tempfile.TemporaryDirectory() as name:
        published = write_published(source, recipe, Path(name))
        tensors, stated = read_checkpoint(published.path).tensors, published.stated
        made = STAGE_2[source.name](tensors, stated["config"], 4, published.path)
    prior = SequencePrior(made.config)
    prior.load_state_dict(made.state)
    prior.eval().requires_grad_(False)
    tokens, labels = expected["tokens"], expected["conditioning"].flatten()
    side = int(tokens.shape[1] ** 0.5)
    steps = prior.begin(
        [], (side, side), batch=len(tokens), conditions=Conditions(labels if made.config.classes else None)
    )
    order = torch.cat(steps.groups)
    grid = torch.empty_like(tokens).index_copy(1, order, tokens)
    cached = torch.cat([steps.logits(grid) for _ in order], dim=1)
    conditions = Conditions(labels if made.config.classes else None)
    whole = prior([grid.view(-1, side, side)], 0, conditions).flatten(1, 2)[:, order]
    apart = [(each - expected["logits"]).abs().max().item() for each in (whole, cached)]
    verdict = "" if max(apart) < 1e-4 else " WRONG"
    return [f"| {source.name} | logits | {apart[0]:.1e}, with a cache {apart[1]:.1e}{verdict} | | |"]


def measure_full(recipe: dict[str, Any], picture: Path) -> None:
    """taming f16 with 16384 codes and LlamaGen's VQ-16, with weights of the recipe."""
    print("| network | parameters | import | load | encode | decode | most memory |\n|---|---|---|---|---|---|---|")
    for kind, dimension in (("taming", 256), ("llamagen", 8)):
        with tempfile.TemporaryDirectory() as name:
            state = full_state(recipe, kind, dimension)
            torch.save({"state_dict": state}, Path(name, "model.ckpt"))
            count = sum(tensor.numel() for tensor in state.values())
            del state
            times = [time.perf_counter()]
            import_checkpoint(str(Path(name, "model.ckpt")), "full", folder=Path(name, "full"))
            times.append(time.perf_counter())
            codec = Codec.load(Path(name, "full"), device="cpu")
            times.append(time.perf_counter())
            stream = codec.encode(picture)
            times.append(time.perf_counter())
            codec.decode(stream)
            times.append(time.perf_counter())
        seconds = " | ".join(f"{each:.1f} s" for each in np.diff(times))
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"| {kind} | {count / 1e6:.1f} M | {seconds} | {most:.1f} GiB |", flush=True)


def full_state(recipe: dict[str, Any], kind: str, dimension: int) -> dict[str, Tensor]:
    config = TamingConfig()
    with torch.device("meta"):
        module = nn.ModuleDict(
            {
                "encoder": TamingEncoder(config),
                "decoder": TamingDecoder(config),
                "quant_conv": nn.Conv2d(256, dimension, 1),
                "post_quant_conv": nn.Conv2d(dimension, 256, 1),
            }
        )
    shapes = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    shapes["quantize.embedding.weight"] = (16384, dimension)
    if kind == "llamagen":
        shapes = {as_llamagen(name): shape for name, shape in shapes.items()}
    return {name: torch.from_numpy(recipe["values"](name, shape, {})) for name, shape in shapes.items()}


def as_llamagen(name: str) -> str:
    for number in range(5):
        name = name.replace(f"encoder.down.{number}.block.", f"encoder.conv_blocks.{number}.res.")
        name = name.replace(f"encoder.down.{number}.", f"encoder.conv_blocks.{number}.")
        name = name.replace(f"decoder.up.{number}.block.", f"decoder.conv_blocks.{4 - number}.res.")
        name = name.replace(f"decoder.up.{number}.", f"decoder.conv_blocks.{4 - number}.")
    return name.replace("mid.block_1", "mid.0").replace("mid.attn_1", "mid.1").replace("mid.block_2", "mid.2")


if __name__ == "__main__":
    main()
