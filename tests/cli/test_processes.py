"""What only a process of its own shows: signals, closed and full pipes, and which commands load torch.

Most of these run a command made here from the real parts, so that it needs no torch and stops where it should.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cli_helpers import make_picture, make_stream, names_in, vqcodec

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and pipes are others there")

#: `probe KIND IN... -o DIR`, or `probe KIND IN OUT`; a `slow` one sleeps while its temporary file exists
PROBE = """
import sys, time, types
from pathlib import Path
import click
from vqcodec.cli.common import batch
from vqcodec.cli.common import files
from vqcodec.cli import main
from vqcodec.cli.common import options
from vqcodec.cli.common import planning

@click.command()
@click.argument("kind")
@options.paths
@options.output_folder
@options.jobs
def probe(kind, paths, output_folder, jobs):
    def work(task):
        files.check_target(task, force=False)
        def check(data):
            Path("begun").touch()
            time.sleep({"slow": 60, "short": 1, "large": 0}[kind])
        data = bytes(50_000_000 if kind == "large" else 1_000_000)  # no pipe holds the large one
        files.write_output(task, data, force=False, check=check)
        return batch.Outcome(task.target, {})
    tasks = planning.plan(paths, output_folder, suffix=".out", inputs=frozenset({".in"})).tasks
    batch.run(tasks, work, jobs=jobs, as_json=False, debug=False)

sys.modules["vqcodec.cli.probe"] = types.SimpleNamespace(probe=probe)
main._COMMANDS["probe"] = "probe"
main.main()
"""


def start(*arguments: object, cwd: Path, program: str = PROBE, **options: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", program, *map(str, arguments)]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.Popen(command, cwd=cwd, preexec_fn=_heed_signals, **streams)  # type: ignore[call-overload,no-any-return]


def _heed_signals() -> None:
    """Whoever runs the tests may ignore signals (nohup does), which processes inherit."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    for _ in range(6000):
        if path.exists():
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    pytest.fail(f"{path.name} did not appear")


@pytest.mark.parametrize(
    ("number", "code", "told"),
    [(signal.SIGINT, 130, b"\nAborted!\n"), (signal.SIGTERM, 128 + signal.SIGTERM, b""), (signal.SIGHUP, 129, b"")],
)
def test_a_signal_ends_a_command_at_once_and_leaves_nothing(
    number: signal.Signals, code: int, told: bytes, tmp_path: Path
) -> None:
    process = start("probe", "slow", "in", "out/result", cwd=tmp_path)
    wait_for(tmp_path / "begun", process)
    assert names_in(tmp_path / "out")[0].endswith(".partial")
    process.send_signal(number)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (code, b"")
    assert err.strip() == told.strip()
    assert names_in(tmp_path) == ["begun"]


def test_with_jobs_too_a_signal_ends_a_command_at_once_and_leaves_nothing(tmp_path: Path) -> None:
    process = start("probe", "slow", "a.in", "b.in", "c.in", "-o", "out", "--jobs", 2, cwd=tmp_path)
    wait_for(tmp_path / "begun", process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err.strip()) == (130, b"Aborted!")
    assert names_in(tmp_path / "out") == []


def test_with_jobs_what_was_whole_before_a_signal_stays(tmp_path: Path) -> None:
    names = [f"{number}.in" for number in range(100)]
    process = start("probe", "short", *names, "-o", "out", "--jobs", 2, cwd=tmp_path)
    wait_for(tmp_path / "out" / "0.out", process)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (128 + signal.SIGTERM, b"")
    written = names_in(tmp_path / "out")
    assert 0 < len(written) < 10
    assert all(name.endswith(".out") and (tmp_path / "out" / name).stat().st_size == 1_000_000 for name in written)


def closes_after(first: bytes, process: subprocess.Popen[bytes]) -> None:
    """Read `first` from stdout, close it, and see the process end without a word."""
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(len(first)) == first
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_closed_pipe_ends_a_command_quietly(unbuffered: str, tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    closes_after(bytes(10), start("probe", "large", "in", "-", cwd=tmp_path, env=environment))


def test_a_closed_pipe_ends_the_lines_of_info_quietly(tmp_path: Path, tiny_model: Path) -> None:
    stream = make_stream(tmp_path / "a.vq", tiny_model)
    program = "from vqcodec.cli.main import main; main()"
    closes_after(b'{"file": "', start("info", "--json", *[stream.name] * 2000, cwd=tmp_path, program=program))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_stdout_is_an_error(tmp_path: Path) -> None:
    with open("/dev/full", "wb") as full:
        process = start("probe", "large", "in", "-", cwd=tmp_path, stdout=full)
        _, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (1, b"error: stdout: cannot be written (No space left on device)\n")


def test_a_closed_stdout_is_an_error_for_the_result_and_none_for_the_line(tmp_path: Path) -> None:
    shell = f"{sys.executable} -c '{PROBE.replace(chr(39), chr(34))}' probe short in"
    done = subprocess.run(["sh", "-c", f"{shell} - >&-"], cwd=tmp_path, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (1, b"error: stdout: is closed; name an output file\n")
    done = subprocess.run(["sh", "-c", f"{shell} result >&-"], cwd=tmp_path, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "result").stat().st_size == 1_000_000


def test_the_cheap_commands_load_no_torch(tmp_path: Path, tiny_model: Path) -> None:
    stream = make_stream(tmp_path / "a.vq", tiny_model)
    program = f"""
import sys
from vqcodec.cli.main import main
for arguments in (["info", {str(stream)!r}], ["info", "--json", {str(stream)!r}], ["models"], ["--help"], ["--version"],
                  ["encode", "--help"], ["decode", "--help"], ["export", "--help"], ["doctor", "--help"],
                  ["decode", "missing.vq", "a.png"], ["decode", {str(stream)!r}, {str(stream)!r}],
                  ["encode", {str(stream)!r}, "a.vq", "--model", {str(tiny_model)!r}]):
    try:
        main(arguments)
    except SystemExit:
        pass
    assert "torch" not in sys.modules, arguments
print("done")
"""
    environment = os.environ | {"VQCODEC_MODELS": str(tiny_model.parent)}
    process = start(cwd=tmp_path, program=program, env=environment)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out.splitlines()[-1]) == (0, b"done"), err


def test_a_photo_through_a_real_process(tmp_path: Path, tiny_model: Path) -> None:
    picture = make_picture(tmp_path / "a.png")
    command = [sys.executable, "-m", "vqcodec.cli.main", "encode", "--model", tiny_model, "-", "-"]
    done = subprocess.run(command, input=picture.read_bytes(), capture_output=True, check=True)
    assert done.stderr.startswith(f"stdout: {len(done.stdout)} bytes, ".encode())
    assert vqcodec("decode", "-", tmp_path / "b.png", "--model", tiny_model, stdin=done.stdout).exit_code == 0
    assert names_in(tmp_path) == ["a.png", "b.png"]


def test_threads_wait_without_spinning_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Said before torch loads OpenMP, which reads it then."""
    program = "import os, vqcodec.cli.main; print(os.environ['OMP_WAIT_POLICY'], os.environ['GOMP_SPINCOUNT'])"
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["passive", "7"]
