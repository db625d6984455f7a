from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_every_hot_function_can_still_be_measured() -> None:
    """Each runs once, untimed, in a process of its own: this run of the tests does not collect them."""
    options = ("-q", "-o", "python_files=bench_*.py", "-p", "no:cacheprovider", "--benchmark-disable")
    command = [sys.executable, "-m", "pytest", "benchmarks/hot", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) >= 17
