"""What a run writes while it goes on, and what is left of it when it is killed and goes on."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vqcodec.training.common.run_log import RunLog, RunLogError, scalar_name, wants_tensorboard


def run_log(out: Path, *, first_step: int = 0, **changes: Any) -> RunLog:
    """Ten steps of 8 pictures, without TensorBoard."""
    settings: dict[str, Any] = {"total_steps": 10, "samples_per_step": 8, "tensorboard": False} | changes
    return RunLog(out, first_step=first_step, **settings)


def lines(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


# ---- log.jsonl ----


def test_every_step_is_a_line_at_once(tmp_path: Path) -> None:
    out = tmp_path / "new" / "run"
    with run_log(out) as log:
        for step in range(3):
            log.log(step, {"l1": 0.5 + step, "usage_1": 1.0})
            assert lines(out)[-1] == {
                "step": step,
                "l1": 0.5 + step,
                "usage_1": 1.0,
            }
    assert [line["step"] for line in lines(out)] == [0, 1, 2]
    assert [path.name for path in out.iterdir()] == ["log.jsonl"]


def test_the_speed_is_by_the_median_of_twenty_steps(tmp_path: Path) -> None:
    with run_log(tmp_path, samples_per_step=6) as log:
        for step, seconds in enumerate([90.0, 2.0, 4.0, *[3.0] * 17, *[0.5] * 10, 0.5]):
            log.log(step, {"seconds": seconds})
    speeds = [line["images_per_second"] for line in lines(tmp_path)]
    assert speeds[:3] == [6 / 90, 6 / 46, 6 / 4]
    assert speeds[19:31] == [2.0] * 10 + [6 / 1.75, 12.0]


def test_without_a_time_there_is_no_speed(tmp_path: Path) -> None:
    with run_log(tmp_path) as log:
        log.log(0, {"l1": 1.0})
    assert lines(tmp_path) == [{"step": 0, "l1": 1.0}]


def test_steps_after_the_last_checkpoint_are_not_there_twice(tmp_path: Path) -> None:
    with run_log(tmp_path) as log:
        for step in range(8):
            log.log(step, {"l1": 1.0})
    with run_log(tmp_path, first_step=5) as log:
        assert [line["step"] for line in lines(tmp_path)] == [0, 1, 2, 3, 4]
        log.log(5, {"l1": 2.0})
    assert [(line["step"], line["l1"]) for line in lines(tmp_path)][4:] == [(4, 1.0), (5, 2.0)]


@pytest.mark.parametrize(
    ("tail", "kept"),
    [
        (b'{"step": 2, "l1": 0.', [0, 1]),
        (b'{"step": 2', [0, 1]),
        (b"\x00\x00\x00\xff", [0, 1]),
        (b'{"step": 2, "l1": 0.5}', [0, 1, 2]),  # only its end was missing
    ],
)
def test_a_line_written_by_half_is_dropped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, tail: bytes, kept: list[int]
) -> None:
    (tmp_path / "log.jsonl").write_bytes(b'{"step": 0}\n{"step": 1}\n' + tail)
    with run_log(tmp_path, first_step=6) as log:
        log.log(6, {})
    assert [line["step"] for line in lines(tmp_path)] == [*kept, 6]
    assert not caplog.records


def test_an_unreadable_line_elsewhere_is_dropped_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "log.jsonl").write_text('{"step": 0}\n{"st{"step": 1}\n[1]\n{"step": "2"}\n{"step": 3}\n')
    with run_log(tmp_path, first_step=9):
        pass
    assert [line["step"] for line in lines(tmp_path)] == [0, 3]
    said = [record.getMessage().split(": ")[1] for record in caplog.records]
    assert said == [f"line {number} dropped, it has no step that can be read" for number in (2, 3, 4)]


def test_dropping_lines_is_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = b'{"step": 0}\n{"step": 1}\n'
    (tmp_path / "log.jsonl").write_bytes(before)

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        run_log(tmp_path, first_step=1)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("log.jsonl", before)]


# ---- the bar ----


def test_there_is_a_bar_on_a_terminal_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with run_log(tmp_path / "quiet") as log:
        log.log(0, {"l1": 0.25})
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with run_log(tmp_path / "shown", first_step=3) as log:
        log.log(3, {"l1": 0.25, "bits_2": 7.5, "usage_1": 0.75, "seconds": 2.0})
    shown = capsys.readouterr().err.split("\r")
    assert " 3/10 " in shown[1]
    assert " 4/10 " in shown[-1]
    assert "l1=0.25, bits_2=7.5, images/s=4" in shown[-1]
    assert "usage_1" not in shown[-1]


# ---- TensorBoard ----


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("l1", "loss/l1"),
        ("lpips_vgg", "loss/lpips_vgg"),
        ("repetition", "loss/repetition"),
        ("dists", "loss/dists"),
        ("usage_1", "codebook/usage_1"),
        ("perplexity_12", "codebook/perplexity_12"),
        ("dead_4", "codebook/dead_4"),
        ("bits_1", "loss/bits_1"),
        ("saved_2", "rate/saved_2"),
        ("bpp_4", "rate/bpp_4"),
        ("gradient_norm", "optimizer/gradient_norm"),
        ("images_per_second", "speed/images_per_second"),
        ("usage_of_memory", "other/usage_of_memory"),
        ("new_1", "other/new_1"),
    ],
)
def test_scalars_are_in_groups(name: str, shown: str) -> None:
    assert scalar_name(name) == shown


def test_tensorboard_is_optional(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    assert wants_tensorboard(None) is False
    with run_log(tmp_path, tensorboard=None) as log:
        log.log(0, {"l1": 1.0})
        log.log_validation(1, {"psnr_db_1": 20.0})
        log.log_images(1, np.zeros((4, 4, 3), np.uint8))
    assert [path.name for path in tmp_path.iterdir()] == ["log.jsonl"]


def test_tensorboard_asked_for_but_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    out = tmp_path / "run"
    with pytest.raises(RunLogError, match=r"^TensorBoard is not installed: pip install 'vqcodec\[train\]'$"):
        run_log(out, tensorboard=True)
    assert not out.exists()


def events(out: Path) -> Any:
    """What TensorBoard shows."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(out / "tensorboard")).Reload()


