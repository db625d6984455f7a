from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vqcodec.benchmarks.common.example_sets import ExampleSets
from vqcodec.benchmarks.common.result_lines import append_results, read_results
from vqcodec.benchmarks.priors import comparison as prior_comparison
from vqcodec.benchmarks.priors import token_sets
from vqcodec.benchmarks.priors.comparison import (
    BASELINES,
    ORDER_0,
    PIXELCNN,
    PriorComparison,
    PriorRows,
    measure,
    settings_of,
)
from vqcodec.benchmarks.priors.rows import COLUMNS, PriorRow, heading, line, markdown
from vqcodec.benchmarks.priors.token_sets import TokenSets, check_crops, make_tokens
from vqcodec.benchmarks.priors.training import Training, bits_per_token, order_0_bits, train
from vqcodec.codec import Codec
from vqcodec.pictures.image import scale_pixels
from vqcodec.prior.orders import ORDERS
from vqcodec.prior.pixelcnn import GatedPixelCNN
from vqcodec.prior.transformer import Prior
from vqcodec.training.data.pictures import ArrayPictures
from vqcodec.training.data.toy_shapes import toy_pictures

SMALL = PriorComparison(orders=("wavefront", "raster"), steps=3, batch_size=4, width=8, depth=1)


@pytest.fixture(autouse=True)
def _one_seed_for_all() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(8)
        yield


@pytest.fixture(scope="module")
def data() -> TokenSets:
    """K = 4: each token is the one above plus one, but for the first row."""
    grids = (torch.randint(4, (10, 1, 5), generator=torch.Generator().manual_seed(2)) + torch.arange(3)[:, None]) % 4
    return TokenSets("rows", "tiny", "00112233", 1, 4, 16, grids[:8], grids[8:], crc32=5, seed=0)


def a_row(**changes: Any) -> PriorRow:
    row = PriorRow(
        prior="quincunx",
        bits_per_token=7.5,
        log2_codebook_size=10.0,
        passes=7,
        parameters=123456,
        steps=300,
        seconds=61.25,
        settings={"training": {"steps": 300}},
        environment={"device": "cpu"},
    )
    return replace(row, **changes)


# ---- the plan ----


def test_all_orders_and_both_baselines_by_default() -> None:
    plan = PriorComparison()
    assert plan.priors() == [*ORDERS, *BASELINES]
    assert plan.tables() == {
        "orders of the transformer": list(ORDERS),
        "kinds of priors": ["raster", PIXELCNN, ORDER_0],
    }
    assert replace(plan, orders=("spiral", "quincunx")).reference == "spiral"


def test_every_order_gets_the_same_transformer(data: TokenSets) -> None:
    configs = [PriorComparison(width=96).prior_config(order, data) for order in ORDERS]
    assert [config.orders for config in configs] == [(order,) for order in ORDERS]
    assert len({replace(config, orders=("raster",)) for config in configs}) == 1
    assert (configs[0].codebook_sizes, configs[0].factors, configs[0].heads) == ((4,), (16,), 3)
    assert configs[0].radius == 4  # of 3 x 5 tokens all
    assert PriorComparison(width=100).prior_config("raster", data).heads == 2
    one = replace(data, training=data.training[:, :1, :1], held_out=data.held_out[:, :1, :1])
    assert PriorComparison(width=7).prior_config("raster", one).radius == 1


@pytest.mark.parametrize(("width", "codes"), [(64, 16), (128, 1024)])
def test_the_pixelcnn_is_about_as_large(width: int, codes: int, data: TokenSets) -> None:
    plan, more = PriorComparison(width=width), replace(data, codebook_size=codes)
    sizes = [
        sum(weight.numel() for weight in network.parameters())
        for network in (Prior(plan.prior_config("raster", more)), GatedPixelCNN(**plan.pixelcnn_shape(more)))
    ]
    assert abs(sizes[1] / sizes[0] - 1) < 0.1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"orders": ()}, "no order"),
        ({"orders": ("raster", "hilbert")}, "order 'hilbert': there are raster, wavefront"),
        ({"steps": 0}, "are 1 or more"),
        ({"batch_size": 0}, "are 1 or more"),
        ({"width": 0}, "are 1 or more"),
        ({"depth": -1}, "are 1 or more"),
        ({"learning_rate": 0}, "the learning rate is above 0"),
    ],
)
def test_what_cannot_be_trained_is_refused_at_once(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **changes)


# ---- rows ----


