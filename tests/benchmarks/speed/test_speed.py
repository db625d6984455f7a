from __future__ import annotations

import json
import platform
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_helpers import vqcodec
from PIL import Image

import vqcodec.codec as codec_module
from vqcodec.benchmarks.common import environment
from vqcodec.benchmarks.common.memory import peak_memory_bytes
from vqcodec.benchmarks.speed import processes
from vqcodec.benchmarks.speed.processes import (
    ColdStart,
    ProcessError,
    large_size,
    measure_cold_start,
    measure_large,
    wall_seconds,
)
from vqcodec.benchmarks.speed.stages import (
    PARTS,
    STEPS,
    Speed,
    arithmetics_worth_measuring,
    measure_batch,
    measure_speed,
    repeated_picture,
    shifted_pictures,
    synthetic_picture,
)
from vqcodec.codec import Codec
from vqcodec.models.config import AutoencoderConfig
from vqcodec.pictures.image import to_tensor


@pytest.fixture(scope="module")
def codec(tiny_model: Path) -> Codec:
    return Codec.load(tiny_model, device="cpu", dtype=torch.float32)


def test_the_steps_are_parts_of_the_whole_and_all_take_time(codec: Codec) -> None:
    rgb = synthetic_picture(64, 48)
    speeds = measure_speed(codec, rgb, levels=2, repeat=3, warm_up=1)
    assert [speed.work for speed in speeds] == ["encode", "decode"]
    for speed in speeds:
        assert (speed.width, speed.height, speed.batch, speed.levels, speed.repeat) == (64, 48, 1, 2, 3)
        assert speed.bytes == len(codec.encode(rgb))
        assert tuple(speed.steps) == (*STEPS[speed.work], "other")
        assert all(seconds > 0 for seconds in speed.steps.values())
        assert max(speed.steps.values()) < speed.seconds
        json.dumps(speed.to_dict())


def test_a_batch_goes_to_tokens_and_back(codec: Codec) -> None:
    speeds = measure_batch(codec, synthetic_picture(60, 33), batch=3, levels=1, repeat=2, warm_up=1)
    assert [speed.work for speed in speeds] == ["tokenize", "detokenize"]
    for speed in speeds:
        assert (speed.width, speed.height, speed.batch, speed.levels, speed.bytes) == (60, 33, 3, 1, None)
        assert tuple(speed.steps) == (*STEPS[speed.work], "other")
        assert all(seconds > 0 for seconds in speed.steps.values())
        assert set(speed.shares) == {"network", "quantiser", "rest"}
        assert max(speed.steps.values()) < speed.seconds


def test_rates_and_shares() -> None:
    steps = {"tensor conversion": 0.1, "Encoder": 1.2, "quantisation": 0.4, "entropy coding": 0.2, "other": 0.1}
    speed = Speed(
        work="encode",
        width=1000,
        height=500,
        batch=4,
        levels=1,
        device="cpu",
        dtype="float32",
        threads=1,
        repeat=1,
        bytes=9,
        seconds=2.0,
        cpu_seconds=3.0,
        steps=steps,
        peak_memory_bytes=None,
    )
    values = speed.to_dict()
    assert values["megapixels_per_second"] == pytest.approx(1.0)
    assert values["images_per_second"] == pytest.approx(2.0)
    assert values["shares"] == pytest.approx({"network": 0.6, "quantiser": 0.2, "entropy coder": 0.1, "rest": 0.1})
    assert list(values["shares"])[-1] == "rest"
    assert values["steps"] == steps


def test_every_step_of_a_part_is_measured() -> None:
    measured = {step for steps in STEPS.values() for step in steps}
    assert set().union(*PARTS.values()) <= measured
    assert measured - set().union(*PARTS.values()) == {"tensor conversion", "pixel conversion"}


def test_measuring_leaves_the_codec_as_it_was(codec: Codec) -> None:
    names = ("write_stream", "read_stream")
    before = [getattr(codec_module, name) for name in names]
    owners = {(owner, name) for owner, name, *_ in codec.timed_steps()}
    own = {(owner, name): name in vars(owner) for owner, name in owners}
    with pytest.raises(ValueError, match="levels 9"):
        measure_speed(codec, synthetic_picture(16, 16), levels=9, repeat=1)
    measure_speed(codec, synthetic_picture(16, 16), levels=1, repeat=1, warm_up=0)
    measure_batch(codec, synthetic_picture(16, 16), batch=2, levels=1, repeat=1, warm_up=0)
    assert [getattr(codec_module, name) for name in names] == before
    assert {(owner, name): name in vars(owner) for owner, name in owners} == own
    with pytest.raises(ValueError, match="repeat 0"):
        measure_speed(codec, synthetic_picture(16, 16), levels=1, repeat=0)


