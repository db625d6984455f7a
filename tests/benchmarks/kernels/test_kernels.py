"""Speed and flips of the nearest codes: what is measured, what is compared, and the command."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor

from vqcodec.benchmarks.kernels import flips as kernel_flips
from vqcodec.benchmarks.kernels.flips import random_flips
from vqcodec.benchmarks.kernels.floor import Rates, device_rates, floor_of
from vqcodec.benchmarks.kernels.rivals import OURS, chunked, distances, plain, rivals
from vqcodec.benchmarks.kernels.speed import KernelCase, measure_kernels
from vqcodec.cli.main import main
from vqcodec.kernels import nearest_codes

# what other libraries import
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

CPU = torch.device("cpu")
EXAMPLE = Path(__file__).parents[3] / "examples" / "coffee.jpg"


def test_others_find_the_same_codes() -> None:
    generator = torch.Generator().manual_seed(0)
    z, codes = torch.randn(300, 8, generator=generator), torch.randn(90, 8, generator=generator)
    for search in (plain, distances, chunked):
        assert torch.equal(search(z, codes), nearest_codes(z, codes))


def test_rivals_are_those_that_are_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda function: function)  # loads its compiler even where it is not called
    assert {OURS, "cdist", "chunked", "torch.compile"} <= set(rivals())
    assert list(rivals(("cdist", OURS))) == [OURS, "cdist"]  # ours first, whatever the order
    assert "vqcodec, blocked" in rivals(on_gpu=True)
    with pytest.raises(ValueError, match="annoy: not known; there are vqcodec, cdist"):
        rivals(("annoy",))


@pytest.mark.parametrize("name", ["faiss", "vector-quantize-pytorch"])
def test_libraries_find_the_same_codes(name: str) -> None:
    pytest.importorskip(name.replace("-", "_"))
    generator = torch.Generator().manual_seed(0)
    z, codes = torch.randn(300, 8, generator=generator), torch.randn(90, 8, generator=generator)
    assert torch.equal(rivals((name,))[name](z, codes), nearest_codes(z, codes))


def test_times_are_of_every_method_and_case() -> None:
    cases = [KernelCase(200, 50, 4, "float32"), KernelCase(100, 50, 4, "bfloat16")]
    times = list(measure_kernels(cases, {OURS: nearest_codes, "chunked": chunked}, CPU, None))
    assert [(time.case.vectors, time.method) for time in times] == [
        (200, OURS), (200, "chunked"), (100, OURS), (100, "chunked"),
    ]  # fmt: skip
    for time in times:
        assert time.seconds is not None
        assert time.seconds > 0
        assert time.teraflops == pytest.approx(2 * time.case.products / time.seconds / 1e12)
        assert time.agreeing == 1
        assert time.floor is time.floor_share is None


def test_a_method_that_fails_is_a_result() -> None:
    def too_large(z: Tensor, codes: Tensor) -> Tensor:
        raise RuntimeError("out of memory\nwith details")

    (time,) = measure_kernels([KernelCase(20, 5, 4, "float32")], {"large": too_large}, CPU, None)
    assert time.failure == "out of memory"
    assert time.seconds is None


def test_the_floor_is_the_longest_of_three() -> None:
    rates = Rates(bytes=1e9, operations=1e12, comparisons=1e10)
    floor = floor_of(1000, 128, 8, torch.float32, rates)
    assert floor.bytes_seconds == pytest.approx(1000 * 40 / 1e9)
    assert floor.operations_seconds == pytest.approx(2 * 1000 * 128 * 32 / 1e12)
    assert floor.comparisons_seconds == pytest.approx(1000 * 128 * 20 / 16 / 1e10)
    three_at_a_time = floor_of(1000, 128, 8, torch.float32, replace(rates, compared=3))
    assert three_at_a_time.comparisons_seconds == pytest.approx(1000 * 128 * 12.5 / 16 / 1e10)
    assert floor.seconds == floor.bytes_seconds
    assert floor_of(10, 10, 65, torch.bfloat16, rates).operations_seconds == pytest.approx(2 * 100 * 128 * 2 / 1e12)
    assert device_rates(CPU) is None


def test_flips_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    found = random_flips(1000, 30, 4, CPU, progress=seen.append)
    assert (found.vectors, found.flips, sum(seen)) == (1000, 0, 1000)
    monkeypatch.setattr(kernel_flips, "nearest_codes", lambda z, codes: (nearest_codes(z, codes) + (z[:, 0] > 0)) % 30)
    monkeypatch.setattr(kernel_flips, "_PIECE", 300)
    assert 400 < random_flips(1000, 30, 4, CPU, progress=seen.append).flips < 600


@pytest.fixture
def bench(tmp_path: Path) -> Callable[..., dict[str, object]]:
    def run(*arguments: str) -> dict[str, object]:
        out = tmp_path / "out.json"
        result = CliRunner().invoke(main, ["bench", "kernels", "--device", "cpu", "--out", str(out), *arguments])
        assert result.exit_code == 0, result.output
        assert "cpu: blocked" in result.output
        loaded: dict[str, object] = json.loads(out.read_text(encoding="utf-8"))
        return loaded

    return run


def test_the_command_times(bench: Callable[..., dict[str, object]]) -> None:
    written = bench("-n", "100", "-k", "20", "-d", "4", "-d", "8", "--against", "vqcodec")
    times = written["times"]
    assert isinstance(times, list)
    assert [time["case"]["dimension"] for time in times] == [4, 8]
    assert all(time["seconds"] > 0 and math.isfinite(time["teraflops"]) for time in times)


def test_the_command_counts_flips(bench: Callable[..., dict[str, object]]) -> None:
    flips = bench("--flips", "2000", "-k", "50", "--images", str(EXAMPLE))["flips"]
    assert isinstance(flips, list)
    assert [each["flips"] for each in flips] == [0] * 7
    coarse, *_, fine = (each["vectors"] for each in flips[1:])
    assert fine > 3 * coarse > 300


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--images", str(EXAMPLE)], "--images goes with --flips"),
        (["--against", "annoy"], "annoy: not known"),
    ],
)
def test_wrong_use(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(main, ["bench", "kernels", *arguments])
    assert result.exit_code == 2
    assert message in result.output


def test_an_unknown_path_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VQCODEC_KERNELS", "fast")
    result = CliRunner().invoke(main, ["bench", "kernels", "-n", "9", "-k", "9", "-d", "4"])
    assert result.exit_code == 1
    assert result.stderr == "error: VQCODEC_KERNELS=fast: not a path; use auto, reference, blocked, triton, cuda\n"
