"""The context network gives the same frequencies whatever computes its products, and without torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from context_helpers import random_network
from integer_helpers import PROCESSES, SIZES, digest
from safetensors.numpy import save_file

from vqcodec.prior.context import ContextModel
from vqcodec.prior.context_config import ContextConfig
from vqcodec.training.stage2.context_export import context_arrays

HELPERS = Path(__file__).parents[1] / "helpers"
#: of the widths that users have
NETWORK = random_network(ContextConfig(SIZES, (16,) * len(SIZES)))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("context") / "entropy.safetensors"
    save_file(context_arrays(NETWORK), path)
    return path


@pytest.mark.parametrize("process", [name for name in PROCESSES if name != "settings of torch"])
def test_kernels_and_threads_do_not_matter(process: str, saved: Path) -> None:
    code = (
        f"import sys; sys.path[:0] = [{str(HELPERS)!r}]\n"
        "from safetensors.numpy import load_file; from integer_helpers import digest\n"
        "from vqcodec.prior.context import ContextModel; from vqcodec.prior.context_config import ContextConfig\n"
        f"config = ContextConfig.from_dict({NETWORK.config.to_dict()})\n"
        f"print('torch' in sys.modules, digest(ContextModel(config, load_file({str(saved)!r}))))"
    )
    environment = os.environ | PROCESSES[process]
    made = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=200
    )
    expected = digest(ContextModel(NETWORK.config, context_arrays(NETWORK)))
    assert made.stdout.split() == ["False", expected]
