"""scripts/fill_tables.py: the figures in documents are those of benchmarks/results."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "scripts" / "fill_tables.py"


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module, at work in a copy of what it reads and writes."""
    spec = importlib.util.spec_from_file_location("fill_tables", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for source in [*(ROOT / name for name in module.DOCUMENTS), *module.RESULTS.glob("k*/**/summary.json")]:
        copy = tmp_path / source.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, copy)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "RESULTS", tmp_path / "benchmarks" / "results")
    return module


def run(script: ModuleType, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *arguments])
    status: int = script.main()
    return status


def test_documents_say_what_the_results_say(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(script, monkeypatch, "--check") == 0
    text = "".join((ROOT / name).read_text() for name in script.DOCUMENTS)
    assert all(text.count(f"<!-- table {name} -->") == 1 for name in script.TABLES)


@pytest.mark.parametrize("name", ["README.md", "docs/benchmarks.md"])
def test_a_document_that_says_something_else_is_named_and_mended(
    name: str, script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path: Path = script.ROOT / name
    right = path.read_text()
    path.write_text(right.replace("photo-5, 1 level", "photo-5, 7 levels"))
    wrong = path.read_text()
    assert run(script, monkeypatch, "--check") == 1
    assert capsys.readouterr().err.startswith(f"{name}: ")
    assert path.read_text() == wrong
    assert run(script, monkeypatch) == 0
    assert path.read_text() == right


def test_other_results_give_other_figures(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    path: Path = script.RESULTS / "kodak" / "summary.json"
    summary = json.loads(path.read_text())
    first = next(row for row in summary["means"] if row["codec"].startswith("vq:") and row["setting"] == 1)
    first |= {"bytes": 123456.4, "bits_per_pixel": 0.0123, "psnr_db": 12.34, "lpips": 0.98765}
    wins = next(row for row in summary["win_rates"] if (row["anchor"], row["metric"]) == ("all", script.BOTH))
    wins |= {"images": 21, "wins": 17}
    path.write_text(json.dumps(summary))
    assert run(script, monkeypatch) == 0
    readme, benchmarks = ((script.ROOT / name).read_text() for name in script.DOCUMENTS)
    assert "| 123456 | .012 | 12.3 | .988 |" in readme  # worse than AVIF: not in bold
    assert benchmarks.count("123456") == 2  # among all means, and by quality
    assert "| 17 of 21 |" in benchmarks