@pytest.mark.parametrize("order", ["raster", "quincunx"])
def test_a_transformer_is_trained_and_measured(order: str, data: TokenSets) -> None:
    steps: list[int] = []
    row = measure(SMALL, order, data, device="cpu", report=lambda step, bits: steps.append(step))
    assert steps == [0, 1, 2]
    assert (row.prior, row.steps, row.passes) == (order, 3, len(ORDERS[order](3, 5)))
    assert row.log2_codebook_size == 2
    assert 0 < row.bits_per_token < 4
    assert row.seconds > 0
    assert row.settings == settings_of(SMALL, order, data)
    assert row.settings["network"]["orders"] == [order]
    assert row.settings["training"]["steps"] == 3
    assert row.settings["data"] == {
        "name": "rows",
        "model": "tiny",
        "model_id": "00112233",
        "level": 1,
        "codebook_size": 4,
        "factor": 16,
        "grid": [3, 5],
        "training_crops": 8,
        "held_out_pictures": 2,
        "crc32": 5,
        "seed": 0,
    }
    assert {"date", "commit", "machine", "versions", "device", "dtype"} == set(row.environment)
    assert PriorRow.from_json(row.to_json()) == row
    torch.rand(3)
    again = measure(SMALL, order, data, device="cpu")
    assert again.bits_per_token == row.bits_per_token
    other = measure(replace(SMALL, seed=1), order, data, device="cpu")
    assert other.bits_per_token != row.bits_per_token


@pytest.mark.parametrize("prior", ["raster", PIXELCNN])
def test_what_statistics_cannot_learn_networks_do(prior: str, data: TokenSets) -> None:
    plan = PriorComparison(orders=("raster",), width=32, depth=1)
    network, predict = prior_comparison._network(plan, prior, data)
    train(network, predict, data.training, Training(4, 1e-2, 0, steps=60), lambda step, bits: None)
    assert order_0_bits(data.training, data.training, 4) > 1.9
    assert (
        bits_per_token(predict, data.training, torch.device("cpu")) < 1.5
    )  # a third have no token above: 0.7 at least


def test_the_pixelcnn_gets_the_seconds_of_the_transformer(data: TokenSets, tmp_path: Path) -> None:
    results = tmp_path / "new" / "results.jsonl"
    rows = PriorRows(SMALL, data, results, device="cpu")
    row = rows.row(PIXELCNN)
    kept, damaged = read_results(results, PriorRow.from_json, "")
    assert [each.prior for each in kept] == ["raster", PIXELCNN]
    assert damaged == []
    assert row == kept[1]
    assert row.settings["training"]["seconds"] == kept[0].seconds
    assert row.settings["training"]["steps"] is None
    assert row.settings["network"] == {"kind": PIXELCNN, **SMALL.pixelcnn_shape(data)}
    assert row.steps >= 1
    assert row.passes == 15
    assert PriorRows(SMALL, data, results, device="cpu").row(PIXELCNN) == row
    assert len(results.read_text().splitlines()) == 2


def test_statistics_need_no_training(data: TokenSets) -> None:
    row = measure(SMALL, ORDER_0, data, device="cpu")
    assert (row.passes, row.parameters, row.steps) == (0, 4, 0)
    assert row.bits_per_token == order_0_bits(data.training, data.held_out, 4)
    assert row.settings == settings_of(replace(SMALL, steps=99, width=64), ORDER_0, data)


