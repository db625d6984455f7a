"""vqcodec models import and add: from a file of another project to a model that encodes."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from cli_helpers import make_picture, names_in, only_error, vqcodec
from official_layouts import llamagen, make_network, picture, taming, with_averages
from PIL import Image
from safetensors.torch import save_file

from vqcodec.cards.finding import find_model, user_models_folder
from vqcodec.cards.model_card import load_model_folder
from vqcodec.codec import Codec
from vqcodec.models import tiled


@pytest.fixture
def data_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.save({"state_dict": taming(make_network()), "epoch": 3}, tmp_path / "model.ckpt")
    return tmp_path / "model.ckpt"


def test_an_imported_model_encodes_and_decodes(checkpoint: Path, data_home: Path, tmp_path: Path) -> None:
    result = vqcodec("models", "import", checkpoint, "--name", "theirs")
    assert result.exit_code == 0, result.output
    assert "licence of the weights is not stated" in result.stderr
    assert "pixels are taken as [-1, 1]" in result.stderr
    assert names_in(data_home) == ["vqcodec/models/theirs/card.json", "vqcodec/models/theirs/stage1.safetensors"]
    assert "theirs\n" in vqcodec("models").stdout
    source = make_picture(tmp_path / "a.png", 41, 30)
    assert vqcodec("encode", source, tmp_path / "a.vq", "--model", "theirs", "--device", "cpu").exit_code == 0
    assert vqcodec("decode", tmp_path / "a.vq", tmp_path / "b.png", "--device", "cpu").exit_code == 0
    with Image.open(tmp_path / "b.png") as image:
        assert image.size == (41, 30)
    network, codec = make_network(), Codec.load("theirs")
    assert codec.arithmetic == "float32"  # bfloat16 would change tokens
    assert torch.equal(codec.tokenize(picture())[0], network.tokenize(picture())[0])


def test_the_card_says_where_it_comes_from(checkpoint: Path, data_home: Path, tmp_path: Path) -> None:
    ddconfig = {"ch": 32, "resolution": 256, "tanh_out": False}
    config = {"target": "taming.models.vqgan.VQModel", "params": {"ddconfig": ddconfig}}
    (tmp_path / "official.json").write_text(json.dumps(config))
    words = ("--config", tmp_path / "official.json", "--licence", "MIT")
    assert vqcodec("models", "import", checkpoint, "--name", "theirs", *words).stderr == ""
    card = find_model("theirs").card
    assert (card.licence, card.precision, card.static_frequencies) == ("MIT", "float32", ())
    origin: dict[str, Any] = card.origin
    assert origin["official_class"] == "taming.models.vqgan.VQModel"
    assert origin["official_config"]["resolution"] == 256
    assert (origin["family"], origin["licence_of_code"], origin["file"]) == ("taming", "MIT", "model.ckpt")
    assert origin["file_bytes"] == checkpoint.stat().st_size
    assert (origin["averaged_weights"], origin["pixel_range"], origin["folded"]) == (False, "[-1, 1]", [])
    assert json.loads(vqcodec("models", "--json").stdout.splitlines()[-1])["origin"] == origin


def test_a_configuration_in_yaml_may_hold_what_json_has_not(checkpoint: Path, data_home: Path, tmp_path: Path) -> None:
    (tmp_path / "official.yaml").write_text(
        "target: taming.models.vqgan.VQModel\nparams:\n  made: 2021-03-04\n  raw: !!binary aGk=\n  tags: !!set {a}\n"
        "  2021-03-04: x\n  ddconfig: {ch: 32, resolution: 256}\n"
    )
    result = vqcodec("models", "import", checkpoint, "--name", "theirs", "--config", tmp_path / "official.yaml")
    assert result.exit_code == 0, result.output
    stated = find_model("theirs").card.origin["official_config"]
    assert (stated["made"], stated["resolution"]) == ("2021-03-04", 256)


def test_a_configuration_that_yaml_makes_endless_is_refused(checkpoint: Path, data_home: Path, tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    (tmp_path / "official.yaml").write_text("\n".join(lines))
    line = only_error(vqcodec("models", "import", checkpoint, "--name", "x", "--config", tmp_path / "official.yaml"))
    assert line.endswith("official.yaml: neither valid JSON nor YAML")


def test_a_model_without_its_weights_ends_no_list(data_home: Path, tiny_model: Path, tmp_path: Path) -> None:
    for number in range(3):
        shutil.copytree(tiny_model, user_models_folder() / f"m{number}")
    gone = user_models_folder() / "m1" / "stage1.safetensors"
    gone.unlink()
    result = vqcodec("models")
    assert (result.exit_code, result.stdout.count("tiny\n")) == (0, 2)
    assert f"warning: {gone}: cannot be read (No such file or directory); get the model again" in result.stderr


def test_averaged_weights_are_taken_or_not(data_home: Path, tmp_path: Path) -> None:
    plain = taming(make_network())
    torch.save(with_averages(plain, {name: tensor / 2 for name, tensor in plain.items()}), tmp_path / "a.pt")
    torch.save({"model": llamagen(make_network()), "ema": llamagen(make_network())}, tmp_path / "b.pt")
    ids = set()
    for number, (file, words, averaged) in enumerate(
        [
            ("a", (), True),
            ("a", ("--ema",), True),
            ("a", ("--no-ema",), False),
            ("b", (), True),
            ("b", ("--no-ema",), False),
        ]
    ):
        result = vqcodec("models", "import", tmp_path / f"{file}.pt", "--name", f"m{number}", *words)
        assert result.exit_code == 0, result.output
        card = find_model(f"m{number}").card
        assert card.origin["averaged_weights"] == averaged
        ids.add(card.model_id)
    assert len(ids) == 3


def test_a_folder_has_its_configuration_beside_it(data_home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    save_file(taming(make_network(pixel_range="unit", residual_blocks=2)), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"_class_name": "VQGANModel", "hidden_channels": 32}))
    assert vqcodec("models", "import", folder, "--name", "muse", "--licence", "x").exit_code == 0
    assert find_model("muse").card.origin["pixel_range"] == "[0, 1]"
    (folder / "other.pt").write_bytes(b"")
    (folder / "model.safetensors").rename(folder / "mine.safetensors")
    line = only_error(vqcodec("models", "import", folder, "--name", "x"))
    assert "several checkpoints; give one of them with --file: mine.safetensors, other.pt" in line
    assert vqcodec("models", "import", folder, "--name", "y", "--file", "mine.safetensors").exit_code == 0
    assert "has no file z" in only_error(vqcodec("models", "import", folder, "--name", "z", "--file", "z"))


def test_an_existing_model_is_replaced_only_with_force(checkpoint: Path, tmp_path: Path) -> None:
    words = ("models", "import", checkpoint, "--name", "theirs", "--out", tmp_path / "out")
    assert vqcodec(*words).exit_code == 0
    assert "holds a model already; give another --name or --out, or -f" in only_error(vqcodec(*words))
    for name in ("prior/prior.json", "prior-low-4/prior.safetensors", "discriminator.safetensors", "prior-low-4/notes"):
        left = tmp_path / "out" / name
        left.parent.mkdir(exist_ok=True)
        left.touch()
    assert vqcodec(*words, "-f").exit_code == 0
    assert not (tmp_path / "out" / "prior").exists()
    assert names_in(tmp_path / "out") == ["card.json", "prior-low-4/notes", "stage1.safetensors"]


def test_what_cannot_be_imported_leaves_nothing(tmp_path: Path, data_home: Path) -> None:
    torch.save({"state_dict": {"a": torch.ones(1)}}, tmp_path / "a.ckpt")
    line = only_error(vqcodec("models", "import", tmp_path / "a.ckpt", "--name", "x"))
    assert line.startswith(f"error: {tmp_path / 'a.ckpt'}: of no family that is known; looked for: ")
    assert "no such file or folder" in only_error(vqcodec("models", "import", tmp_path / "gone", "--name", "x"))
    for name in ("../x", "..", ".", "", "a/"):
        assert "has no slashes" in only_error(vqcodec("models", "import", tmp_path / "a.ckpt", "--name", name))
    assert vqcodec("models", "import", tmp_path / "a.ckpt").exit_code == 2
    assert not data_home.exists()


def test_a_model_that_gives_no_numbers_is_not_kept(tmp_path: Path, data_home: Path) -> None:
    state = taming(make_network())
    state["decoder.conv_out.bias"] = torch.full((3,), 3e38)
    state["decoder.conv_out.weight"] = torch.full_like(state["decoder.conv_out.weight"], 3e38)
    torch.save(state, tmp_path / "a.ckpt")
    line = only_error(vqcodec("models", "import", tmp_path / "a.ckpt", "--name", "x"))
    assert "what its Decoder gives is not finite" in line
    assert not user_models_folder().joinpath("x").exists()


def test_maps_and_depth(tmp_path: Path, data_home: Path) -> None:
    source = make_picture(tmp_path / "a.png")
    for channels in (1, 5):
        torch.save(taming(make_network(picture_channels=channels)), tmp_path / "a.ckpt")
        assert vqcodec("models", "import", tmp_path / "a.ckpt", "--name", f"m{channels}").exit_code == 0
    result = vqcodec("encode", source, tmp_path / "a.vq", "--model", "m1", "--device", "cpu")
    assert result.exit_code == 0, result.output
    made = np.asarray(Codec.load("m1").decode((tmp_path / "a.vq").read_bytes()))
    assert (made == made[..., :1]).all()  # gray
    line = only_error(vqcodec("encode", source, tmp_path / "b.vq", "--model", "m5", "--device", "cpu"))
    assert "takes maps of 5 classes and no pictures" in line
    tokens = Codec.load("m5").tokenize(picture(5))
    assert Codec.load("m5").detokenize(tokens).shape == (1, 5, 24, 32)


def test_large_pictures_need_tiles(
    checkpoint: Path, data_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiled, "LARGEST_WHOLE", 64 * 48)
    monkeypatch.setattr("vqcodec.pictures.tiling.TILE_TOKENS", 4)
    assert vqcodec("models", "import", checkpoint, "--name", "theirs").exit_code == 0
    words = ("--model", "theirs", "--device", "cpu", "-f")
    source = make_picture(tmp_path / "a.png", 64, 52)
    line = only_error(vqcodec("encode", source, tmp_path / "a.vq", *words))
    assert "a picture of 64 x 52 pixels: this model looks at the whole picture" in line
    assert "give --tile" in line
    assert vqcodec("encode", source, tmp_path / "a.vq", *words, "--tile").exit_code == 0
    assert "--tile" in only_error(vqcodec("decode", tmp_path / "a.vq", tmp_path / "b.png", *words))
    assert vqcodec("decode", tmp_path / "a.vq", tmp_path / "b.png", *words, "--tile").exit_code == 0


def test_adding_a_model_of_a_folder(tiny_model: Path, data_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VQCODEC_MODELS", raising=False)
    result = vqcodec("models", "add", tiny_model)
    assert result.exit_code == 0, result.output
    assert find_model("tiny").path == user_models_folder() / "tiny"
    assert "exists already; give -f" in only_error(vqcodec("models", "add", tiny_model))
    left = user_models_folder() / "tiny" / "prior"  # of a model that was there before
    left.mkdir()
    (left / "prior.json").write_text("{}")
    assert vqcodec("models", "add", tiny_model, "-f").exit_code == 0
    assert not (left / "prior.json").exists()
    weights = user_models_folder() / "tiny" / "stage1.safetensors"
    weights.write_bytes(b"other")
    line = only_error(vqcodec("models", "add", weights.parent, "--out", data_home / "x"))
    assert "not the weights that model tiny's card names" in line
    assert not (data_home / "x").exists()
    assert "no card.json" in only_error(vqcodec("models", "add", data_home))


def test_adding_a_model_of_a_zip_file(tiny_model: Path, data_home: Path, tmp_path: Path) -> None:
    archive = tmp_path / "tiny.zip"
    with ZipFile(archive, "w") as packed:
        for path in sorted(tiny_model.iterdir()):
            packed.write(path, f"tiny/{path.name}")
        packed.writestr("../outside.txt", "left alone")
        packed.writestr("tiny/run.py", "left alone")
    result = vqcodec("models", "add", archive)
    assert result.exit_code == 0, result.output
    [folder] = data_home.rglob("tiny")
    assert sorted(path.name for path in folder.iterdir()) == ["card.json", "stage1.safetensors"]
    with ZipFile(tmp_path / "bad.zip", "w") as packed:
        packed.writestr("x/card.json", "{}")
    assert only_error(vqcodec("models", "add", tmp_path / "bad.zip")).startswith(
        f"error: {tmp_path}/bad.zip: x/card.json"
    )
    with ZipFile(archive, "a") as packed:
        packed.writestr("other/card.json", "{}")
    assert "tiny.zip: holds 2 model cards (card.json), not one" in only_error(vqcodec("models", "add", archive, "-f"))
    archive.write_bytes(archive.read_bytes()[:-30])
    assert "tiny.zip: not a readable zip file" in only_error(vqcodec("models", "add", archive, "-f"))


def test_a_model_that_was_inside_once_says_how_to_get_it(tmp_path: Path) -> None:
    stream = Path(__file__).parents[1] / "golden" / "pixels_v1" / "photo-4.vq"
    picture = make_picture(tmp_path / "a.png")
    for command in (
        ("decode", stream, tmp_path / "b.png"),
        ("encode", picture, tmp_path / "a.vq", "--model", "photo-4"),
    ):
        line = only_error(vqcodec(*command))
        assert "`vqcodec models add photo-4.zip` installs it" in line


def test_cards_of_before_keep_their_ids(tiny_model: Path) -> None:
    """Fields that came later stand in a card only where they have other values."""
    stated = json.loads((tiny_model / "card.json").read_text())
    assert not {"precision", "origin"} & set(stated)
    assert load_model_folder(tiny_model).card.fingerprint == stated["fingerprint"]
    assert os.environ["XDG_DATA_HOME"]
