"""Tokens to train on: those of random crops, and those that are kept in a file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from vqcodec.codec import Codec
from vqcodec.pictures.arrays import Pixels
from vqcodec.training.data.crops import UNLABELLED, CropBatches, CropConfig
from vqcodec.training.data.pictures import ArrayPictures, PictureSet
from vqcodec.training.data.types import DataError
from vqcodec.training.stage2.crop_tokens import PictureTokens, StoredTokens, TokenBatch, known_labels, write_tokens

CROP = CropConfig(size=32)


@pytest.fixture(scope="module")
def codec(tiny_model: Path) -> Codec:
    return Codec.load(tiny_model, device="cpu", dtype=torch.float32)


def photos(labels: bool = True) -> ArrayPictures:
    pixels = np.random.default_rng(5).integers(256, size=(5, 40, 50, 3), dtype=np.uint8)
    pixels //= np.arange(1, 6, dtype=np.uint8)[:, None, None, None]
    return ArrayPictures(pixels, np.array([2, 0, 1, 2, 0]), ("a", "b", "c")) if labels else ArrayPictures(pixels)


def tokens_of(codec: Codec, pictures: Any = None, **changes: Any) -> PictureTokens:
    settings: dict[str, Any] = {"levels": 2, "batch_size": 4, "crop": CROP, "seed": 7} | changes
    return PictureTokens(pictures or photos(), codec, **settings)


def same(left: TokenBatch, right: TokenBatch) -> bool:
    pairs = zip([*left.levels, left.labels], [*right.levels, right.labels], strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


# ---- of pictures ----


def test_a_batch_is_what_the_codec_makes_of_the_crops(codec: Codec) -> None:
    source = tokens_of(codec)
    crops, labels = CropBatches(photos(), batch_size=4, crop=CROP, seed=7).with_labels(3)
    batch = source(3)
    expected = codec.tokenize(torch.from_numpy(crops).permute(0, 3, 1, 2) / 127.5 - 1)
    assert [grid.shape for grid in batch.levels] == [(4, 2, 2)] * 2
    assert all(torch.equal(a, b) for a, b in zip(batch.levels, expected, strict=True))
    assert batch.labels.tolist() == labels.tolist()
    assert batch.condition is None
    assert source.classes == ("a", "b", "c")
    assert tokens_of(codec, photos(labels=False))(3).labels.tolist() == [UNLABELLED] * 4


def test_a_batch_depends_on_seed_and_step_alone(codec: Codec) -> None:
    first, second = tokens_of(codec), tokens_of(codec)
    made = {step: first(step) for step in (4, 2, 3)}
    ahead = list(second.ahead(2, 5))
    assert [step for step, _ in ahead] == [2, 3, 4]
    assert all(same(batch, made[step]) for step, batch in ahead)
    assert not same(made[2], made[3])
    assert not same(made[2], tokens_of(codec, seed=8)(2))
    assert list(first.ahead(5, 5)) == []


def test_processes_share_a_batch(codec: Codec) -> None:
    whole = tokens_of(codec)(1)
    for rank in (0, 1):
        part = tokens_of(codec, share=slice(rank, None, 2))(1)
        assert same(part, TokenBatch([grid[rank::2] for grid in whole.levels], whole.labels[rank::2]))


def test_the_first_levels_alone(codec: Codec) -> None:
    batch = tokens_of(codec, levels=1)(0)
    assert len(batch.levels) == 1
    assert torch.equal(batch.levels[0], tokens_of(codec)(0).levels[0])


def test_the_condition_is_made_from_the_crops(codec: Codec) -> None:
    def darkness(crops: Pixels) -> Tensor:
        assert crops.dtype == np.uint8
        return torch.from_numpy(crops[:, None, ::8, ::8, 1]).long()

    source = tokens_of(codec, condition=darkness)
    crops = CropBatches(photos(), batch_size=4, crop=CROP, seed=7)(2)
    ((step, batch),) = source.ahead(2, 3)
    assert step == 2
    assert batch.condition is not None
    assert torch.equal(batch.condition, darkness(crops))


def test_crops_that_give_no_whole_tokens_are_refused(codec: Codec) -> None:
    with pytest.raises(DataError, match="crops of 40 pixels: take a multiple of 16"):
        tokens_of(codec, crop=CropConfig(size=40))


def test_a_label_that_is_missing_is_the_last_of_the_priors() -> None:
    assert known_labels(torch.tensor([2, UNLABELLED, 0]), 3).tolist() == [2, 3, 0]


# ---- in a file ----


def stored(path: Path, codec: Codec, **changes: Any) -> StoredTokens:
    settings: dict[str, Any] = {"model_id": codec.card.model_id.hex(), "levels": 2, "batch_size": 6, "seed": 1}
    return StoredTokens(path, **settings | changes)


@pytest.fixture
def file(codec: Codec, tmp_path: Path) -> Path:
    """The tokens of 10 crops: two batches and a half."""
    path = tmp_path / "tokens.npz"
    write_tokens(path, tokens_of(codec), 10)
    return path


def test_a_file_holds_the_first_crops(codec: Codec, file: Path) -> None:
    assert [path.name for path in file.parent.iterdir()] == ["tokens.npz"]
    source = stored(file, codec, batch_size=500)
    assert source.classes == ("a", "b", "c")
    written = [batch for _, batch in tokens_of(codec).ahead(0, 3)]

    def rows(batches: list[TokenBatch]) -> list[list[int]]:
        parts = [torch.cat([*(g.flatten(1) for g in b.levels), b.labels[:, None]], dim=1) for b in batches]
        return torch.cat(parts).tolist()

    batch = source(0)
    assert set(map(tuple, rows([batch]))) == set(map(tuple, rows(written)[:10]))
    assert len(set(map(tuple, rows(written)))) > 6
    assert {grid.dtype for grid in batch.levels} == {batch.labels.dtype} == {torch.int64}
    assert batch.condition is None


def test_a_stored_batch_depends_on_seed_and_step_alone(codec: Codec, file: Path) -> None:
    made = {step: stored(file, codec)(step) for step in (4, 2, 3)}
    ahead = list(stored(file, codec).ahead(2, 5))
    assert [step for step, _ in ahead] == [2, 3, 4]
    assert all(same(batch, made[step]) for step, batch in ahead)
    assert not same(made[2], made[3])
    assert not same(made[2], stored(file, codec, seed=2)(2))


def test_processes_share_a_stored_batch(codec: Codec, file: Path) -> None:
    whole = stored(file, codec)(1)
    for rank in (0, 1):
        part = stored(file, codec, share=slice(rank, None, 2))(1)
        assert same(part, TokenBatch([grid[rank::2] for grid in whole.levels], whole.labels[rank::2]))


def test_the_first_levels_of_a_file(codec: Codec, file: Path) -> None:
    first = stored(file, codec, levels=1)(0).levels
    assert len(first) == 1
    assert torch.equal(first[0], stored(file, codec)(0).levels[0])


@pytest.mark.parametrize("codes", [1 << 16, (1 << 16) + 1, 1 << 18])
def test_all_codes_of_large_codebooks_can_be_stored(codec: Codec, tmp_path: Path, codes: int) -> None:
    shape = codec.card.autoencoder
    large = replace(shape, quantizer=replace(shape.quantizer, codebook_sizes=(codes,) * shape.levels))
    source = tokens_of(codec)
    source.codec = SimpleNamespace(card=replace(codec.card, autoencoder=large))  # type: ignore[assignment]
    batch = TokenBatch([torch.tensor([[[0, codes - 1]]])], torch.tensor([UNLABELLED]))
    source.ahead = lambda first, last: iter([(0, batch)])  # type: ignore[method-assign]
    write_tokens(tmp_path / "large.npz", source, 1)
    model_id = source.codec.card.model_id.hex()
    assert same(StoredTokens(tmp_path / "large.npz", model_id=model_id, levels=1, batch_size=1, seed=0)(0), batch)


def test_a_failure_keeps_the_old_file(codec: Codec, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = file.read_bytes()

    def fail(*given: Any, **named: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", fail)
    with pytest.raises(OSError, match="No space left"):
        write_tokens(file, tokens_of(codec), 1)
    assert [(path.name, path.read_bytes()) for path in file.parent.iterdir()] == [("tokens.npz", before)]


# ---- files that do not suit ----


def test_tokens_of_another_model_are_refused(codec: Codec, file: Path) -> None:
    own = codec.card.model_id.hex()
    with pytest.raises(DataError, match=rf"tokens\.npz: tokens of model {own}, not of {'cd' * 8}; make them anew"):
        stored(file, codec, model_id="cd" * 8)


def test_tokens_of_too_few_levels_are_refused(codec: Codec, file: Path) -> None:
    with pytest.raises(DataError, match=r"tokens\.npz: tokens of 2 levels; the prior has 3"):
        stored(file, codec, levels=3)


def rewritten(file: Path, **changes: Any) -> None:
    """Some arrays changed, or for None left out."""
    with np.load(file) as old:
        arrays = {name: old[name] for name in old.files} | changes
    np.savez(file, **{name: value for name, value in arrays.items() if value is not None})


@pytest.mark.parametrize(
    "changes",
    [
        {"version": None},
        {"labels": None},
        {"model_id": None},
        {"classes": None},
        {"level_1": None},
        {"level_1": None, "level_2": None},
        {"level_2": np.zeros((11, 2, 2), np.uint16)},
        {"level_2": np.zeros((12, 4), np.uint16)},
        {"labels": np.zeros((12, 1), np.int64)},
        {"labels": np.int64(3)},
        {"labels": np.zeros(0, np.int64), "level_1": np.zeros((0, 2, 2)), "level_2": np.zeros((0, 2, 2))},
    ],
)
def test_a_file_of_other_arrays_is_named(codec: Codec, file: Path, changes: dict[str, Any]) -> None:
    rewritten(file, **changes)
    with pytest.raises(DataError, match=r"tokens\.npz: not a file of tokens; make one with `vqcodec train tokens`"):
        stored(file, codec)


def test_a_file_of_another_version_is_named(codec: Codec, file: Path) -> None:
    rewritten(file, version=np.int64(2))
    with pytest.raises(DataError, match=r"tokens\.npz: version 2 of token files, this vqcodec reads 1"):
        stored(file, codec)


@pytest.mark.parametrize("damage", ["cut", "changed", "text", "empty", "one array", "folder", "gone"])
def test_a_damaged_file_is_named(codec: Codec, file: Path, damage: str) -> None:
    raw = file.read_bytes()
    place = raw.index(b"level_1.npy") + 60
    file.unlink()
    if damage == "one array":
        with file.open("wb") as array:
            np.save(array, np.zeros(3))
    elif damage == "folder":
        file.mkdir()
    elif damage != "gone":
        changed = raw[:place] + bytes([raw[place] ^ 0x55]) + raw[place + 1 :]
        file.write_bytes({"cut": raw[: len(raw) // 2], "changed": changed, "text": b"tokens", "empty": b""}[damage])
    with pytest.raises(DataError, match=r"tokens\.npz: not a file of tokens; make one with `vqcodec train tokens`"):
        stored(file, codec)


def test_pictures_in_folders_give_classes(codec: Codec, pictures: Path, tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / "data" / name).mkdir(parents=True)
        picture = pictures / f"{len(name)}.png"
        (tmp_path / "data" / name / "1.png").write_bytes(picture.read_bytes())
    source = tokens_of(codec, PictureSet([tmp_path / "data"], labels=True))
    assert source.classes == ("a", "b")
    assert set(source(0).labels.tolist()) <= {0, 1}
    assert tokens_of(codec, PictureSet([tmp_path / "data"])).classes == ()
