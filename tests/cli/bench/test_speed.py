from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

from vqcodec.benchmarks.speed import processes
from vqcodec.benchmarks.speed.processes import ColdStart, LargePicture, ProcessError
from vqcodec.benchmarks.speed.stages import synthetic_picture
from vqcodec.cli.main import main
from vqcodec.codec import Codec
from vqcodec.native.library import core, use_threads

#: far more than the addresses of any machine: nothing is allocated
TOO_MANY = 10**12


@pytest.fixture(autouse=True)
def _same_number_of_threads_after() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
    use_threads(None)


def speed(model: Path, *arguments: object) -> Result:
    given = ["bench", "speed", "--model", model, "--device", "cpu", "--repeat", 1, *arguments]
    return CliRunner().invoke(main, [str(argument) for argument in given])


def table(result: Result) -> list[dict[str, str]]:
    """The rows of the printed tables by column."""
    lines = result.stdout.splitlines()
    [columns, *_] = [line.replace("CPU ms", "CPU-ms").split() for line in lines if "MP/s" in line]
    rows = [line.split() for line in lines if line.split()[1:2] and line.split()[1].isdecimal()]
    return [dict(zip(columns, row, strict=True)) for row in rows]


def test_encode_and_decode_are_measured_at_every_level(tiny_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "speed.json"
    result = speed(
        tiny_model, "--size", "64x48", "--dtype", "float32", "--every-level", "--threads", 2, "--no-cold", "--out", out
    )
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("tiny, static coding, in float32 on cpu, threads: 2, medians of 1\n")
    printed = table(result)
    assert [(row["work"], row["levels"]) for row in printed] == [
        ("encode", "1"),
        ("decode", "1"),
        ("encode", "2"),
        ("decode", "2"),
    ]
    assert {row["size"] for row in printed} == {"64x48"}
    for row in printed:
        shares = [int(row[part].rstrip("%")) for part in ("network", "quantiser", "coder", "rest")]
        assert 90 <= sum(shares) <= 110
    values = json.loads(out.read_text())
    assert {"command", "date", "commit", "machine", "versions", "model", "entropy", "failures", "speed"} == set(values)
    assert values["machine"]["torch_threads"] == 2
    encode = values["speed"][0]
    assert (encode["width"], encode["height"], encode["batch"], encode["levels"]) == (64, 48, 1, 1)
    assert encode["megapixels_per_second"] == pytest.approx(64 * 48 / 1e6 / encode["seconds"])
    assert set(encode["shares"]) == {"network", "quantiser", "entropy coder", "rest"}
    assert printed[0]["bytes"] == str(encode["bytes"])


def test_sizes_batches_and_types_are_combined(tiny_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "speed.json"
    sizes = ("--size", "64x48", "--size", "32x32")
    more = ("--batch", 1, "--batch", 3, "--dtype", "bfloat16", "--dtype", "float32", "--no-cold", "--out", out)
    result = speed(tiny_model, *sizes, *more)
    assert result.exit_code == 0, result.output
    assert result.stdout.count("peak memory") == 2
    rows = json.loads(out.read_text())["speed"]
    assert [(row["dtype"], row["width"], row["batch"], row["work"]) for row in rows] == [
        (dtype, width, *kind)
        for dtype in ("bfloat16", "float32")
        for width in (64, 32)
        for kind in ((1, "encode"), (1, "decode"), (3, "tokenize"), (3, "detokenize"))
    ]
    assert {(row["bytes"], row["coder"]) for row in table(result) if row["batch"] == "3"} == {("-", "-")}


def test_by_default_the_types_worth_it_are_measured_at_one_picture(tiny_model: Path) -> None:
    result = speed(tiny_model, "--no-cold", "--threads", 1)
    assert result.exit_code == 0, result.output
    assert {(row["size"], row["batch"], row["levels"]) for row in table(result)} == {("768x512", "1", "2")}
    assert "tiny, static coding, in float32 on cpu" in result.stdout
    assert ("tiny, static coding, in native on cpu" in result.stdout) == (core() is not None)


def test_a_picture_of_the_user_and_whole_commands(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture, out = tmp_path / "picture.png", tmp_path / "new" / "speed.json"
    Image.fromarray(synthetic_picture(40, 24)).save(picture)
    started: list[tuple[str, tuple[int, int], str, int | None, str]] = []

    def cold_start(model: str, image: Image.Image, *, device: str, threads: int | None, entropy: str) -> ColdStart:
        started.append((model, image.size, device, threads, entropy))
        return ColdStart(encode_seconds=2.0, decode_seconds=3.0, info_seconds=0.125, repeat=3)

    monkeypatch.setattr(processes, "measure_cold_start", cold_start)
    result = speed(
        tiny_model, "--image", picture, "--dtype", "float32", "--batch", 2, "--out", out, "--entropy", "uniform"
    )
    assert result.exit_code == 0, result.output
    assert [row["size"] for row in table(result)] == ["40x24"] * 2
    assert started == [(str(tiny_model), (40, 24), "cpu", None, "uniform")]
    assert "vqcodec decode, 40x24: 3.00 s, the whole process\n" in result.stdout
    assert json.loads(out.read_text())["cold"]["info_seconds"] == 0.125


def test_a_large_picture(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    large = LargePicture(
        width=95,
        height=63,
        bytes=77,
        encode_seconds=1.0,
        decode_seconds=2.0,
        loaded_memory_bytes=10**8,
        encode_memory_bytes=2 * 10**8,
        decode_memory_bytes=None,
    )
    monkeypatch.setattr(processes, "measure_large", lambda *arguments, **options: large)
    out = tmp_path / "speed.json"
    result = speed(tiny_model, "--megapixels", "0.006", "--threads", 1, "--out", out)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        "95 x 63: 77 bytes, each in a fresh process",
        "  encode 1.00 s, peak memory 200 MB",
        "  decode 2.00 s, peak memory not known here",
        "  of which 100 MB before encoding: Python, torch, model, picture",
    ]
    values = json.loads(out.read_text())
    assert values["large"] == asdict(large)
    assert "speed" not in values


def test_a_process_that_fails_is_one_line(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*arguments: object, **options: object) -> LargePicture:
        raise ProcessError("it ended with code 3: no memory")

    monkeypatch.setattr(processes, "measure_large", failing)
    result = speed(tiny_model, "--megapixels", "1", "--threads", 1)
    assert result.exit_code == 1
    assert result.stderr == "error: it ended with code 3: no memory\n"


def test_too_little_memory_is_one_line_and_the_rest_is_measured(tiny_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "speed.json"
    batches = ("--batch", TOO_MANY, "--batch", 2)
    result = speed(tiny_model, "--size", "16x16", *batches, "--dtype", "float32", "--no-cold", "--out", out)
    assert result.exit_code == 1
    [line] = result.stderr.splitlines()
    assert line.startswith(f"error: 16x16, batch {TOO_MANY}, 2 levels, float32: not enough memory: give a smaller")
    values = json.loads(out.read_text())
    assert values["failures"] == [line.removeprefix("error: ")]
    assert [row["work"] for row in values["speed"]] == ["tokenize", "detokenize"]


def test_a_type_that_the_device_lacks_is_one_line(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load = Codec.load

    def without_bfloat16(*arguments: Any, dtype: torch.dtype | None = None, **options: Any) -> Codec:
        if dtype == torch.bfloat16:
            raise TypeError("BFloat16 is not supported here\nand more lines")
        return load(*arguments, dtype=dtype, **options)

    monkeypatch.setattr(Codec, "load", without_bfloat16)
    arguments = ("--size", "16x16", "--dtype", "bfloat16", "--dtype", "float32", "--no-cold")
    result = speed(tiny_model, *arguments)
    assert result.exit_code == 1
    assert result.stderr == "error: bfloat16: torch cannot compute it here (BFloat16 is not supported here)\n"
    assert len(table(result)) == 2
    assert "Traceback" in speed(tiny_model, *arguments, "--debug").stderr


@pytest.mark.parametrize("size", ["64", "0x5", "axb", "64x48x3"])
def test_a_size_that_is_none_is_a_usage_error(size: str, tiny_model: Path) -> None:
    result = speed(tiny_model, "--size", "64x48", "--size", size)
    assert result.exit_code == 2
    assert f"{size!r} is not a size such as 768x512" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--batch", 0), "0 is not in the range"),
        (("--dtype", "float16"), "'float16' is not one of"),
        (("--image", __file__, "--size", "8x8"), "leave out --size"),
        (("--megapixels", 1, "--batch", 2), "leave out --size, --batch"),
        (("--megapixels", 1, "--every-level"), "--every-level"),
    ],
)
def test_options_that_do_not_go_together(arguments: tuple[object, ...], message: str, tiny_model: Path) -> None:
    result = speed(tiny_model, *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_result_file_that_cannot_be_written_is_named(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    out = tmp_path / "file" / "speed.json"
    result = speed(tiny_model, "--size", "16x16", "--dtype", "float32", "--no-cold", "--out", out)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: {out}: cannot be written")
