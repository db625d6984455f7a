"""Fixtures that several test folders share."""

from __future__ import annotations

import hashlib
import os
import runpy
import shutil
from collections.abc import Iterator
from pathlib import Path

# One thread for each process of the suite and for those that it starts, whose networks are far too small for more. It
# is read when torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Whoever runs the tests may have models of their own.
os.environ["XDG_DATA_HOME"] = str(Path(__file__).parent / "no-data-home")

import numpy as np
import pytest
import torch
from safetensors.torch import save

from vqcodec.bitstream import quantise_frequencies
from vqcodec.cards import finding
from vqcodec.cards.finding import MODELS_VARIABLE
from vqcodec.cards.model_card import WEIGHTS_FILE, ModelCard, load_model_folder
from vqcodec.models.building import build_autoencoder
from vqcodec.models.config import AutoencoderConfig, CompactConfig, HierarchicalConfig, QuantizerConfig
from vqcodec.models.taming_config import TamingConfig

_REFERENCE = Path(__file__).parent / "helpers" / "perceptual_reference.py"


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder: 2 levels of K = 32 at f = 16, random weights (always the same), static frequencies."""
    quantizer = QuantizerConfig(codebook_sizes=(32, 32), code_dimension=4)
    return _write_model(tmp_path_factory.mktemp("models") / "tiny", AutoencoderConfig(_networks(3), quantizer))


@pytest.fixture(scope="session")
def coding_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tiny model whose streams a random prior codes."""
    from prior_helpers import write_prior

    from vqcodec.cards.prior_card import find_prior
    from vqcodec.training.data.pictures import ArrayPictures
    from vqcodec.training.export import export_entropy_prior

    folder = tmp_path_factory.mktemp("coding") / "tiny"
    shutil.copytree(tiny_model, folder)
    write_prior(folder / "prior", tiny_model, classes=())
    pixels = np.random.default_rng(5).integers(0, 256, (4, 96, 96, 3), dtype=np.uint8)
    crops = ArrayPictures(np.repeat(np.repeat(pixels[:, ::8, ::8], 24, axis=1), 24, axis=2))
    export_entropy_prior(folder, find_prior(load_model_folder(folder)), crops, crops=2)
    return folder


@pytest.fixture(scope="session")
def hierarchical_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Levels of two resolutions, 16 and 8 codes at f = 8, twice 8 at f = 4. It lies in a folder of its own."""
    networks = HierarchicalConfig(patch=2, widths=(6, 10, 12), latent_channels=(9, 7), laps=(4, 2))
    quantizer = QuantizerConfig((16, 8, 8, 8), 4, lookup="euclidean", level_strides=(2, 2, 1, 1))
    return _write_model(
        tmp_path_factory.mktemp("hierarchical") / "tiny-hierarchical", AutoencoderConfig(networks, quantizer)
    )


@pytest.fixture(scope="session")
def strided_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Levels of two resolutions of one latent, 16 codes at f = 16 and 8 at f = 8. It lies in a folder of its own."""
    quantizer = QuantizerConfig((16, 8), 4, level_strides=(2, 1))
    folder = tmp_path_factory.mktemp("strided") / "tiny-strided"
    return _write_model(folder, AutoencoderConfig(_networks(2), quantizer))


