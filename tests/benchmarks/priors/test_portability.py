"""The run over kinds of processes finds nothing where there is nothing, and finds what differs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from vqcodec.benchmarks.priors.portability import Case, Portability, core_cases, measure_pixels, measure_portability
from vqcodec.benchmarks.speed.processes import ProcessError
from vqcodec.native.library import core

#: as a library would be that rounds its products
WRONG = "import vqcodec.prior.arithmetic as m; m.LARGEST_STATE = 100"


@pytest.fixture
def light(tmp_path: Path) -> Case:
    """Its process finds an empty torch, which it imports for its settings alone: it starts ten times sooner."""
    (tmp_path / "torch.py").touch()
    return Case({"PYTHONPATH": str(tmp_path)})


def measured(**cases: Case) -> Portability:
    return measure_portability(24, None, cases=cases)


def test_processes_that_agree(light: Case) -> None:
    many = Case({"OPENBLAS_NUM_THREADS": "2"}, at_once=50, settings="torch.set_default_dtype(torch.float64)")
    found = measured(one=replace(light, at_once=1), many=many)
    assert found.streams == 24
    assert found.payloads > 24
    assert found.tokens > found.payloads
    assert found.payload_bytes > 24
    assert found.failures == ()


def test_a_process_that_computes_something_else(light: Case) -> None:
    found = measured(right=light, wrong=replace(light, settings=WRONG))
    assert found.failures
    assert all("written by case" in line for line in found.failures)


def test_a_process_that_fails(light: Case) -> None:
    with pytest.raises(ProcessError, match=r"the process of case 'bad' failed: .*no such thing"):
        measured(bad=replace(light, settings="raise RuntimeError('no such thing')"), good=light)


@pytest.mark.skipif(core() is None, reason="the core in C is not there")
def test_the_core_and_numpy_agree(light: Case) -> None:
    cases = core_cases()
    assert measured(numpy=light, core=next(iter(cases.values()))).failures == ()


@pytest.mark.skipif(core() is None, reason="the core in C is not there")
def test_pictures_in_two_processes(tiny_model: Path) -> None:
    first, *_, last = core_cases().values()
    found = measure_pixels(2, str(tiny_model), cases={"first": first, "last": last})
    assert (found.pictures, found.differing) == (2, ())
    assert found.tokens > 2
    torch = Case({"VQCODEC_CORE": "torch"})
    assert measure_pixels(2, str(tiny_model), cases={"core": first, "torch": torch}).differing
