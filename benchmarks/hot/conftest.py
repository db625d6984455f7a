"""Seconds of the functions in which the time goes, one by one, on the CPU and in float32.

    pytest benchmarks/hot --benchmark-json=hot.json

They are measured with pytest-benchmark, take no part in the tests beyond one run that shows that they work, and are not
in the wheel. `pytest-benchmark compare` shows two results side by side.
"""

from __future__ import annotations

from typing import Any

import torch


def pytest_benchmark_update_machine_info(machine_info: dict[str, Any]) -> None:
    """What the seconds depend on, too; not the name and the kernel of the host."""
    for name in ("node", "release"):
        machine_info.pop(name, None)
    machine_info |= {"torch": torch.__version__, "torch_threads": torch.get_num_threads()}


def pytest_benchmark_update_json(output_json: dict[str, Any]) -> None:
    """Statistics say enough; single timings would be a megabyte."""
    for benchmark in output_json["benchmarks"]:
        benchmark["stats"].pop("data", None)
