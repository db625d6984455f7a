"""Models go to the hub and come back: a hub on this machine, no network."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from cli_helpers import make_picture, names_in, only_error, vqcodec
from fake_hub import FakeHub, Repository, fake_hub
from official_layouts import make_network, taming
from safetensors.torch import save

from vqcodec.cards.model_card import load_model_folder
from vqcodec.codec import Codec
from vqcodec.hub.addresses import HubAddress, parse_hub_address
from vqcodec.hub.errors import HubError
from vqcodec.pictures.image import UnreadableImageError, load_image

pytest.importorskip("huggingface_hub")
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """huggingface_hub reads its variables when it is imported."""
    with fake_hub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
        monkeypatch.setenv("HF_TOKEN", "hf_fake")
        monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
        monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
        monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        forget()
        yield server
        forget()


def forget() -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "huggingface_hub"]:
        del sys.modules[name]


def test_a_model_is_pushed_tagged_and_pulled(hub: FakeHub, tiny_model: Path, tmp_path: Path) -> None:
    codec, picture = Codec.load(tiny_model), make_picture(tmp_path / "a.png", 64, 48)
    commit = codec.push_to_hub("me/tiny", tag="v1", examples=[picture])
    files = hub.repositories["me/tiny"].commits[commit]
    assert sorted(files) == [".gitattributes", "README.md", "card.json", "examples.jpg", "stage1.safetensors"]
    page = files["README.md"].decode()
    for part in ('library_name: "vqcodec"', 'license: "mit"', codec.card.model_id.hex(), "64 x 48", "![examples]"):
        assert part in page
    for address in ("hf://me/tiny", "hf://me/tiny@v1", f"hf://me/tiny@{commit}"):
        pulled = Codec.load(address)
        assert pulled.card == codec.card
        assert pulled.encode(picture) == codec.encode(picture)
    assert Codec.from_pretrained("me/tiny", revision="v1").card == codec.card
    assert Codec.from_pretrained(tiny_model).card == codec.card


def test_a_pinned_commit_costs_no_request(hub: FakeHub, tiny_model: Path) -> None:
    commit = Codec.load(tiny_model).push_to_hub("me/tiny")
    Codec.load(f"hf://me/tiny@{commit}")
    asked = len(hub.requests)
    Codec.load(f"hf://me/tiny@{commit}")
    assert len(hub.requests) == asked


def test_offline_the_cache_is_used(hub: FakeHub, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = Codec.load(tiny_model).push_to_hub("me/tiny", tag="v1")
    Codec.load("hf://me/tiny@v1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    forget()
    importlib.invalidate_caches()
    assert Codec.load("hf://me/tiny@v1").card.name == "tiny"
    assert Codec.load(f"hf://me/tiny@{commit}").card.name == "tiny"
    with pytest.raises(HubError, match=r"hf://me/other: .*not in the cache, and the hub cannot be reached"):
        Codec.load("hf://me/other")


def test_other_weights_than_those_of_the_card_are_refused(hub: FakeHub, tiny_model: Path) -> None:
    Codec.load(tiny_model).push_to_hub("me/tiny")
    hub.repositories["me/tiny"].commit({"stage1.safetensors": b"other"})
    with pytest.raises(ValueError, match="not the weights that model tiny's card names"):
        Codec.load("hf://me/tiny")


def test_commands_take_models_of_the_hub(hub: FakeHub, tiny_model: Path, tmp_path: Path) -> None:
    Codec.load(tiny_model).push_to_hub("me/tiny")
    picture = make_picture(tmp_path / "a.png")
    result = vqcodec("encode", picture, tmp_path / "a.vq", "--model", "hf://me/tiny")
    assert result.exit_code == 0, result.output
    result = vqcodec("models", "add", "hf://me/tiny", "--out", tmp_path / "added")
    assert result.exit_code == 0, result.output
    assert names_in(tmp_path / "added") == ["card.json", "stage1.safetensors"]
    for address, part in (
        ("hf://me/nothing", "error: hf://me/nothing: no such repository, or a private one"),
        ("hf://me/tiny@gone", "error: hf://me/tiny@gone: the repository has no such revision"),
        ("hf://tiny", "error: hf://tiny: no address of a repository"),
    ):
        assert only_error(vqcodec("models", "add", address, "--out", tmp_path / "x")).startswith(part)
    hub.repositories["me/empty"] = Repository()
    hub.repositories["me/empty"].commit({"README.md": b""})
    line = only_error(vqcodec("encode", picture, tmp_path / "b.vq", "--model", "hf://me/empty"))
    assert "hf://me/empty: holds no card.json of vqcodec" in line


def test_a_checkpoint_is_imported_from_the_hub(hub: FakeHub, tmp_path: Path) -> None:
    repository = hub.repositories["them/vq"] = Repository()
    config = json.dumps({"_class_name": "VQGANModel", "hidden_channels": 32}).encode()
    first = repository.commit(
        {"vq/model.safetensors": save(taming(make_network(attention_resolutions=()))), "vq/config.json": config}
    )
    repository.commit({"vq/model.safetensors": b"damaged"})
    result = vqcodec("models", "import", f"hf://them/vq/vq@{first}", "--name", "theirs", "--out", tmp_path / "theirs")
    assert result.exit_code == 0, result.output
    card = load_model_folder(tmp_path / "theirs").card
    assert (card.origin["commit"], card.origin["pixel_range"]) == (first, "[0, 1]")
    result = vqcodec(
        "models", "import", "hf://them/vq/vq", "--revision", first, "--name", "again", "--out", tmp_path / "again"
    )
    assert result.exit_code == 0, result.output
    line = only_error(vqcodec("models", "import", "hf://them/vq/vq", "--name", "x", "--out", tmp_path / "x"))
    assert "model.safetensors: no safetensors file" in line
    assert not (tmp_path / "x").exists()


def test_saving_for_the_hub(tiny_model: Path, tmp_path: Path) -> None:
    codec = Codec.load(tiny_model)
    codec.save_pretrained(tmp_path / "saved", examples=[np.zeros((20, 30, 3), np.uint8)])
    assert names_in(tmp_path / "saved") == ["README.md", "card.json", "examples.jpg", "stage1.safetensors"]
    assert Codec.load(tmp_path / "saved").card == codec.card


def test_examples_are_whatever_can_be_encoded(tiny_model: Path, tmp_path: Path) -> None:
    codec, path = Codec.load(tiny_model), make_picture(tmp_path / "a.png")
    with path.open("rb") as file:
        codec.save_pretrained(tmp_path / "saved", examples=[path, str(path), path.read_bytes(), file, load_image(path)])
    page = (tmp_path / "saved" / "README.md").read_text()
    [once] = {line for line in page.splitlines() if line.startswith("| 48 x 33 |")}
    assert page.count(once) == 5


def test_an_example_that_cannot_be_read_leaves_nothing_behind(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(UnreadableImageError):
        Codec.load(tiny_model).save_pretrained(tmp_path / "saved", examples=[b"no picture"])
    assert not (tmp_path / "saved").exists()


def test_a_model_gets_its_page_where_it_lies(tiny_model: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_model, tmp_path / "model")
    Codec.load(tmp_path / "model").save_pretrained(tmp_path / "model")
    assert names_in(tmp_path / "model") == ["README.md", "card.json", "stage1.safetensors"]


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("hf://a/b", HubAddress("a/b")),
        ("hf://a/b/c/d@v1", HubAddress("a/b", "c/d", "v1")),
        ("hf://a-1/b.c_d@refs/pr/1", HubAddress("a-1/b.c_d", "", "refs/pr/1")),
    ],
)
def test_addresses(text: str, address: HubAddress) -> None:
    assert parse_hub_address(text) == address
    assert str(address) == text


@pytest.mark.parametrize("text", ["hf://", "hf://a", "hf://a/b@", "hf://a/../b/..", "hf://a/b/../../c", "hf://-a/b"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(HubError, match="no address of a repository"):
        parse_hub_address(text)
