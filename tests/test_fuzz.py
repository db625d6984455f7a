"""The inputs that mutation found, the shortest of each outcome, still have it; and a few new ones are tried."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
CORPUS = Path(__file__).parent / "golden" / "fuzz_corpus.jsonl"
KEPT = [json.loads(line) for line in CORPUS.read_text().splitlines()]


@cache
def target(name: str) -> Any:
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        import fuzz_targets
    finally:
        sys.path.pop(0)
    return fuzz_targets.TARGETS[name](random.Random(0), str(ROOT / "released" / "photo-4"))


@pytest.mark.parametrize("kept", KEPT, ids=lambda kept: f"{kept['target']}: {kept['outcome']}")
def test_what_was_found_once(kept: dict[str, str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert target(kept["target"]).outcome(bytes.fromhex(kept["input"])) == kept["outcome"]


def test_the_corpus_has_every_target() -> None:
    assert {kept["target"] for kept in KEPT} == {
        "headers",
        "tokens",
        "streams",
        "alpha",
        "cards",
        "checkpoints",
        "pictures",
    }


def test_some_new_ones(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "scripts" / "fuzz"), "--executions", "3000", "--seed", "5"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("at most") == 7
    assert not list(tmp_path.iterdir())


def test_a_find_is_written_to_a_file(tmp_path: Path) -> None:
    code = "import fuzz_targets as f; f.Headers.outcome = lambda self, data: 1 / 0; import runpy; "
    code += f"runpy.run_path({str(ROOT / 'scripts' / 'fuzz')!r}, run_name='__main__')"
    command = [sys.executable, "-c", code, "--target", "headers", "--executions", "3"]
    environment = {"PYTHONPATH": str(ROOT / "scripts"), "PATH": ""}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["fuzz-headers-0-0.bin"]
