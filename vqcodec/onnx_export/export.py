"""A model -> tokenize.onnx and detokenize.onnx, checked with onnxruntime."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vqcodec.cards.engines import load_network
from vqcodec.codec import Codec
from vqcodec.models.autoencoder import Autoencoder
from vqcodec.models.single_latent import VQAutoencoder
from vqcodec.models.two_resolutions import HierarchicalAutoencoder
from vqcodec.onnx_export.graphs import (
    CoarseFineDetokenizeGraph,
    CoarseFineTokenizeGraph,
    DetokenizeGraph,
    TokenizeGraph,
)
from vqcodec.whole_files import replacing_several

TOKENIZE_FILE: Final = "tokenize.onnx"
DETOKENIZE_FILE: Final = "detokenize.onnx"
_OPSET: Final = 18
#: initializers of fewer values are left as they are
_LEAST_VALUES: Final = 64
#: (batch, height, width) of the pictures that graphs are checked with
_CHECKED: Final = ((1, 16, 16), (1, 41, 70), (2, 48, 33))


class OnnxError(ValueError):
    """A model cannot be exported, or its graphs give something else."""


@dataclass(frozen=True)
class Differences:
    """What a check found: tokens that differ, of how many, and by how much pixels differ at most, 0..255."""

    tokens: int
    of: int
    pixels: int


def export_onnx(codec: Codec, folder: Path) -> Differences:
    """Write the graphs of a model into `folder`; nothing is left there when this fails.

    Weights that are float16 numbers are stored as such and cast when the graph is loaded, which changes nothing.
    A model of two latents has two grids of tokens, "coarse" and "fine". Raises OnnxError for one whose levels of one
    latent have several resolutions, for a missing extra, and where onnxruntime gives other tokens, or pixels that
    differ by more than 1.
    """
    codec.check_pictures()
    network = load_network(codec.model)  # not `codec.network`, which may have been rounded to bfloat16
    network.eval().requires_grad_(False)
    tokenize, detokenize, tokens = _halves(network, codec.card.name)
    factor = network.config.downsampling_factor
    pixels = torch.zeros(2, 3 * factor - 1, 4 * factor, 3, dtype=torch.uint8)
    sides = {"pixels": {0: "batch", 1: "height", 2: "width"}}
    grids = {name: {0: "batch", 2: f"{name}_rows", 3: f"{name}_cols"} for name in tokens}
    inputs = {**tokens, "levels": torch.tensor([network.config.levels])}
    with replacing_several(folder, [TOKENIZE_FILE, DETOKENIZE_FILE]) as draft:
        _write(tokenize, {"pixels": pixels}, list(tokens), sides | grids, draft / TOKENIZE_FILE)
        _write(detokenize, inputs, ["pixels"], sides | grids, draft / DETOKENIZE_FILE)
        found = [check_graphs(codec, draft, _picture(*size)) for size in _CHECKED]
        differences = Differences(
            sum(each.tokens for each in found), sum(each.of for each in found), max(each.pixels for each in found)
        )
        if differences.tokens or differences.pixels > 1:
            raise OnnxError(
                f"the graphs of {codec.card.name} give other results: {differences.tokens} of {differences.of} tokens "
                f"and up to {differences.pixels} levels of a pixel differ"
            )
    return differences


def _halves(network: Autoencoder, name: str) -> tuple[nn.Module, nn.Module, dict[str, Tensor]]:
    """The two graphs, and tokens of two pictures of 3 x 4 positions, by the names of the grids: "tokens", or "coarse"
    and "fine" where there are two latents."""

    def grid(levels: int, rows: int, cols: int) -> Tensor:
        return torch.zeros(2, levels, rows, cols, dtype=torch.int64)

    levels, coarse = network.config.levels, network.config.coarse_levels
    if isinstance(network, HierarchicalAutoencoder):
        tokens = {"coarse": grid(coarse, 2, 2), "fine": grid(levels - coarse, 3, 4)}
        return CoarseFineTokenizeGraph(network), CoarseFineDetokenizeGraph(network), tokens
    if not isinstance(network, VQAutoencoder) or network.config.quantizer.several_resolutions:
        raise OnnxError(f"model {name} has levels of several resolutions of one latent, which cannot be exported")
    return TokenizeGraph(network), DetokenizeGraph(network), {"tokens": grid(levels, 3, 4)}


def check_graphs(codec: Codec, folder: Path, pixels: NDArray[np.uint8]) -> Differences:
    """What the graphs in `folder` make of pictures (B, H, W, 3), beside what the codec makes of each."""
    runtime = _installed("onnxruntime")
    tokenize, detokenize = (
        runtime.InferenceSession(folder / name, providers=["CPUExecutionProvider"])
        for name in (TOKENIZE_FILE, DETOKENIZE_FILE)
    )
    names = [output.name for output in tokenize.get_outputs()]
    tokens = dict(zip(names, tokenize.run(names, {"pixels": pixels}), strict=True))
    levels = np.array([codec.card.autoencoder.levels])
    made = detokenize.run(None, {**tokens, "levels": levels})[0]
    height, width = pixels.shape[1:3]
    wrong, largest = 0, 0
    for number, (picture, its_pixels) in enumerate(zip(pixels, made, strict=True)):
        its_tokens = [grid for name in names for grid in tokens[name][number]]
        stream = codec.read(codec.encode(picture, entropy="uniform"))
        for grid, found in zip(stream.tokens.levels, its_tokens, strict=True):
            wrong += int((grid.indices != found).sum())
        painted = np.asarray(codec.decode(codec.write([grid[None] for grid in its_tokens], width, height)))
        difference = painted.astype(int) - its_pixels[:height, :width].astype(int)
        largest = max(largest, int(np.abs(difference).max()))
    return Differences(wrong, sum(grids.size for grids in tokens.values()), largest)


def _picture(batch: int, height: int, width: int) -> NDArray[np.uint8]:
    """(batch, height, width, 3): waves and noise."""
    noise = np.random.default_rng(0).normal(0, 12, (batch, height, width, 3))
    y, x = np.mgrid[:height, :width] / 9.0
    waves = np.stack([np.sin(x + y * channel) for channel in range(3)], axis=2)
    made: NDArray[np.uint8] = (128 + 90 * waves + noise).round().clip(0, 255).astype(np.uint8)
    return made


def _write(
    module: nn.Module, inputs: dict[str, Tensor], outputs: list[str], free: dict[str, dict[int, str]], path: Path
) -> None:
    """free: the axes of inputs and output that may have any length, with names.

    The graph is traced: torch.export takes minutes to prove what holds for all sizes, where sides are rounded up.
    """
    onnx = _installed("onnx")
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a tracer about Python numbers, which are the same for all sizes
        torch.onnx.export(
            module.eval(),
            tuple(inputs.values()),
            path,
            dynamo=False,
            input_names=list(inputs),
            output_names=outputs,
            dynamic_axes={name: axes for name, axes in free.items() if name in (*inputs, *outputs)},
            opset_version=_OPSET,
        )
    model = onnx.load(path)
    _halve(onnx, model)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def _halve(onnx: ModuleType, model: Any) -> None:
    """Store float32 initializers as float16 and cast them, where that changes no value; in place."""
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT:
            continue
        values = onnx.numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):
            halves = values.astype(np.float16)
        if values.size < _LEAST_VALUES or not np.array_equal(halves.astype(np.float32), values):
            continue
        name = tensor.name
        tensor.CopyFrom(onnx.numpy_helper.from_array(halves, f"{name}.float16"))
        casts.append(onnx.helper.make_node("Cast", [f"{name}.float16"], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _installed(name: str) -> Any:
    """Raises OnnxError where a package of the extra is not installed."""
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise OnnxError(f"{name} is not installed; pip install 'vqcodec[onnx]'") from error
