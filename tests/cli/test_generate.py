"""vqcodec generate: what is written and told, what the options do, what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_helpers import make_other_model, names_in, only_error, vqcodec
from click.testing import Result
from PIL import Image
from prior_helpers import write_prior

from vqcodec.bitstream import read_header
from vqcodec.cards.prior_card import PRIOR_WEIGHTS_FILE
from vqcodec.generation.config import SamplingConfig, Series
from vqcodec.generation.sampler import Sampler

pytestmark = pytest.mark.usefixtures("installed")


@pytest.fixture(scope="module")
def prior(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_prior(tmp_path_factory.mktemp("priors") / "random", tiny_model)


def generate(prior: Path, *arguments: object, size: str = "50x37") -> Result:
    return vqcodec("generate", "--model", "tiny", "--prior", prior, "--size", size, "--device", "cpu", *arguments)


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.mode == "RGB"
        return np.asarray(image)


def test_pictures_are_those_that_python_makes(prior: Path, tmp_path: Path, tiny_model: Path) -> None:
    out = tmp_path / "new" / "out"
    options = ("--seed", 4, "-n", 3, "--class", "dog", "--top-k", 20, "--top-p", 0.9, "--temperature", 0.8)
    result = generate(prior, *options, "--guidance", 1, "--batch-size", 2, "-o", out)
    assert (result.exit_code, result.stderr) == (0, "")
    assert names_in(tmp_path) == ["new/out/000.png", "new/out/001.png", "new/out/002.png"]
    first = result.stdout.splitlines()[0]
    assert first.startswith(f"{out / '000.png'}: 50 x 37, class dog, 2 levels, 24 of 24 tokens sampled, ")
    assert first.endswith(" bits each")
    config = SamplingConfig(0.8, top_k=20, top_p=0.9, guidance=1.0)
    sampler = Sampler.load(tiny_model, prior, device="cpu")
    for picture in sampler.generate(Series(3, labels=[1] * 3, seed=4, config=config, batch_size=2), size=(50, 37)):
        assert np.array_equal(pixels(out / f"00{picture.number}.png"), picture.rgb)


def test_streams_decode_to_the_same_pictures(prior: Path, tmp_path: Path) -> None:
    assert generate(prior, "-n", 2, "-o", tmp_path).exit_code == 0
    assert generate(prior, "-n", 2, "-o", tmp_path, "--stream").exit_code == 0
    assert names_in(tmp_path) == ["000.png", "000.vq", "001.png", "001.vq"]
    for name in ("000", "001"):
        decoded = tmp_path / "decoded.png"
        assert vqcodec("decode", tmp_path / f"{name}.vq", decoded, "--device", "cpu", "-f").exit_code == 0
        assert np.array_equal(pixels(decoded), pixels(tmp_path / f"{name}.png"))


def test_what_is_told_as_json(prior: Path, tmp_path: Path) -> None:
    result = generate(prior, "-n", 2, "--class", "3", "--levels", 1, "-o", tmp_path, "--stream", "--json")
    first, second = map(json.loads, result.stdout.splitlines())
    assert first["output"] == str(tmp_path / "000.vq")
    assert (first["width"], first["height"], first["levels"], first["tokens"]) == (50, 37, 1, 12)
    assert (first["seed"], first["number"], second["number"]) == (0, 0, 1)
    assert (first["class"], first["model"], first["prior"]) == ("frog", "tiny", "random")
    assert first["condition"] is None
    assert (first["sampled_tokens"], first["kept_bits"]) == (12, 0)
    assert 0 < first["sampled_bits"] < 500
    assert read_header((tmp_path / "000.vq").read_bytes()).header.level_count == 1


@pytest.mark.parametrize(("text", "label"), [("cat", 0), ("0", 0), ("dog", 1), ("7", 2), ("2", 2), ("3", 3)])
def test_a_class_by_name_or_number(text: str, label: int, prior: Path, tmp_path: Path, tiny_model: Path) -> None:
    assert generate(prior, "--class", text, "-o", tmp_path).exit_code == 0
    wanted = next(Sampler.load(tiny_model, prior, device="cpu").generate(Series(labels=[label]), size=(50, 37)))
    assert np.array_equal(pixels(tmp_path / "000.png"), wanted.rgb)


def test_picture_i_does_not_depend_on_how_many_there_are(prior: Path, tmp_path: Path) -> None:
    for count in (1, 3):
        assert generate(prior, "-n", count, "-o", tmp_path / str(count)).exit_code == 0
    assert np.array_equal(pixels(tmp_path / "1" / "000.png"), pixels(tmp_path / "3" / "000.png"))
    assert not np.array_equal(pixels(tmp_path / "3" / "000.png"), pixels(tmp_path / "3" / "001.png"))


def test_without_a_size_there_are_16_tokens_along_each_side(prior: Path, tmp_path: Path) -> None:
    result = vqcodec("generate", "--model", "tiny", "--prior", prior, "--levels", 1, "-o", tmp_path)
    assert "256 x 256" in result.stdout
    assert pixels(tmp_path / "000.png").shape == (256, 256, 3)


def test_the_prior_in_the_folder_of_the_model(tiny_model: Path, tmp_path: Path) -> None:
    other = make_other_model(tmp_path / "models" / "other", tiny_model)
    write_prior(other / "prior", other)
    result = vqcodec("generate", "--model", other, "--size", "20x20", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output


def test_help_loads_no_torch() -> None:
    program = (
        "import sys\nfrom vqcodec.cli.main import main\n"
        "for command in ('generate', 'complete', 'upscale'):\n    main([command, '--help'], standalone_mode=False)\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# ---- what is refused ----


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--size", "512"), "expected WIDTHxHEIGHT in pixels, as 512x384"),
        (("--size", "0x5"), "expected WIDTHxHEIGHT"),
        (("--size", "5x-5"), "expected WIDTHxHEIGHT"),
        (("--size", "100000x100000"), "not more than 200000000 in all"),
        (("--size", "2000000x1"), "expected WIDTHxHEIGHT"),
        (("--temperature", "-1"), "a temperature of -1.0"),
        (("--temperature", "nan"), "a temperature of nan"),
        (("--top-k", "0"), "top k of 0"),
        (("--top-p", "1.5"), "top p of 1.5"),
        (("--guidance", "-1", "--class", "cat"), "a guidance of -1.0"),
        (("--guidance", "1"), "give --class or --condition"),
        (("--levels", "3"), "'--levels': pictures of prior random have 1 to 2 levels"),
        (("--class", "bird"), "'bird': prior random has the classes 0 to 3 (cat, dog, 7, frog)"),
        (("--class", "4"), "'4': prior random has the classes 0 to 3"),
        (("--class", "-1"), "'-1': prior random"),
        (("--class", ""), "'': prior random"),
        (("-n", "0"), "'-n'"),
        (("--batch-size", "0"), "'--batch-size'"),
        (("--seed", "-1"), "'--seed'"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], message: str, prior: Path, tmp_path: Path) -> None:
    result = generate(prior, "-o", tmp_path / "out", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in " ".join(result.stderr.split())
    assert names_in(tmp_path) == []


def test_a_folder_must_be_named(prior: Path) -> None:
    result = generate(prior)
    assert result.exit_code == 2
    assert "'--output-folder'" in result.stderr


def test_a_prior_without_classes_says_so(tiny_model: Path, tmp_path: Path) -> None:
    plain = write_prior(tmp_path / "plain", tiny_model, classes=())
    result = generate(plain, "--class", "cat", "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert "'--class': prior random knows no classes; leave --class out" in " ".join(result.stderr.split())
    assert generate(plain, "-o", tmp_path / "out").exit_code == 0


def test_nothing_is_overwritten_without_force(prior: Path, tmp_path: Path) -> None:
    second = tmp_path / "001.png"
    second.write_bytes(b"precious")
    line = only_error(generate(prior, "-n", 2, "-o", tmp_path))
    assert line == f"error: {second}: exists already; give -f to overwrite it"
    assert names_in(tmp_path) == ["001.png"]
    assert second.read_bytes() == b"precious"
    assert generate(prior, "-n", 2, "-o", tmp_path, "-f").exit_code == 0
    assert pixels(second).shape == (37, 50, 3)


def test_a_model_without_a_prior(tmp_path: Path) -> None:
    line = only_error(vqcodec("generate", "--model", "tiny", "-o", tmp_path / "out"))
    assert line.startswith("error: model tiny has no prior; train one with `vqcodec train stage2 --model tiny`")


def test_a_prior_of_another_model(tiny_model: Path, prior: Path, tmp_path: Path) -> None:
    other = make_other_model(tmp_path / "models" / "other", tiny_model)
    line = only_error(vqcodec("generate", "--model", other, "--prior", prior, "-o", tmp_path / "out"))
    assert line.startswith("error: prior random is for the tokens of model tiny (")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("prior.json", None, "not a prior folder"),
        ("prior.json", b"{", "cannot be read"),
        ("prior.json", b"{}", "not a valid prior card"),
        (PRIOR_WEIGHTS_FILE, None, "the weights cannot be read"),
        (PRIOR_WEIGHTS_FILE, b"damaged", "not the weights that prior random's card names"),
    ],
)
def test_a_damaged_prior(name: str, content: bytes | None, message: str, tiny_model: Path, tmp_path: Path) -> None:
    folder = write_prior(tmp_path / "prior", tiny_model)
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    line = only_error(generate(folder, "-o", tmp_path / "out"))
    assert line.startswith(f"error: {folder}")
    assert message in line
    assert not (tmp_path / "out").exists()


def test_what_was_written_before_a_failure_is_whole(
    prior: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = torch.Tensor.topk

    def failing(self: torch.Tensor, *arguments: object, **options: object) -> object:
        if list(tmp_path.iterdir()):
            raise RuntimeError("CUDA out of memory.")
        return plain(self, *arguments, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(torch.Tensor, "topk", failing)
    result = generate(prior, "-n", 2, "--batch-size", 1, "--top-k", 5, "-o", tmp_path)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: not enough memory")
    assert names_in(tmp_path) == ["000.png"]
    assert pixels(tmp_path / "000.png").shape == (37, 50, 3)
