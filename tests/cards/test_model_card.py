"""Model cards and the folders they lie in."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from vqcodec.bitstream import FREQUENCY_TOTAL, STATIC_ID, UNIFORM_ID, UnknownModelError, WrongModelError
from vqcodec.cards.errors import ModelError
from vqcodec.cards.finding import (
    MODELS_VARIABLE,
    ModelFolderWarning,
    check_folder_name,
    check_model_id,
    find_model,
    find_model_by_id,
    installed_models,
)
from vqcodec.cards.model_card import CARD_FILE, ModelCard, load_model_folder
from vqcodec.models.config import AutoencoderConfig, CompactConfig, QuantizerConfig
from vqcodec.models.taming_config import TamingConfig

CONFIG = AutoencoderConfig(
    CompactConfig(
        patch=4,
        encoder_widths=(8, 16),
        encoder_depths=(1, 1),
        encoder_hidden=(0.5, 1.0),
        decoder_widths=(8, 16),
        decoder_depths=(1, 2),
        decoder_hidden=(1.0, 1.0),
        latent_channels=16,
    ),
    QuantizerConfig(codebook_sizes=(4, 2), code_dimension=4),
)
TABLES = ((FREQUENCY_TOTAL - 3, 1, 1, 1), (FREQUENCY_TOTAL // 2, FREQUENCY_TOTAL // 2))
CARD = ModelCard("sample", CONFIG, TABLES, "ab" * 32, "MIT", training={"data": "none"})
#: of CARD: when this changes, every stream that was ever written loses its model
GOLDEN_FINGERPRINT = "b174e70b57a29a7d970fe2cd77a9596108310b27828f7d6ef003faf0608b4f33"


pytestmark = pytest.mark.usefixtures("no_models")


def changed(part: str, **values: Any) -> dict[str, Any]:
    """CONFIG as a dictionary with some values of a part changed."""
    shape = CONFIG.to_dict()
    return shape | {part: shape[part] | values}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "models" / "sample"
    made.mkdir(parents=True)
    CARD.save(made)
    return made


def change(folder: Path, **values: Any) -> None:
    path = folder / CARD_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


# ---- fingerprint ----


def test_fingerprint_never_changes() -> None:
    assert CARD.fingerprint == GOLDEN_FINGERPRINT
    assert CARD.model_id.hex() == GOLDEN_FINGERPRINT[:8]


OTHER_WORDS = {"padding": "zeros", "codebook": "sim", "lookup": "cosine", "gradient": "rotation"}
PARTS = [
    (part, field.name)
    for part in ("networks", "quantizer")
    for field in dataclasses.fields(getattr(CONFIG, part))
    if field.name != "level_grids"  # of other networks: see below
]


@pytest.mark.parametrize(("part", "name"), PARTS)
def test_fingerprint_follows_every_field_of_the_networks(part: str, name: str) -> None:
    present = getattr(CONFIG, part)
    value = getattr(present, name)
    other = OTHER_WORDS.get(name)
    if name == "patch":
        other = 2 * value
    elif name == "level_strides":
        other = (2, 1)
    elif other is None:
        other = (*value[:-1], value[-1] + 1) if isinstance(value, tuple) else value + 1
    config = dataclasses.replace(CONFIG, **{part: dataclasses.replace(present, **{name: other})})
    assert dataclasses.replace(CARD, autoencoder=config).fingerprint != CARD.fingerprint


def test_fingerprint_follows_grids_of_one_size() -> None:
    quantizers = [QuantizerConfig((8, 8, 8), 4, level_grids=grids) for grids in ((), (1, 2, 16), (1, 3, 16))]
    configs = [AutoencoderConfig(TamingConfig(), quantizer) for quantizer in quantizers]
    assert len({dataclasses.replace(CARD, autoencoder=config).fingerprint for config in configs}) == 3
    assert [AutoencoderConfig.from_dict(json.loads(json.dumps(config.to_dict()))) for config in configs] == configs
    assert ["level_grids" in config.to_dict()["quantizer"] for config in configs] == [False, True, True]


@pytest.mark.parametrize(
    "changes", [{"static_frequencies": ()}, {"static_frequencies": TABLES[::-1]}, {"weights_sha256": "ac" * 32}]
)
def test_fingerprint_follows_frequencies_and_weights(changes: dict[str, Any]) -> None:
    assert dataclasses.replace(CARD, **changes).fingerprint != CARD.fingerprint


@pytest.mark.parametrize("changes", [{"name": "x"}, {"licence": "x"}, {"reads": ("01",)}, {"training": {"steps": 1}}])
def test_fingerprint_ignores_what_is_for_people(changes: dict[str, Any]) -> None:
    assert dataclasses.replace(CARD, **changes).fingerprint == CARD.fingerprint


def test_stream_model() -> None:
    model = CARD.stream_model
    assert (model.model_id, model.name) == (CARD.model_id, "sample")
    assert [(grid.downsampling_factor, grid.codebook_size) for grid in model.grids] == [(8, 4), (8, 2)]
    assert set(model.entropy_models) == {UNIFORM_ID, STATIC_ID}
    assert set(dataclasses.replace(CARD, static_frequencies=()).stream_model.entropy_models) == {UNIFORM_ID}


# ---- a folder ----


def test_save_and_load(folder: Path) -> None:
    model = load_model_folder(folder)
    assert model.card == CARD
    assert model.path == folder
    model.weights_path.write_bytes(bytes(10))
    assert model.size_bytes == 10 + (folder / CARD_FILE).stat().st_size
    model.weights_path.unlink()
    with pytest.raises(ModelError, match=r"stage1\.safetensors: cannot be read"):
        _ = model.size_bytes
    lines = (folder / CARD_FILE).read_text().splitlines()
    assert sum(str(TABLES[0][0]) in line for line in lines) == 1  # a table takes one line
    assert json.loads((folder / CARD_FILE).read_text())["fingerprint"] == CARD.fingerprint


def test_a_card_without_frequencies_survives(folder: Path) -> None:
    card = dataclasses.replace(CARD, static_frequencies=())
    card.save(folder)
    assert load_model_folder(folder).card == card


def failure(folder: Path) -> str:
    with pytest.raises(ModelError) as caught:
        load_model_folder(folder)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(folder))
    return message


def test_no_card(tmp_path: Path) -> None:
    assert "not a model folder, it has no card.json" in failure(tmp_path)
    assert "not a model folder" in failure(tmp_path / "none")
    (tmp_path / "file").touch()
    assert "not a model folder" in failure(tmp_path / "file")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\xfa", b"[1]", b"null", b"{}", b'"text"', b"3"])
def test_a_card_that_is_no_card(folder: Path, content: bytes) -> None:
    (folder / CARD_FILE).write_bytes(content)
    assert CARD_FILE in failure(folder)


@pytest.mark.parametrize(
    "values",
    [
        {"weights_sha256": "00" * 32},
        {"static_frequencies": [[1, 2]]},
        {"autoencoder": changed("networks", patch=2)},
        {"fingerprint": "00" * 32},
    ],
)
def test_a_changed_field_does_not_match_the_fingerprint(folder: Path, values: dict[str, Any]) -> None:
    change(folder, **values)
    assert "fingerprint does not match" in failure(folder)


@pytest.mark.parametrize(
    "values",
    [
        {"autoencoder": {"pach": 4}},
        {"autoencoder": [1, 2]},
        {"autoencoder": "text"},
        {"autoencoder": None},
        {"autoencoder": changed("quantizer", codebook_sizes=[])},
        {"autoencoder": changed("networks", encoder_widths=3)},
        {"static_frequencies": 5},
        {"static_frequencies": [5]},
        {"unknown": 1},
        {"schema_version": 2},
        {"schema_version": "1"},
    ],
)
def test_a_card_with_a_wrong_field(folder: Path, values: dict[str, Any]) -> None:
    change(folder, **values)
    assert "not a valid model card" in failure(folder)


@pytest.mark.parametrize(
    "values",
    [
        {"static_frequencies": ((1, 2, 3, 4), TABLES[1])},
        {"static_frequencies": TABLES[::-1]},
        {"static_frequencies": TABLES[:1]},
        {"autoencoder": AutoencoderConfig(CompactConfig(), QuantizerConfig((4, 2), 4, level_strides=(2**20, 1)))},
    ],
)
def test_a_card_whose_streams_could_not_be_written(folder: Path, values: dict[str, Any]) -> None:
    """Though the fingerprint is that of its content."""
    dataclasses.replace(CARD, **values).save(folder)
    assert "not a valid model card" in failure(folder)


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("quantizer", "code_dimension", -3),
        ("quantizer", "code_dimension", 1),
        ("quantizer", "level_strides", [0, 0]),
        ("networks", "latent_channels", 0),
        ("networks", "encoder_widths", [-8, 16]),
        ("networks", "decoder_depths", [1, -2]),
    ],
)
def test_counts_from_which_no_network_can_be_made(folder: Path, part: str, name: str, value: object) -> None:
    change(folder, autoencoder=changed(part, **{name: value}))
    assert f"not a valid model card ({name} " in failure(folder)


def test_a_later_schema_is_named(folder: Path) -> None:
    change(folder, schema_version=7)
    assert "schema version 7, this vqcodec reads 1" in failure(folder)


def test_a_model_of_label_maps_survives_and_has_an_id_of_its_own(folder: Path) -> None:
    card = dataclasses.replace(CARD, autoencoder=dataclasses.replace(CARD.autoencoder, label_map="edges"))
    card.save(folder)
    assert load_model_folder(folder).card == card
    assert card.model_id != CARD.model_id


# ---- installed models ----


def test_models_are_found_by_name_path_and_id(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_model(folder).card == find_model(str(folder)).card == CARD
    assert list(installed_models()) == []
    monkeypatch.setenv(MODELS_VARIABLE, str(folder.parent))
    assert [model.card.name for model in installed_models()] == ["sample"]
    assert find_model("sample").path == folder
    assert find_model(CARD.model_id.hex()).path == folder
    (tmp_path / "here").mkdir()
    shutil.copytree(folder, tmp_path / "here" / "sample")
    monkeypatch.chdir(tmp_path / "here")
    assert find_model("sample").path == folder
    assert find_model("./sample").path == tmp_path / "here" / "sample"
    monkeypatch.delenv(MODELS_VARIABLE)
    assert find_model("sample").path == tmp_path / "here" / "sample"
    monkeypatch.setenv(MODELS_VARIABLE, str(folder.parent))
    assert find_model_by_id(CARD.model_id).path == folder


def test_an_id_is_the_model_that_has_it_before_one_that_reads_its_streams(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, newer = CARD.model_id.hex(), folder.parent / "a-newer"
    newer.mkdir()
    dataclasses.replace(CARD, name="newer", weights_sha256="cd" * 32, reads=(old,)).save(newer)
    monkeypatch.setenv(MODELS_VARIABLE, str(folder.parent))
    assert find_model(old).path == find_model_by_id(CARD.model_id).path == folder
    shutil.rmtree(folder)
    assert find_model(old).path == newer


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a/", "/a", "a\0"])
def test_names_that_are_none_of_folders(name: str) -> None:
    with pytest.raises(ModelError, match="no name of a folder"):
        check_folder_name(name)
    check_folder_name(f"photo-4..{CARD.name}")


def test_several_folders_of_models(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    second = tmp_path / "more"
    shutil.copytree(folder, second / "b")
    dataclasses.replace(CARD, name="other", weights_sha256="cd" * 32).save(second / "b")
    monkeypatch.setenv(MODELS_VARIABLE, os.pathsep.join([str(folder.parent), "", str(second)]))
    assert [model.card.name for model in installed_models()] == ["sample", "other"]
    shutil.copytree(folder, tmp_path / "embedded" / "first")
    assert [model.path.name for model in installed_models()] == ["first", "sample", "b"]


def test_an_unknown_name_lists_what_is_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match=r"^photo-9: no such model folder.*\(installed: none\)"):
        find_model("photo-9")
    monkeypatch.setenv(MODELS_VARIABLE, str(folder.parent))
    with pytest.raises(ModelError, match=r"\(installed: sample\)"):
        find_model("photo-9")


def test_an_unknown_id_says_what_to_do(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MODELS_VARIABLE, str(folder.parent))
    with pytest.raises(UnknownModelError, match=rf"01020304.*sample \({CARD.model_id.hex()}\).*vqcodec models add"):
        find_model_by_id(bytes([1, 2, 3, 4]))


def test_the_variable_names_a_folder_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MODELS_VARIABLE, str(tmp_path / "none"))
    with pytest.warns(ModelFolderWarning, match=f"none: no such folder, but {MODELS_VARIABLE} names it"):
        assert list(installed_models()) == []


def test_a_damaged_model_among_the_installed_is_named_and_takes_no_other_away(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(folder, tmp_path / "other" / "good")
    dataclasses.replace(CARD, name="good", weights_sha256="cd" * 32).save(tmp_path / "other" / "good")
    (folder / CARD_FILE).write_text("{")
    monkeypatch.setenv(MODELS_VARIABLE, os.pathsep.join([str(folder.parent), str(tmp_path / "other")]))
    with pytest.warns(ModelFolderWarning, match=r"sample.card\.json: cannot be read"):
        assert find_model("good").card.name == "good"
    with (
        pytest.warns(ModelFolderWarning, match=r"sample.card\.json: cannot be read"),
        pytest.raises(ModelError, match=r"^sample: no such model folder.*\(installed: good\)"),
    ):
        find_model("sample")


def test_an_embedded_model_is_found_before_any_folder_is_read(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(folder, tmp_path / "embedded" / "first")
    monkeypatch.setenv(MODELS_VARIABLE, str(tmp_path / "gone"))
    assert find_model_by_id(CARD.model_id).path == find_model("sample").path == tmp_path / "embedded" / "first"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", 3),
        ("name", None),
        ("licence", ["MIT"]),
        ("reads", "01020304"),
        ("reads", [1]),
        ("weights_sha256", 17),
        ("training", []),
        ("static_frequencies", [[0.5]]),
        ("static_frequencies", 7),
        ("fingerprint", 1),
        ("entropy_prior", [1]),
        ("autoencoder.quantizer.codebook_sizes", [32.0]),
        ("autoencoder.quantizer.codebook_sizes", "32"),
        ("autoencoder.quantizer.code_dimension", True),
        ("autoencoder.networks.encoder_widths", [[8]]),
        ("autoencoder.networks.latent_channels", "128"),
        ("autoencoder.networks", "compact"),
        ("autoencoder", None),
    ],
)
def test_every_field_has_its_type(field: str, value: object, folder: Path) -> None:
    values = json.loads((folder / CARD_FILE).read_text())
    place = values
    *outer, last = field.split(".")
    for name in outer:
        place = place[name]
    place[last] = value
    (folder / CARD_FILE).write_text(json.dumps(values))
    with pytest.raises(ModelError, match=r"card\.json: not a valid model card"):
        load_model_folder(folder)


def test_a_card_of_nothing_but_brackets(folder: Path) -> None:
    (folder / CARD_FILE).write_text("[" * 200_000)
    with pytest.raises(ModelError, match=r"card\.json: "):
        load_model_folder(folder)


def test_a_wrong_model_names_both(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = dataclasses.replace(CARD, name="other", weights_sha256="cd" * 32)
    check_model_id(other.model_id, other)
    with pytest.raises(WrongModelError, match=rf"{CARD.model_id.hex()}, not with other \({other.model_id.hex()}\)"):
        check_model_id(CARD.model_id, other)
    monkeypatch.setenv(MODELS_VARIABLE, str(folder.parent))
    with pytest.raises(WrongModelError, match=rf"model sample \({CARD.model_id.hex()}\), not with other"):
        check_model_id(CARD.model_id, other)
