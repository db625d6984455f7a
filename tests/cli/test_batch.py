"""Many files: folders, jobs, order of the lines, memory, and what failures do to the others."""

from __future__ import annotations

import json
import threading
import time
import weakref
from pathlib import Path

import pytest
from cli_helpers import make_picture, make_stream, names_in, only_error, vqcodec

from vqcodec import whole_files
from vqcodec.cli.common.batch import Outcome, run
from vqcodec.cli.common.files import FileError, Task
from vqcodec.codec import Codec

pytestmark = pytest.mark.usefixtures("installed")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures at two depths, and a file that is no picture by its name."""
    for number, name in enumerate(("b.png", "a.JPG", "deep/er/c.d.webp")):
        make_picture(tmp_path / "in" / name, 20 + number, 18)
    (tmp_path / "in" / "notes.txt").write_text("no picture")
    return tmp_path / "in"


@pytest.mark.parametrize("jobs", [1, 3])
def test_a_folder_keeps_its_structure_both_ways(jobs: int, folder: Path, tmp_path: Path) -> None:
    encoded = vqcodec("encode", folder, "-o", tmp_path / "out", "--model", "tiny", "--jobs", jobs, "--json")
    assert (encoded.exit_code, encoded.stderr) == (0, "")
    assert names_in(tmp_path / "out") == ["a.vq", "b.vq", "deep/er/c.d.vq"]
    values = [json.loads(line) for line in encoded.stdout.splitlines()]
    assert [value["input"] for value in values] == [
        str(folder / name) for name in ("a.JPG", "b.png", "deep/er/c.d.webp")
    ]
    assert [value["width"] for value in values] == [21, 20, 22]
    decoded = vqcodec("decode", tmp_path / "out", "-o", tmp_path / "back", "--jobs", jobs)
    assert (decoded.exit_code, decoded.stderr) == (0, "")
    assert names_in(tmp_path / "back") == ["a.png", "b.png", "deep/er/c.d.png"]


def test_files_and_folders_together(folder: Path, tmp_path: Path) -> None:
    single = make_picture(tmp_path / "else" / "single.png")
    result = vqcodec("encode", single, folder / "deep", "-o", tmp_path / "out", "--model", "tiny")
    assert result.exit_code == 0, result.output
    assert names_in(tmp_path / "out") == ["er/c.d.vq", "single.vq"]


@pytest.mark.parametrize("names", [("a.png", "a.jpg"), ("a.png", "else/a.png"), ("a.png", "a.png")])
def test_two_inputs_for_one_output_are_refused_before_any_work(names: tuple[str, str], tmp_path: Path) -> None:
    inputs = [make_picture(tmp_path / name) for name in names]
    result = vqcodec("encode", make_picture(tmp_path / "0.png"), *inputs, "-o", tmp_path / "out", "--model", "tiny")
    assert result.exit_code == 2
    assert all(str(path) in result.stderr for path in inputs)
    assert str(tmp_path / "out" / "a.vq") in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_folder_without_inputs_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    line = only_error(vqcodec("decode", tmp_path / "in", "-o", tmp_path / "out"))
    assert line == f"error: {tmp_path / 'in'}: no files there with one of the suffixes .vq"


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_failing_file_does_not_stop_the_others_and_the_exit_code_tells(
    jobs: int, folder: Path, tmp_path: Path
) -> None:
    (folder / "b.png").write_bytes(b"damaged")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.vq").write_bytes(b"precious")
    result = vqcodec("encode", folder, "-o", tmp_path / "out", "--model", "tiny", "--jobs", jobs)
    assert result.exit_code == 1
    assert [line.split(":")[0] for line in result.stdout.splitlines()] == [str(tmp_path / "out" / "deep/er/c.d.vq")]
    first, second, total = result.stderr.splitlines()
    assert first == f"error: {tmp_path / 'out' / 'a.vq'}: exists already; give -f to overwrite it"
    assert second.startswith(f"error: {folder / 'b.png'}: ")
    assert total == "error: 2 of 3 files failed"
    assert (tmp_path / "out" / "a.vq").read_bytes() == b"precious"
    assert names_in(tmp_path / "out") == ["a.vq", "deep/er/c.d.vq"]


def test_with_debug_the_others_are_done_too(folder: Path, tmp_path: Path) -> None:
    (folder / "a.JPG").write_bytes(b"damaged")
    result = vqcodec("encode", folder, "-o", tmp_path / "out", "--model", "tiny", "--debug")
    assert result.exit_code == 1
    assert result.stderr.startswith("Traceback")
    assert names_in(tmp_path / "out") == ["b.vq", "deep/er/c.d.vq"]


def test_a_model_is_loaded_once_for_all_streams(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        make_stream(tmp_path / "in" / f"{number}.vq", tiny_model, seed=number)
    loaded = []
    load = Codec.load
    monkeypatch.setattr(Codec, "load", lambda *args, **options: loaded.append(args) or load(*args, **options))
    assert vqcodec("decode", tmp_path / "in", "-o", tmp_path / "out", "--jobs", 3).exit_code == 0
    assert len(names_in(tmp_path / "out")) == 4
    assert len(loaded) == 1


# ---- running tasks, without pictures ----


def tasks(count: int) -> list[Task]:
    return [Task(f"{number}.png", f"{number}.vq") for number in range(count)]


@pytest.mark.parametrize("jobs", [1, 4])
def test_lines_come_in_the_order_of_the_input(jobs: int, capsys: pytest.CaptureFixture[str]) -> None:
    def work(task: Task) -> Outcome:
        time.sleep(0.05 if task.source == "0.png" else 0)
        return Outcome(task.target, {})

    run(tasks(12), work, jobs=jobs, as_json=False, debug=False)
    assert capsys.readouterr().out.split() == [f"{number}.vq" for number in range(12)]


@pytest.mark.parametrize("jobs", [1, 3])
def test_only_as_many_pictures_as_jobs_are_in_memory(jobs: int, capsys: pytest.CaptureFixture[str]) -> None:
    class Picture:
        pass

    alive: weakref.WeakSet[Picture] = weakref.WeakSet()
    most = [0]
    lock = threading.Lock()

    def work(task: Task) -> Outcome:
        with lock:
            picture = Picture()
            alive.add(picture)
            most[0] = max(most[0], len(alive))
        time.sleep(0.002)
        if int(task.source.split(".")[0]) % 2:
            raise FileError("the traceback of this must not keep the picture")
        return Outcome(f"{task.target} {id(picture)}", {})

    with pytest.raises(SystemExit) as ended:
        run(tasks(30), work, jobs=jobs, as_json=False, debug=True)
    assert ended.value.code == 1
    assert "error: 15 of 30 files failed" in capsys.readouterr().err
    assert 1 <= most[0] <= jobs


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_interruption_cancels_what_has_not_begun(jobs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole_files, "_under_way", set())  # put back: this process does not end
    begun = []

    def work(task: Task) -> Outcome:
        begun.append(task)
        if len(begun) == 2:
            raise KeyboardInterrupt
        time.sleep(0.01)
        return Outcome("", {})

    with pytest.raises(KeyboardInterrupt):
        run(tasks(50), work, jobs=jobs, as_json=False, debug=False)
    assert len(begun) < 50
    assert whole_files.is_abandoned() is (jobs == 2)