def test_only_types_that_the_device_multiplies_are_measured(codec: Codec) -> None:
    names = arithmetics_worth_measuring(codec)
    assert names[0] == codec.arithmetic
    assert set(names) <= {"native", "float32", "bfloat16"}
    assert "float32" in names
    assert len(set(names)) == len(names)


def test_pictures_to_measure_with() -> None:
    picture = synthetic_picture(100, 70)
    assert (picture.shape, picture.dtype) == ((70, 100, 3), np.uint8)
    assert np.array_equal(picture, synthetic_picture(100, 70))
    assert not np.array_equal(picture, synthetic_picture(100, 70, seed=1))
    row = np.arange(6, dtype=np.uint8).reshape(1, 2, 3)
    assert repeated_picture(row, 5, 2)[:, :, 0].tolist() == [[0, 3, 3, 0, 0]] * 2
    assert large_size(24) == (6000, 4000)
    shifted = shifted_pictures(AutoencoderConfig(), picture, 3)
    assert (shifted.shape, shifted.dtype) == ((3, 3, 80, 112), torch.float32)
    assert torch.equal(shifted[:1], to_tensor(picture, 16))
    assert torch.equal(shifted[2, :, :70, 2:100], shifted[0, :, :70, :98])


def test_peak_memory_grows_with_what_is_held() -> None:
    before = peak_memory_bytes()
    if before is None:
        pytest.skip("this system does not tell")
    held = np.ones(before // 8 + 8_000_000)
    after = peak_memory_bytes()
    assert after is not None
    assert after >= held.nbytes


def test_wall_seconds_of_a_command() -> None:
    assert 0.2 < wall_seconds([sys.executable, "-S", "-c", "import time; time.sleep(0.2)"], 1) < 10
    with pytest.raises(ProcessError, match=r"ended with code 3: it is broken"):
        wall_seconds([sys.executable, "-S", "-c", "import sys; print('it is broken', file=sys.stderr); sys.exit(3)"], 1)


def test_the_processes_take_as_many_threads_as_they_are_told() -> None:
    told = (
        "from vqcodec.native.library import thread_count; import torch; print(thread_count(), torch.get_num_threads())"
    )
    assert processes._output([sys.executable, "-c", told], 1) == "1 1\n"


def test_a_large_picture_is_measured_in_fresh_processes(tiny_model: Path) -> None:
    large = measure_large(str(tiny_model), 0.006, device="cpu", threads=1)
    assert (large.width, large.height) == (95, 63)
    assert large.bytes > 10
    assert min(large.encode_seconds, large.decode_seconds) > 0
    if large.loaded_memory_bytes is not None:
        assert large.encode_memory_bytes is not None
        assert large.encode_memory_bytes >= large.loaded_memory_bytes > 50e6


def test_whole_commands_are_measured(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each does its work, here in this process; that `wall_seconds` starts one of its own is seen above."""
    seconds = {"encode": 3.0, "decode": 2.0, "info": 0.5}

    def run(command: list[str], repeat: int, threads: int | None) -> float:
        assert (command[:3], repeat, threads) == ([sys.executable, "-m", "vqcodec.cli.main"], 7, 1)
        done = vqcodec(*command[3:])
        assert done.exit_code == 0, done.output
        return seconds[command[3]]

    monkeypatch.setattr(processes, "wall_seconds", run)
    picture = Image.fromarray(synthetic_picture(32, 32))
    cold = measure_cold_start(str(tiny_model), picture, device="cpu", repeat=7, threads=1, entropy="static")
    assert cold == ColdStart(encode_seconds=3.0, decode_seconds=2.0, info_seconds=0.5, repeat=7)


def test_the_description_of_a_run_is_json_and_does_not_name_the_host(codec: Codec) -> None:
    described = environment.describe_run()
    text = json.dumps({"machine": described["machine"], "versions": described["versions"]})
    assert platform.node() not in text.split()
    assert described["machine"]["cores"] >= 1
    assert described["versions"]["torch"] == torch.__version__
    assert environment.describe_model(codec)["fingerprint"] == codec.card.fingerprint


def test_outside_of_a_checkout_there_is_no_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(environment, "__file__", str(tmp_path / "environment.py"))
    assert environment.commit() is None
