"""What a run leaves behind: exported models, and models to go on from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from stage1_helpers import MODEL, Trainers

from vqcodec.cards.engines import load_network
from vqcodec.cards.finding import find_model
from vqcodec.codec import Codec
from vqcodec.training.common.checkpoint import CheckpointError, checkpoints, save_checkpoint
from vqcodec.training.data.pictures import PictureSet
from vqcodec.training.data.types import DataError
from vqcodec.training.export import export_model
from vqcodec.training.stage1.trainer import TrainingError

# ---- export ----


def export(checkpoint: Path, folder: Path, pictures: Path) -> None:
    export_model(
        checkpoint,
        folder,
        name="small",
        pictures=PictureSet([pictures]),
        picture_count=2,
        description="four generated pictures",
        licence="CC0-1.0",
    )


def test_an_exported_model_encodes_and_decodes(trainer: Trainers, pictures: Path, tmp_path: Path) -> None:
    made = trainer()
    made.run()
    export(checkpoints(made.out)[-1], tmp_path / "models" / "small", pictures)
    assert {path.name for path in (tmp_path / "models").rglob("*")} == {"small", "card.json", "stage1.safetensors"}
    codec = Codec.load(tmp_path / "models" / "small", device="cpu", dtype=torch.float32)
    card = codec.card
    assert (card.name, card.licence, card.autoencoder) == ("small", "CC0-1.0", MODEL)
    assert (card.training["data"], card.training["steps"]) == ("four generated pictures", 6)
    assert [len(table) for table in card.static_frequencies] == [16, 8]
    assert {sum(table) for table in card.static_frequencies} == {2**24}
    stream = codec.encode(pictures / "0.png")
    decoded = codec.decode(stream)
    assert decoded.size == (96, 80)
    assert len(stream) <= len(codec.encode(pictures / "0.png", entropy="uniform"))
    # float16 weights make nearly the same picture as the averaged network of the run
    images = torch.from_numpy(np.array(Image.open(pictures / "0.png"))).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.no_grad():
        expected = made.average.detokenize(codec.tokenize(images))
    torch.testing.assert_close(codec.detokenize(codec.tokenize(images)), expected, rtol=0, atol=0.02)


def test_export_of_something_else(pictures: Path, tmp_path: Path) -> None:
    other = save_checkpoint(tmp_path, 3, {"weights": torch.zeros(3)})
    with pytest.raises(CheckpointError, match=f"{other.name}: not a checkpoint of stage 1"):
        export(other, tmp_path / "model", pictures)
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        export(tmp_path / "none.pt", tmp_path / "model", pictures)
    assert not (tmp_path / "model").exists()


def test_an_export_that_fails_leaves_the_model_that_was_there(
    trainer: Trainers, pictures: Path, tmp_path: Path
) -> None:
    made, folder = trainer(), tmp_path / "model"
    made.run()
    export(checkpoints(made.out)[-1], folder, pictures)
    (folder / "discriminator.safetensors").write_bytes(b"of the model")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    (tmp_path / "none").mkdir()
    Image.new("RGB", (3, 3)).save(tmp_path / "none" / "small.png")
    with pytest.raises(DataError, match="none of the training pictures can be used"):
        export(checkpoints(made.out)[-1], folder, tmp_path / "none")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    export(checkpoints(made.out)[-1], folder, pictures)
    assert not (folder / "discriminator.safetensors").exists()


# ---- fine-tuning ----


def test_a_finished_model_is_where_fine_tuning_starts(trainer: Trainers, pictures: Path, tmp_path: Path) -> None:
    first = trainer()
    first.run()
    export_model(
        checkpoints(first.out)[-1],
        tmp_path / "model",
        name="mine",
        pictures=PictureSet([pictures]),
        picture_count=4,
        description="d",
        licence="MIT",
    )
    network = load_network(find_model(tmp_path / "model"))
    tuned = trainer("tuned")
    tuned.start_from(network)
    for name, value in network.state_dict().items():
        torch.testing.assert_close(tuned.average.state_dict()[name], value)
        torch.testing.assert_close(tuned.model.state_dict()[name], value)
    tuned.run(until=1)
    code_vectors = "quantizer.levels.0.codebook.code_vectors"
    moved = (tuned.model.state_dict()[code_vectors] - network.state_dict()[code_vectors]).abs().max()
    assert 0 < moved < 0.2  # not started anew
    deeper = trainer("deeper", model=replace(MODEL, networks=replace(MODEL.networks, decoder_depths=(1, 2))))
    deeper.start_from(network)
    image = torch.zeros(1, 3, 32, 32)
    expected = network.decoder(network.encoder(image))
    torch.testing.assert_close(deeper.average.decoder(deeper.average.encoder(image)), expected)
    other = replace(MODEL, networks=replace(MODEL.networks, latent_channels=8))
    with pytest.raises(TrainingError, match="another configuration"):
        trainer("other", model=other).start_from(network)
