"""Training and quantize-prior that are killed (SIGKILL) at any moment lose nothing that was written, and go on.

`VQCODEC_KILLS=100 pytest tests/cli/test_killed_long_commands.py` kills as often each; by default it is a few times.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cli_helpers import make_picture
from prior_helpers import write_prior

KILLS = int(os.environ.get("VQCODEC_KILLS", "3"))
ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

#: every checkpoint that is there can be loaded, whole lines are logged, and in the end all is as without being killed
TRAINING = """
import json, shutil, sys
from pathlib import Path
from killing import kill_often, run
from stage1_helpers import assert_same_checkpoint
import vqcodec.training.stage1.trainer
from vqcodec.training.common.checkpoint import checkpoints, load_checkpoint

kills, pictures, base = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
common = ["--data", pictures, "--device", "cpu", "--no-tensorboard"]
first = ["--preset", "tiny", "--no-perceptual", "--codebook-size", "4", "--batch-size", "1", "--crop-size", "32",
         "--checkpoint-every", "2", "--steps", "12"]
out, undisturbed = base / "out", base / "undisturbed"
seconds = run(["train", "stage1", "--out", str(undisturbed), *common, *first])

def command():
    there = checkpoints(out) if out.exists() else []
    if there and there[-1] == out / checkpoints(undisturbed)[-1].name:
        shutil.rmtree(out)
        there = []
    if out.exists() and not there:
        shutil.rmtree(out)
    how = ["--resume", "--checkpoint-every", "2"] if there else first
    return ["train", "stage1", "--out", str(out), *common, *how]

def check(was_killed):
    for path in checkpoints(out) if out.exists() else ():
        load_checkpoint(path)

runs = kill_often(command, kills, seconds, check)
last = out / checkpoints(undisturbed)[-1].name
if not last.exists():
    run(command())
assert_same_checkpoint(last, checkpoints(undisturbed)[-1])
steps = [json.loads(line)["step"] for line in (out / "log.jsonl").read_text().splitlines()]
assert steps == list(range(12)), steps
print(f"{kills} of {runs} runs killed")
"""

#: the folder is that before or that after, and a model either way
QUANTIZING = """
import shutil, sys
from pathlib import Path
from killing import kill_often, run
import vqcodec.training.stage2.integer_export
from vqcodec.cards.model_card import load_model_folder
from vqcodec.codec import Codec

kills, model, base = int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
work, made = base / "work", base / "made"
arguments = ["quantize-prior", str(work), "--data", sys.argv[4], "--crops", "2"]
shutil.copytree(model, work)
seconds = run(arguments)
work.rename(made)
ids = {load_model_folder(folder).card.model_id for folder in (model, made)}
outcomes = set()

def command():
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(model, work)
    return arguments

def check(was_killed):
    load_model_folder.cache_clear()
    codec = Codec.load(work, device="cpu")
    assert codec.card.model_id in ids
    outcomes.add(codec.card.model_id)
    stream = codec.encode(base / "small.png")
    codec.decode(stream)

runs = kill_often(command, kills, seconds, check)
print(f"{kills} of {runs} runs killed, {len(outcomes)} kinds of folders")
"""


def killed(program: str, *arguments: object) -> str:
    environment = os.environ | {"PYTHONPATH": str(ROOT / "tests" / "helpers"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", program, str(KILLS), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    return done.stdout


def test_training_goes_on_as_if_nothing_had_been(tmp_path: Path) -> None:
    for number in range(3):
        make_picture(tmp_path / "pictures" / f"{number}.png", 64, 48, seed=number)
    assert killed(TRAINING, tmp_path / "pictures", tmp_path).startswith(f"{KILLS} of ")


def test_a_model_is_one_before_or_after_its_prior_was_made_integer(tmp_path: Path, tiny_model: Path) -> None:
    shutil.copytree(tiny_model, tmp_path / "model")
    write_prior(tmp_path / "model" / "prior", tiny_model, classes=())
    make_picture(tmp_path / "photos" / "a.png", 300, 280)
    make_picture(tmp_path / "small.png", 20, 30)
    told = killed(QUANTIZING, tmp_path / "model", tmp_path, tmp_path / "photos")
    assert told.startswith(f"{KILLS} of ")
