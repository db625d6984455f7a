"""The run over kinds of processes finds nothing where there is nothing, and finds what differs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from vqcodec.benchmarks.priors import portability
from vqcodec.benchmarks.priors.portability import Case, measure_portability
from vqcodec.benchmarks.speed.processes import ProcessError

#: as a library would be that rounds its products
WRONG = "import vqcodec.prior.arithmetic as m; m.LARGEST_STATE = 100"


@pytest.fixture
def light(tmp_path: Path) -> Case:
    """Its process finds an empty torch, which it imports for its settings alone: it starts ten times sooner."""
    (tmp_path / "torch.py").touch()
    return Case({"PYTHONPATH": str(tmp_path)})


def measured(monkeypatch: pytest.MonkeyPatch, **cases: Case) -> portability.Portability:
    monkeypatch.setattr(portability, "CASES", cases)
    return measure_portability(24, None)


def test_processes_that_agree(monkeypatch: pytest.MonkeyPatch, light: Case) -> None:
    many = Case({"OPENBLAS_NUM_THREADS": "2"}, at_once=50, settings="torch.set_default_dtype(torch.float64)")
    found = measured(monkeypatch, one=replace(light, at_once=1), many=many)
    assert found.streams == 24
    assert found.payloads > 24
    assert found.tokens > found.payloads
    assert found.payload_bytes > 24
    assert found.failures == ()


def test_a_process_that_computes_something_else(monkeypatch: pytest.MonkeyPatch, light: Case) -> None:
    found = measured(monkeypatch, right=light, wrong=replace(light, settings=WRONG))
    assert found.failures
    assert all("written by case" in line for line in found.failures)


def test_a_process_that_fails(monkeypatch: pytest.MonkeyPatch, light: Case) -> None:
    with pytest.raises(ProcessError, match=r"the process of case 'bad' failed: .*no such thing"):
        measured(monkeypatch, bad=replace(light, settings="raise RuntimeError('no such thing')"), good=light)
