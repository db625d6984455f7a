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
from vqcodec.models.single_latent import VQAutoencoder
from vqcodec.onnx_export.graphs import DetokenizeGraph, TokenizeGraph
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
    Raises OnnxError for models with several latents, a missing extra, and where onnxruntime gives other tokens, or
    pixels that differ by more than 1.
    """
    codec.check_pictures()
    network = load_network(codec.model)  # not `codec.network`, which may have been rounded to bfloat16
    if not isinstance(network, VQAutoencoder) or network.config.quantizer.several_resolutions:
        raise OnnxError(f"model {codec.card.name} has levels of several resolutions, which cannot be exported")
    network.eval().requires_grad_(False)
    factor, levels = network.config.downsampling_factor, network.config.levels
    pixels = torch.zeros(2, 3 * factor - 1, 4 * factor, 3, dtype=torch.uint8)
    tokens = torch.zeros(2, levels, 3, 4, dtype=torch.int64)
    grid, sides = {0: "batch", 2: "rows", 3: "cols"}, {0: "batch", 1: "height", 2: "width"}
    with replacing_several(folder, [TOKENIZE_FILE, DETOKENIZE_FILE]) as draft:
        _write(
            TokenizeGraph(network),
            {"pixels": pixels},
            "tokens",
            {"pixels": sides, "tokens": grid},
            draft / TOKENIZE_FILE,
        )
        _write(
            DetokenizeGraph(network),
            {"tokens": tokens, "levels": torch.tensor([levels])},
            "pixels",
            {"tokens": grid, "pixels": sides},
            draft / DETOKENIZE_FILE,
        )
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


def check_graphs(codec: Codec, folder: Path, pixels: NDArray[np.uint8]) -> Differences:
    """What the graphs in `folder` make of pictures (B, H, W, 3), beside what the codec makes of each."""
    runtime = _installed("onnxruntime")
    tokenize, detokenize = (
        runtime.InferenceSession(folder / name, providers=["CPUExecutionProvider"])
        for name in (TOKENIZE_FILE, DETOKENIZE_FILE)
    )
    tokens = tokenize.run(None, {"pixels": pixels})[0]
    levels = np.array([tokens.shape[1]])
    made = detokenize.run(None, {"tokens": tokens, "levels": levels})[0]
    height, width = pixels.shape[1:3]
    wrong, largest = 0, 0
    for picture, its_tokens, its_pixels in zip(pixels, tokens, made, strict=True):
        stream = codec.read(codec.encode(picture, entropy="uniform"))
        expected = np.stack([grid.indices for grid in stream.tokens.levels])
        wrong += int((expected != its_tokens).sum())
        painted = np.asarray(codec.decode(codec.write([grid[None] for grid in its_tokens], width, height)))
        difference = painted.astype(int) - its_pixels[:height, :width].astype(int)
        largest = max(largest, int(np.abs(difference).max()))
    return Differences(wrong, int(tokens.size), largest)


def _picture(batch: int, height: int, width: int) -> NDArray[np.uint8]:
    """(batch, height, width, 3): waves and noise."""
    noise = np.random.default_rng(0).normal(0, 12, (batch, height, width, 3))
    y, x = np.mgrid[:height, :width] / 9.0
    waves = np.stack([np.sin(x + y * channel) for channel in range(3)], axis=2)
    made: NDArray[np.uint8] = (128 + 90 * waves + noise).round().clip(0, 255).astype(np.uint8)
    return made


def _write(
    module: nn.Module, inputs: dict[str, Tensor], output: str, free: dict[str, dict[int, str]], path: Path
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
            output_names=[output],
            dynamic_axes=free,
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
