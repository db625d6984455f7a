"""A command that is killed (SIGKILL, as by a lack of memory or power) at any moment leaves whole files, or none.

`VQCODEC_KILLS=200 pytest tests/cli/test_killed.py` kills as often; by default it is a few times.
"""

from __future__ import annotations

import os
import random
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


def encode_command(*arguments: object) -> list[str]:
    command = [sys.executable, "-m", "vqcodec.cli.main", "encode", "--device", "cpu", *arguments]
    return [str(part) for part in command]


def test_killed_at_random_moments_nothing_is_half_written_and_nothing_lost(tmp_path: Path, tiny_model: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    pictures = [make_picture(folder / f"{number}.png", 64, 48, seed=number) for number in range(PICTURES)]
    content = {path: path.read_bytes() for path in pictures}
    codec = Codec.load(tiny_model, device="cpu")
    expected = {f"{path.stem}.vq": codec.encode(path) for path in pictures}
    old = codec.encode(pictures[0], levels=1)
    command = encode_command(folder, "-o", out, "--model", tiny_model, "--jobs", 2, "-f")
    started = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    whole_run = time.monotonic() - started
    moments = random.Random(1)
    interrupted, left_over, replaced = 0, 0, 0
    for _ in range(KILLS):
        for name in expected:  # what is there before is whole, too, and is replaced
            (out / name).write_bytes(old)
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            time.sleep(moments.uniform(0.3, 1.05) * whole_run)
            process.kill()
        interrupted += process.returncode != 0
        for name in names_in(out):
            if name.endswith(".partial"):
                left_over += 1
                (out / name).unlink()
                continue
            data = (out / name).read_bytes()
            assert data in (old, expected[name]), f"{name} is half-written"
            replaced += data != old
        assert all(path.read_bytes() == content[path] for path in pictures)
        assert sorted(names_in(out)) == sorted(expected)
    print(f"{interrupted} of {KILLS} runs were killed, {left_over} temporary files left, {replaced} files replaced")
    assert interrupted > 0
    again = encode_command(folder, "-o", out, "--model", tiny_model, "-f")
    subprocess.run(again, check=True, capture_output=True)
    assert {name: (out / name).read_bytes() for name in names_in(out)} == expected


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
