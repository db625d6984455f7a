"""Priors on disk: the card, the weights, whose tokens they predict."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from vqcodec.cards.errors import ModelError
from vqcodec.cards.model_card import ModelFolder, load_model_folder
from vqcodec.cards.prior_card import (
    PRIOR_CARD_FILE,
    PRIOR_FOLDER,
    PRIOR_SCHEMA_VERSION,
    PRIOR_WEIGHTS_FILE,
    PriorCard,
    find_prior,
    load_prior_folder,
)
from vqcodec.prior.config import ConditionConfig, PriorConfig
from vqcodec.prior.sequence_config import SequenceConfig
from vqcodec.prior.transformer import Prior

CONFIG = PriorConfig((32, 32), (16, 16), ("quincunx", "raster"), width=8, depth=1, heads=2, token_width=4, radius=2)

SEQUENCE = SequenceConfig("llamagen", codes=32, factor=16, width=8, depth=1, heads=2, hidden=8, positions=4)


def make_network(config: PriorConfig = CONFIG) -> Prior:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(6)
        network = Prior(config)
        for weight in network.parameters():
            torch.nn.init.normal_(weight)
    return network


def write_weights(folder: Path, raw: bytes) -> str:
    """Writes the file; returns its sha256."""
    (folder / PRIOR_WEIGHTS_FILE).write_bytes(raw)
    return hashlib.sha256(raw).hexdigest()


def write(folder: Path, model_id: str, raw: bytes | None = None, **fields: Any) -> PriorCard:
    """A prior in `folder`; returns its card."""
    folder.mkdir(parents=True, exist_ok=True)
    sha256 = write_weights(folder, save(dict(make_network().state_dict())) if raw is None else raw)
    values = {"name": "sample", "model_id": model_id, "model_name": "tiny", "prior": CONFIG, "weights_sha256": sha256}
    card = PriorCard(**values | fields)
    card.save(folder)
    return card


@pytest.fixture
def model(tiny_model: Path) -> ModelFolder:
    return load_model_folder(tiny_model)


@pytest.fixture
def folder(tmp_path: Path, model: ModelFolder) -> Path:
    write(tmp_path / "sample", model.card.model_id.hex())
    return tmp_path / "sample"


def change(folder: Path, **values: Any) -> None:
    path = folder / PRIOR_CARD_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def one_line(error: pytest.ExceptionInfo[ModelError], folder: Path) -> str:
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith(str(folder))
    return message


def card_failure(folder: Path) -> str:
    with pytest.raises(ModelError) as caught:
        load_prior_folder(folder)
    return one_line(caught, folder)


def weights_failure(folder: Path) -> str:
    prior = load_prior_folder(folder)
    with pytest.raises(ModelError) as caught:
        prior.load()
    return one_line(caught, folder / PRIOR_WEIGHTS_FILE)


# ---- a folder ----


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"licence": "MIT", "classes": ("cat", "dög"), "training": {"steps": 3, "data": ["a"]}},
        {
            "prior": dataclasses.replace(CONFIG, condition=ConditionConfig("depth", (4,), 16), classes=2),
            "condition_model_id": "01020304",
        },
    ],
)
def test_card_save_and_load(tmp_path: Path, fields: dict[str, Any]) -> None:
    card = write(tmp_path, "00112233", **fields)
    loaded = load_prior_folder(tmp_path)
    assert loaded.card == card
    assert loaded.path == tmp_path
    assert json.loads((tmp_path / PRIOR_CARD_FILE).read_text())["schema_version"] == PRIOR_SCHEMA_VERSION == 1


def test_weights_save_and_load(folder: Path) -> None:
    network, original = load_prior_folder(folder).load(), make_network()
    assert network.config == CONFIG
    assert not network.training
    assert not any(weight.requires_grad for weight in network.parameters())
    tokens = [torch.randint(32, (2, 3, 4), generator=torch.Generator().manual_seed(0)) for _ in range(2)]
    for level in (0, 1):
        assert torch.equal(network(tokens, level), original(tokens, level))


def test_weights_of_half_precision_load_as_float32(tmp_path: Path) -> None:
    write(tmp_path, "00112233", save({name: value.half() for name, value in make_network().state_dict().items()}))
    network = load_prior_folder(tmp_path).load()
    for loaded, original in zip(network.parameters(), make_network().parameters(), strict=True):
        assert loaded.dtype == torch.float32
        assert torch.equal(loaded, original.half().float())


def test_a_card_is_read_without_torch(folder: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from vqcodec.cards.prior_card import load_prior_folder
load_prior_folder(Path({str(folder)!r}))
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


# ---- no card, or none that can be read ----


def test_no_card(tmp_path: Path) -> None:
    assert "not a prior folder, it has no prior.json" in card_failure(tmp_path)
    assert "not a prior folder" in card_failure(tmp_path / "none")
    (tmp_path / "file").touch()
    assert "not a prior folder" in card_failure(tmp_path / "file")


def test_a_card_that_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / PRIOR_CARD_FILE).mkdir()
    assert "cannot be read" in card_failure(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\xfa"])
def test_a_card_that_is_no_json(folder: Path, content: bytes) -> None:
    (folder / PRIOR_CARD_FILE).write_bytes(content)
    assert f"{PRIOR_CARD_FILE}: cannot be read" in card_failure(folder)


@pytest.mark.parametrize("content", ["[1]", "null", "{}", '"text"', "3"])
def test_a_card_that_is_another_thing(folder: Path, content: str) -> None:
    (folder / PRIOR_CARD_FILE).write_text(content)
    assert f"{PRIOR_CARD_FILE}: not a valid prior card" in card_failure(folder)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"schema_version": 2}, "schema version 2, this vqcodec reads 1"),
        ({"schema_version": "1"}, "schema version 1"),
        ({"unknown": 1}, "unknown"),
        ({"prior": CONFIG.to_dict() | {"widht": 4}}, "widht"),
        ({"prior": CONFIG.to_dict() | {"orders": ["raster", "zigzag"]}}, "order 'zigzag': there are raster"),
        ({"prior": CONFIG.to_dict() | {"factors": [16]}}, "as many as levels"),
        ({"prior": CONFIG.to_dict() | {"heads": 3}}, "not a multiple of 3 heads"),
        ({"prior": CONFIG.to_dict() | {"codebook_sizes": 32}}, ""),
        ({"prior": CONFIG.to_dict() | {"condition": {"kind": "depth"}}}, "codebook_sizes"),
        ({"prior": CONFIG.to_dict() | {"condition": 3}}, ""),
        ({"prior": SEQUENCE.to_dict() | {"classes": -5}}, "-5 classes"),
        ({"prior": SEQUENCE.to_dict() | {"kv_heads": -1}}, "-1 heads of keys"),
        ({"prior": [1]}, ""),
        ({"prior": None}, ""),
        ({"classes": 4}, ""),
        ({"classes": None}, ""),
    ],
)
def test_a_card_with_a_wrong_field(folder: Path, values: dict[str, Any], reason: str) -> None:
    change(folder, **values)
    message = card_failure(folder)
    assert f"{PRIOR_CARD_FILE}: not a valid prior card" in message
    assert reason in message


@pytest.mark.parametrize("name", ["name", "model_id", "model_name", "prior", "weights_sha256", "classes"])
def test_a_card_without_a_field(folder: Path, name: str) -> None:
    path = folder / PRIOR_CARD_FILE
    values = json.loads(path.read_text())
    del values[name]
    path.write_text(json.dumps(values))
    assert name in card_failure(folder)


# ---- weights ----


def test_missing_weights(folder: Path) -> None:
    (folder / PRIOR_WEIGHTS_FILE).unlink()
    assert "the weights cannot be read (No such file or directory)" in weights_failure(folder)


def test_damaged_weights(folder: Path) -> None:
    raw = bytearray((folder / PRIOR_WEIGHTS_FILE).read_bytes())
    raw[-1] ^= 1
    write_weights(folder, bytes(raw))
    assert "not the weights that prior sample's card names; get it again" in weights_failure(folder)


OTHERS = {
    "no safetensors": b"no weights",
    "another width": save(dict(make_network(dataclasses.replace(CONFIG, width=12)).state_dict())),
    "more blocks": save(dict(make_network(dataclasses.replace(CONFIG, depth=2)).state_dict())),
    "nothing": save({}),
}


@pytest.mark.parametrize("raw", OTHERS.values(), ids=OTHERS)
def test_weights_of_another_network(tmp_path: Path, raw: bytes) -> None:
    write(tmp_path, "00112233", raw)
    assert "the weights do not fit the card's configuration; get it again" in weights_failure(tmp_path)


def test_a_shape_that_no_memory_holds(folder: Path) -> None:
    change(folder, prior=SEQUENCE.to_dict() | {"codes": 10**15})
    assert "'s card states can be made here" in weights_failure(folder)


# ---- the model whose tokens it predicts ----


def test_the_prior_of_a_model_is_found_in_its_folder_or_where_it_is_said_to_be(
    model: ModelFolder, tmp_path: Path
) -> None:
    own = dataclasses.replace(model, path=tmp_path)
    embedded = write(tmp_path / PRIOR_FOLDER, model.card.model_id.hex(), name="embedded")
    given = write(tmp_path / "given", model.card.model_id.hex(), name="given")
    assert find_prior(own).card == embedded
    assert find_prior(own, tmp_path / "given").card == given


def test_a_model_without_a_prior(model: ModelFolder, tmp_path: Path) -> None:
    without = dataclasses.replace(model, path=tmp_path)
    with pytest.raises(ModelError, match="model tiny has no prior; train one with `vqcodec train stage2 --model tiny`"):
        find_prior(without)
    with pytest.raises(ModelError, match="none: not a prior folder"):
        find_prior(without, tmp_path / "none")
    (tmp_path / PRIOR_FOLDER).mkdir()
    with pytest.raises(ModelError, match="prior: not a prior folder"):
        find_prior(without)


def told(kind: str) -> PriorConfig:
    return dataclasses.replace(CONFIG, condition=ConditionConfig(kind, (32, 32), 16))


def test_the_prior_for_a_condition_has_a_folder_of_its_own(model: ModelFolder, tmp_path: Path) -> None:
    own = dataclasses.replace(model, path=tmp_path)
    plain = write(tmp_path / "prior", model.card.model_id.hex(), name="plain")
    low = write(tmp_path / "prior-low-4", model.card.model_id.hex(), name="low", prior=told("low-4"))
    assert (plain.condition, low.condition) == ("", "low-4")
    assert find_prior(own).card == plain
    assert find_prior(own, condition="low-4").card == low
    assert find_prior(own, tmp_path / "prior-low-4").card == low
    assert find_prior(own, tmp_path / "prior-low-4", condition="low-4").card == low


def test_a_missing_prior_for_a_condition_names_the_remedy(model: ModelFolder, tmp_path: Path) -> None:
    without = dataclasses.replace(model, path=tmp_path)
    write(tmp_path / "prior", model.card.model_id.hex())
    with pytest.raises(ModelError) as caught:
        find_prior(without, condition="low-4")
    assert str(caught.value) == (
        "model tiny has no prior for low-4; train one with `vqcodec train stage2 --model tiny --condition low-4` "
        "and give its folder with --prior"
    )


@pytest.mark.parametrize(("kind", "what"), [("", "nothing"), ("edges", "edges")])
def test_a_prior_that_is_told_something_else(kind: str, what: str, model: ModelFolder, tmp_path: Path) -> None:
    write(tmp_path, model.card.model_id.hex(), prior=told(kind) if kind else CONFIG)
    with pytest.raises(ModelError, match=f"prior sample is told {what}, not low-4"):
        find_prior(model, tmp_path, condition="low-4")


def test_the_prior_of_another_model_is_refused_with_both_names(model: ModelFolder, tmp_path: Path) -> None:
    write(tmp_path, "deadbeef", model_name="other")
    with pytest.raises(ModelError) as caught:
        find_prior(model, tmp_path)
    assert str(caught.value) == (
        f"prior sample is for the tokens of model other (deadbeef), not of tiny ({model.card.model_id.hex()}); "
        "use that model, or train a prior with --model tiny"
    )


def test_a_model_that_reads_the_tokens_of_another_takes_its_prior(model: ModelFolder, tmp_path: Path) -> None:
    card = write(tmp_path, "deadbeef", model_name="other")
    reader = dataclasses.replace(model, card=dataclasses.replace(model.card, reads=("00000000", "deadbeef")))
    assert find_prior(reader, tmp_path).card == card
    card.check_model(reader.card)
