"""vqcodec export onnx: graphs of free sizes that give the model's tokens and pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from cli_helpers import names_in, only_error, vqcodec

from vqcodec.codec import Codec
from vqcodec.onnx_export.export import export_onnx

pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def graphs(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("onnx") / "graphs"
    result = vqcodec("export", "onnx", tiny_model, folder)
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    assert "tokens are equal, pixels differ by" in result.stdout
    return folder


def session(graphs: Path, name: str) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(graphs / name)


@pytest.mark.parametrize("size", [(1, 1, 1), (1, 16, 16), (1, 3, 40), (3, 50, 33), (2, 17, 31)])
def test_graphs_give_the_tokens_and_pixels_of_the_codec(size: tuple[int, ...], graphs: Path, tiny_model: Path) -> None:
    codec = Codec.load(tiny_model)
    pixels = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    tokens = session(graphs, "tokenize.onnx").run(None, {"pixels": pixels})[0]
    for levels in (1, 2):
        made = session(graphs, "detokenize.onnx").run(None, {"tokens": tokens, "levels": np.array([levels])})[0]
        for picture, its_tokens, its_pixels in zip(pixels, tokens, made, strict=True):
            stream = codec.encode(picture, levels=levels)
            grids = codec.read(stream).tokens.levels
            assert [grid.indices.tolist() for grid in grids] == its_tokens[:levels].tolist()
            difference = np.asarray(codec.decode(stream)).astype(int) - its_pixels[: size[1], : size[2]]
            assert np.abs(difference).max() <= 1


@pytest.fixture(scope="module")
def coarse_fine(hierarchical_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("coarse_fine") / "graphs"
    result = vqcodec("export", "onnx", hierarchical_model, folder)
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    return folder


@pytest.mark.parametrize("size", [(1, 1, 1), (1, 16, 16), (1, 3, 40), (3, 50, 33), (2, 17, 31), (1, 20, 12)])
def test_graphs_of_two_latents(size: tuple[int, ...], coarse_fine: Path, hierarchical_model: Path) -> None:
    codec = Codec.load(hierarchical_model)
    pixels = np.random.default_rng(2).integers(0, 256, (*size, 3), dtype=np.uint8)
    tokenize, detokenize = (session(coarse_fine, name) for name in ("tokenize.onnx", "detokenize.onnx"))
    coarse, fine = tokenize.run(["coarse", "fine"], {"pixels": pixels})
    for levels in (1, 2, 3, 4):
        given = {"coarse": coarse, "fine": fine, "levels": np.array([levels])}
        made = detokenize.run(None, given)[0]
        for picture, coarser, finer, its_pixels in zip(pixels, coarse, fine, made, strict=True):
            stream = codec.encode(picture, levels=levels)
            found = [*coarser, *finer][:levels]
            grids = codec.read(stream).tokens.levels
            assert [grid.indices.tolist() for grid in grids] == [grid.tolist() for grid in found]
            decoded = np.asarray(codec.decode(stream)).astype(int)
            assert np.abs(decoded - its_pixels[: size[1], : size[2]]).max() <= 1
            sides = [
                8 * length if levels < 3 else 4 * other
                for length, other in zip(coarser[0].shape, finer[0].shape, strict=True)
            ]
            assert its_pixels.shape == (*sides, 3)


def test_graphs_of_gray_pictures(gray_model: Path, tmp_path: Path) -> None:
    """The command compares them with the codec."""
    codec = Codec.load(gray_model, device="cpu", dtype=torch.float32)
    differences = export_onnx(codec, tmp_path / "graphs")
    assert differences.of > differences.tokens == 0


def test_weights_lie_in_half_precision(graphs: Path, tiny_model: Path) -> None:
    import onnx

    kinds = {each.data_type for each in onnx.load(graphs / "tokenize.onnx").graph.initializer if len(each.dims) == 4}
    assert kinds == {onnx.TensorProto.FLOAT16}
    assert sum((graphs / name).stat().st_size for name in names_in(graphs)) < 3 * (
        (tiny_model / "stage1.safetensors").stat().st_size
    )


def test_what_cannot_be_exported(strided_model: Path, edges_model: Path, graphs: Path, tmp_path: Path) -> None:
    for model, part in (
        (strided_model, "levels of several resolutions of one latent"),
        (edges_model, "does not code pictures"),
    ):
        assert part in only_error(vqcodec("export", "onnx", model, tmp_path / "x"))
        assert not (tmp_path / "x").exists()
    assert "exists already" in only_error(vqcodec("export", "onnx", "tiny", graphs))
