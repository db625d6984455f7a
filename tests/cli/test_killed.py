"""A command that is killed (SIGKILL, as by a lack of memory or power) at any moment leaves whole files, or none.

`VQCODEC_KILLS=200 pytest tests/cli/test_killed.py` kills as often; by default it is a few times.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cli_helpers import make_picture, names_in

from vqcodec.codec import Codec

KILLS = int(os.environ.get("VQCODEC_KILLS", "4"))
PICTURES = 40

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are others there")


#: runs the command in a copy of itself, which has everything loaded, and kills it; then looks at every file
HARNESS = """
import os, random, signal, sys, time
from pathlib import Path
import vqcodec.codec, vqcodec.models.core_engine, vqcodec.pictures.reading
from vqcodec.cli.main import main

kills, base, arguments = int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
out, old = base / "out", (base / "old").read_bytes()
expected = {path.name: path.read_bytes() for path in (base / "expected").iterdir()}
pictures = {path: path.read_bytes() for path in (base / "in").iterdir()}

def start():
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        try:
            main(arguments)
        finally:
            os._exit(0)
    return child

began = time.monotonic()
os.waitpid(start(), 0)
whole_run = time.monotonic() - began
moments, runs, killed, left_over, replaced = random.Random(), 0, 0, 0, 0
while killed < kills:
    runs += 1
    for name in expected:  # what is there before is whole, too, and is replaced
        (out / name).write_bytes(old)
    child = start()
    time.sleep(moments.uniform(0, 1) * whole_run)
    os.kill(child, signal.SIGKILL)
    was_killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])
    killed += was_killed
    whole_run *= 1.02 if was_killed else 0.85  # the machine may be busier or less so
    for path in out.iterdir():
        if path.suffix == ".partial":
            left_over += 1
            path.unlink()
        else:
            data = path.read_bytes()
            assert data in (old, expected[path.name]), f"{path.name} is half-written"
            replaced += data != old
    assert {path.name for path in out.iterdir()} == set(expected)
    assert all(path.read_bytes() == content for path, content in pictures.items())
print(f"{killed} of {runs} runs killed, {left_over} temporary files left, {replaced} files replaced")
"""


def encode_command(*arguments: object) -> list[str]:
    command = [sys.executable, "-m", "vqcodec.cli.main", "encode", "--device", "cpu", *arguments]
    return [str(part) for part in command]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_random_moments_nothing_is_half_written_and_nothing_lost(tmp_path: Path, tiny_model: Path) -> None:
    codec = Codec.load(tiny_model, device="cpu")
    for name in ("expected", "out"):
        (tmp_path / name).mkdir()
    for number in range(PICTURES):
        picture = make_picture(tmp_path / "in" / f"{number}.png", 64, 48, seed=number)
        (tmp_path / "expected" / f"{number}.vq").write_bytes(codec.encode(picture))
        (tmp_path / "out" / f"{number}.vq").touch()
    (tmp_path / "old").write_bytes(codec.encode(picture, levels=1))
    command = ["encode", tmp_path / "in", "-o", tmp_path / "out", "--model", tiny_model, "--device", "cpu", "-f"]
    harness = [sys.executable, "-c", HARNESS, KILLS, tmp_path, *command]
    done = subprocess.run([str(part) for part in harness], capture_output=True, text=True, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{KILLS} of ")


def test_a_run_that_was_killed_goes_on_with_skip_existing(tmp_path: Path, tiny_model: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    for number in range(PICTURES):
        make_picture(folder / f"{number}.png", 64, 48, seed=number)
    command = encode_command(folder, "-o", out, "--model", tiny_model, "--skip-existing")
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while not out.is_dir() or len(names_in(out)) < 3:
            assert process.poll() is None
            time.sleep(0.005)
        process.kill()
    there = [name for name in names_in(out) if not name.endswith(".partial")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout.count("skipped") == len(there) >= 2
    codec = Codec.load(tiny_model, device="cpu")
    for number in range(PICTURES):
        assert (out / f"{number}.vq").read_bytes() == codec.encode(folder / f"{number}.png")