def test_rows_are_measured_once_and_kept(data: TokenSets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[str] = []

    def fake(plan: PriorComparison, prior: str, own: TokenSets, seconds: float | None, **options: Any) -> PriorRow:
        measured.append(prior)
        return a_row(prior=prior, settings=settings_of(plan, prior, own, seconds))

    monkeypatch.setattr(prior_comparison, "measure", fake)
    results = tmp_path / "results.jsonl"
    rows = PriorRows(SMALL, data, results)
    first = rows.row("raster")
    assert rows.row("raster") == first
    results.write_text(results.read_text() + '{"prior": ')
    later = PriorRows(SMALL, data, results)
    assert [text.partition(": ")[0] for text in later.damaged] == [f"{results}:2"]
    assert "its row is trained again" in later.damaged[0]
    assert later.row("raster") == first
    later.row("wavefront")
    assert measured == ["raster", "wavefront"]
    assert len(read_results(results, PriorRow.from_json, "")[0]) == 2
    for other in (replace(SMALL, seed=1), replace(SMALL, steps=4), replace(SMALL, learning_rate=1.0)):
        PriorRows(other, data, results).row("raster")
    for tokens in (replace(data, crc32=6), replace(data, level=2), replace(data, training=data.training[:5])):
        PriorRows(SMALL, tokens, results).row("raster")
    PriorRows(SMALL, data).row("raster")
    assert measured == ["raster", "wavefront", *["raster"] * 7]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "not the fields of a row"),
        (json.dumps({"prior": "raster"}), "not the fields of a row"),
        (a_row().to_json().replace("7.5", '"7.5"'), "bits_per_token is '7.5'"),
    ],
)
def test_damaged_lines_are_named_and_left_out(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text(f"{text}\n\n")
    append_results(path, [a_row().to_json()])
    rows, [damaged] = read_results(path, PriorRow.from_json, "measure it")
    assert rows == [a_row()]
    assert damaged.startswith(f"{path}:1: {message}")
    assert damaged.endswith("; measure it")


def test_a_row_without_a_finite_value_is_not_written() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        a_row(bits_per_token=math.nan).to_json()


def test_tables_have_a_column_for_each_value() -> None:
    assert line(a_row()).split() == ["quincunx", "7", "123456", "300", "61.2", "7.500", "25.0%"]
    assert heading().index("saved") + len("saved") == len(line(a_row()))
    tables = markdown({"orders": [a_row(), a_row(prior="raster", bits_per_token=10.5)], "kinds": [a_row()]})
    assert tables.startswith("orders:\n\n| prior    | passes |")
    assert tables.count("| quincunx |") == 2
    assert "| -5.0% |" in tables
    assert len(tables.splitlines()[2].split("|")) == len(COLUMNS) + 2


# ---- tokens ----


@pytest.fixture(scope="module")
def codec(tiny_model: Path) -> Codec:
    return Codec.load(tiny_model, device="cpu")


@pytest.fixture(scope="module")
def pictures() -> ExampleSets:
    pixels = toy_pictures(9, 48, 0)[0]
    return ExampleSets("shapes", ArrayPictures(pixels[:3]), ArrayPictures(pixels[3:]), 48, 77)


def test_tokens_of_crops(codec: Codec, pictures: ExampleSets) -> None:
    made: list[int] = []
    tokens = make_tokens(
        pictures, codec, level=2, crop_size=32, crops=10, held_out=4, seed=1, report=lambda count: made.append(count)
    )
    assert (tokens.training.shape, tokens.held_out.shape, tokens.shape) == ((10, 2, 2), (4, 2, 2), (2, 2))
    assert tokens.training.dtype == torch.int64
    assert not tokens.training.is_inference()
    assert made == [8, 2, 4]
    assert (tokens.name, tokens.model, tokens.level, tokens.codebook_size) == ("shapes", "tiny", 2, 32)
    assert (tokens.factor, tokens.crc32, tokens.model_id) == (16, 77, codec.card.model_id.hex())
    central = np.stack([pictures.held_out[number][8:40, 8:40] for number in range(4)])
    assert torch.equal(tokens.held_out, codec.tokenize(scale_pixels(torch.from_numpy(central)))[1])

    again = make_tokens(pictures, codec, level=2, crop_size=32, crops=4, held_out=99, seed=1)
    assert torch.equal(again.training, tokens.training[:4])
    assert len(again.held_out) == 6


def test_each_picture_gives_several_crops_in_turn(pictures: ExampleSets) -> None:
    crops = list(token_sets._random_crops(pictures.training, 9, 32, seed=2))
    assert {crop.shape for crop in crops} == {(32, 32, 3)}
    assert len({crop.tobytes() for crop in crops}) == 9
    again = list(token_sets._random_crops(pictures.training, 4, 32, seed=2))
    assert all(np.array_equal(one, other) for one, other in zip(crops, again, strict=False))


@pytest.mark.parametrize(
    ("level", "size", "message"),
    [
        (0, 32, "level 0: model tiny has 1 to 2"),
        (3, 32, "level 3: model tiny has 1 to 2"),
        (1, 40, "crops of 40 pixels: not a multiple of 16"),
    ],
)
def test_crops_that_do_not_suit_the_model(
    codec: Codec, pictures: ExampleSets, level: int, size: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        check_crops(codec.card, level, size)
    with pytest.raises(ValueError, match=message):
        make_tokens(pictures, codec, level=level, crop_size=size, crops=1, held_out=1, seed=0)
