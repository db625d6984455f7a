"""Which model a codec takes, and what is wrong with one that it does not take."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save

from vqcodec.bitstream import UnknownModelError, WrongModelError
from vqcodec.cards.errors import ModelError
from vqcodec.cards.finding import MODELS_VARIABLE, find_model_by_id
from vqcodec.cards.model_card import CARD_FILE, WEIGHTS_FILE, ModelCard, load_model_folder
from vqcodec.codec import Codec
from vqcodec.compute.errors import DeviceError

PIXELS = np.arange(20 * 30 * 3, dtype=np.uint8).reshape(20, 30, 3)


pytestmark = pytest.mark.usefixtures("no_models")


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that may be damaged."""
    return Path(shutil.copytree(tiny_model, tmp_path / "models" / "copy"))


def load(name: str | Path) -> Codec:
    return Codec.load(name, device="cpu", dtype=torch.float32)


def rewrite(folder: Path, **changes: Any) -> ModelCard:
    """Another card, with a fingerprint that fits."""
    load_model_folder.cache_clear()
    card = dataclasses.replace(load_model_folder(folder).card, **changes)
    card.save(folder)
    load_model_folder.cache_clear()
    return card


# ---- finding ----


def test_a_codec_is_loaded_by_path_name_and_id(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_path = load(folder)
    stream = by_path.encode(PIXELS)
    monkeypatch.setenv(MODELS_VARIABLE, str(folder.parent))
    for codec in (load(str(folder)), load("tiny"), load(by_path.card.model_id.hex())):
        assert codec.card == by_path.card
        assert codec.encode(PIXELS) == stream
    assert find_model_by_id(by_path.card.model_id) == by_path.model


def test_a_model_that_is_not_there(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="photo-9: no such model folder"):
        load("photo-9")
    with pytest.raises(ModelError, match="not a model folder"):
        load(tmp_path)
    with pytest.raises(UnknownModelError, match=f"{load(folder).card.model_id.hex()}, which is not installed"):
        find_model_by_id(load(folder).card.model_id)


def test_a_device_that_is_not_there(folder: Path) -> None:
    with pytest.raises(DeviceError, match="meta: not available"):
        Codec.load(folder, device="meta")


def test_the_wrong_model_is_an_error_that_names_both(
    folder: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = load(tiny_model).encode(PIXELS)
    other = rewrite(folder, name="other", static_frequencies=())
    writer = load(tiny_model).card.model_id.hex()
    with pytest.raises(WrongModelError, match=rf"{writer}, not with other \({other.model_id.hex()}\)"):
        load(folder).decode(stream)
    monkeypatch.setenv(MODELS_VARIABLE, str(tiny_model.parent))
    with pytest.raises(WrongModelError, match=rf"tiny \({writer}\), not with other"):
        load(folder).decode(stream)


def test_a_model_without_frequencies(folder: Path) -> None:
    rewrite(folder, static_frequencies=())
    codec = load(folder)
    assert codec.default_entropy == "uniform"
    assert codec.decode(codec.encode(PIXELS)).size == (30, 20)
    with pytest.raises(ModelError, match="tiny has no static frequencies"):
        codec.encode(PIXELS, entropy="static")


# ---- damaged folders: the message starts with the file's name ----


def failure(folder: Path, file: str) -> str:
    with pytest.raises(ModelError) as caught:
        load(folder)
    message = str(caught.value)
    assert message.startswith(f"{folder / file}: ")
    return message


def test_missing_card(folder: Path) -> None:
    (folder / CARD_FILE).unlink()
    with pytest.raises(ModelError, match=r"copy: not a model folder, it has no card\.json"):
        load(folder)


def test_missing_weights(folder: Path) -> None:
    (folder / WEIGHTS_FILE).unlink()
    assert "cannot be read (No such file or directory)" in failure(folder, WEIGHTS_FILE)


def test_a_card_with_a_changed_field(folder: Path) -> None:
    path = folder / CARD_FILE
    values = json.loads(path.read_text())
    values["autoencoder"]["quantizer"]["code_dimension"] += 1
    path.write_text(json.dumps(values))
    assert "fingerprint does not match" in failure(folder, CARD_FILE)


@pytest.mark.parametrize("cut", [0, 100, -1])
def test_truncated_weights(folder: Path, cut: int) -> None:
    path = folder / WEIGHTS_FILE
    path.write_bytes(path.read_bytes()[:cut])
    assert "not the weights that model tiny's card names" in failure(folder, WEIGHTS_FILE)


def test_a_flipped_bit_in_the_weights(folder: Path) -> None:
    raw = bytearray((folder / WEIGHTS_FILE).read_bytes())
    raw[-1] ^= 1
    (folder / WEIGHTS_FILE).write_bytes(raw)
    assert "not the weights that model tiny's card names" in failure(folder, WEIGHTS_FILE)


def replace_weights(folder: Path, raw: bytes) -> None:
    """Weights whose checksum is right."""
    (folder / WEIGHTS_FILE).write_bytes(raw)
    rewrite(folder, weights_sha256=hashlib.sha256(raw).hexdigest())


@pytest.mark.parametrize("raw", [b"", b"PK\x03\x04" + bytes(100), b"\xff" * 64])
def test_weights_that_are_no_safetensors(folder: Path, raw: bytes) -> None:
    replace_weights(folder, raw)
    assert "do not fit the card" in failure(folder, WEIGHTS_FILE)


@pytest.mark.parametrize("change", ["missing", "surplus", "shape"])
def test_weights_of_another_network(folder: Path, change: str) -> None:
    weights = load_file(folder / WEIGHTS_FILE)
    name = next(iter(weights))
    if change == "missing":
        del weights[name]
    elif change == "surplus":
        weights["more"] = torch.zeros(1)
    else:
        weights[name] = torch.zeros(1, 2, 3)
    replace_weights(folder, save(weights))
    assert "do not fit the card" in failure(folder, WEIGHTS_FILE)


def test_loading_leaves_random_numbers_and_torchs_compiler_alone(tiny_model: Path) -> None:
    """The compiler takes a second to import, and random starts on no device at all would import it."""
    program = (
        "import sys, torch; from vqcodec import Codec; before = torch.get_rng_state()\n"
        f"Codec.load({str(tiny_model)!r})\n"
        "assert torch.equal(torch.get_rng_state(), before), 'random numbers were drawn'\n"
        "assert 'torch._dynamo' not in sys.modules, 'the compiler was imported'\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