def points(out: Path, name: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in events(out).Scalars(name)]


def test_tensorboard_shows_every_nth_step_and_the_last(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    assert wants_tensorboard(None) is True
    with run_log(tmp_path, tensorboard=None, scalar_interval=4) as log:
        for step in range(10):
            log.log(step, {"l1": step / 4, "usage_1": 0.5, "odd": 2.0, "seconds": 2.0})
    assert points(tmp_path, "loss/l1") == [(1, 0.0), (5, 1.0), (9, 2.0), (10, 2.25)]
    names = {"loss/l1", "codebook/usage_1", "other/odd", "speed/seconds", "speed/images_per_second"}
    assert set(events(tmp_path).Tags()["scalars"]) == names
    assert points(tmp_path, "speed/images_per_second")[0] == (1, 4.0)


def test_tensorboard_shows_validations(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    with run_log(tmp_path, tensorboard=True) as log:
        log.log_validation(3, {"psnr_db_1": 20.0, "dists_2": 0.25})
        log.log_images(3, np.zeros((6, 9, 3), np.uint8))
    assert points(tmp_path, "validation/psnr_db_1") == [(3, 20.0)]
    assert points(tmp_path, "validation/dists_2") == [(3, 0.25)]
    (image,) = events(tmp_path).Images("validation/reconstructions")
    assert (image.step, image.height, image.width) == (3, 6, 9)


def test_tensorboard_shows_a_resumed_run_once(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    with run_log(tmp_path, tensorboard=True, scalar_interval=1) as log:
        for step in range(5):
            log.log(step, {"l1": 1.0})
            if step == 2:
                log.log_validation(3, {"psnr_db_1": 20.0})  # at the checkpoint of 3 steps, the last one
    with run_log(tmp_path, tensorboard=True, scalar_interval=1, first_step=3) as log:
        log.log(3, {"l1": 2.0})
    assert points(tmp_path, "loss/l1") == [(1, 1.0), (2, 1.0), (3, 1.0), (4, 2.0)]
    assert points(tmp_path, "validation/psnr_db_1") == [(3, 20.0)]