@pytest.fixture(scope="session")
def context_model(hierarchical_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the model of two resolutions whose streams a random context network codes."""
    from context_helpers import write_context

    from vqcodec.cards.prior_card import load_prior_folder
    from vqcodec.training.export import export_entropy_prior

    folder = tmp_path_factory.mktemp("context") / "tiny-hierarchical"
    shutil.copytree(hierarchical_model, folder)
    network = load_prior_folder(write_context(folder.with_name("network"), folder))
    export_entropy_prior(folder, network, None, crops=1)
    return folder


@pytest.fixture(scope="session")
def two_priors_model(hierarchical_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another, whose coarse levels a random transformer codes, the fine ones a random context network of all levels."""
    from context_helpers import write_context
    from prior_helpers import write_prior

    from vqcodec.cards.prior_card import load_prior_folder
    from vqcodec.training.data.pictures import ArrayPictures
    from vqcodec.training.export import export_entropy_prior

    folder = tmp_path_factory.mktemp("two-priors") / "tiny-hierarchical"
    shutil.copytree(hierarchical_model, folder)
    transformer = write_prior(folder.with_name("transformer"), folder, classes=(), levels=2)
    network = write_context(folder.with_name("network"), folder)
    pixels = np.random.default_rng(5).integers(0, 256, (4, 256, 256, 3), dtype=np.uint8)
    first, second = load_prior_folder(transformer), load_prior_folder(network)
    export_entropy_prior(folder, first, ArrayPictures(pixels), crops=2, context=second)
    return folder


@pytest.fixture(scope="session")
def edges_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for edges: levels of K = 16 and K = 8 at f = 8. It lies in a folder of its own."""
    quantizer = QuantizerConfig(codebook_sizes=(16, 8), code_dimension=4)
    config = AutoencoderConfig(_networks(2), quantizer, label_map="edges")
    return _write_model(tmp_path_factory.mktemp("maps") / "tiny-edges", config)


@pytest.fixture(scope="session")
def one_size_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of pictures of 32 x 32 pixels only, as levels of 2 x 2 and 4 x 4 tokens. It lies in a folder of its own."""
    quantizer = QuantizerConfig((16, 16), 4, codebook="gradient", lookup="euclidean", level_grids=(2, 4))
    networks = TamingConfig(
        32, (1, 1, 1, 1), 1, attention_resolutions=(), latent_channels=8, code_channels=8, code_kernel=3
    )
    return _write_model(tmp_path_factory.mktemp("sizes") / "tiny-one-size", AutoencoderConfig(networks, quantizer))


@pytest.fixture(scope="session")
def gray_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of gray pictures: levels of K = 16 and K = 8 at f = 4. It lies in a folder of its own."""
    quantizer = QuantizerConfig((16, 8), 4, codebook="gradient", lookup="euclidean")
    networks = TamingConfig(32, (1, 1, 1), 1, attention_resolutions=(), latent_channels=8, picture_channels=1)
    return _write_model(tmp_path_factory.mktemp("gray") / "tiny-gray", AutoencoderConfig(networks, quantizer))


def _networks(stages: int) -> CompactConfig:
    """f = 2 ** (stages + 1)."""
    return CompactConfig(
        patch=4,
        encoder_widths=(8, 8, 16)[-stages:],
        encoder_depths=(1,) * stages,
        encoder_hidden=(0.5, 0.5, 1.0)[-stages:],
        decoder_widths=(8, 8, 16)[-stages:],
        decoder_depths=(1,) * stages,
        decoder_hidden=(1.0,) * stages,
        latent_channels=16,
    )


def _write_model(folder: Path, config: AutoencoderConfig) -> Path:
    """Its name is that of the folder."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(20)
        network = build_autoencoder(config)
        if isinstance(config.networks, HierarchicalConfig):  # whose linear maps would all be 0
            images = torch.nn.functional.avg_pool2d(torch.randn(8, 3, 64, 64), 5, 1, 2) * 2
            network.start(images, torch.Generator().manual_seed(0))
    weights = {
        key: value.to(torch.float32 if ".levels." in key else torch.float16).contiguous()
        for key, value in network.state_dict().items()
        if "average_" not in key
    }
    folder.mkdir()
    raw = save(weights)
    (folder / WEIGHTS_FILE).write_bytes(raw)
    counts = [np.arange(1, size + 1) for size in config.quantizer.codebook_sizes]
    frequencies = tuple(tuple(int(value) for value in quantise_frequencies(count)) for count in counts)
    ModelCard(
        name=folder.name,
        autoencoder=config,
        static_frequencies=frequencies,
        weights_sha256=hashlib.sha256(raw).hexdigest(),
        licence="MIT",
        training={"data": "none: random weights"},
    ).save(folder)
    return folder


@pytest.fixture(scope="session")
def perceptual_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with random weights for LPIPS and DISTS, with few channels."""
    folder = tmp_path_factory.mktemp("perceptual")
    runpy.run_path(str(_REFERENCE))["write_weights"](folder)
    return folder


@pytest.fixture
def no_models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No model is embedded or installed, and cards are read anew."""
    monkeypatch.setattr(finding, "_EMBEDDED", tmp_path / "embedded")
    monkeypatch.delenv(MODELS_VARIABLE, raising=False)
    load_model_folder.cache_clear()
    yield
    load_model_folder.cache_clear()
