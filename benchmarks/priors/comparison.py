"""Which prior predicts tokens best at toy scale: orders of the transformer, a gated PixelCNN, statistics.

The orders are compared as by Esser et al., 2021, in the appendix on the ordering of image representations: one
transformer, trained for the same steps on the same batches in each; it attends to the whole grid. The gated PixelCNN
has about as many parameters and is trained for as many seconds as the transformer in raster order.
"""

from __future__ import annotations

import json
import math
import time
from bisect import bisect_left
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from vqcodec.benchmarks.common.environment import describe_run
from vqcodec.benchmarks.common.result_lines import RowFile
from vqcodec.benchmarks.priors.rows import PriorRow
from vqcodec.benchmarks.priors.token_sets import TokenSets
from vqcodec.benchmarks.priors.training import Predict, Report, Training, bits_per_token, order_0_bits, train
from vqcodec.compute.devices import choose_device, fast_dtype
from vqcodec.prior.config import PriorConfig
from vqcodec.prior.orders import ORDERS
from vqcodec.prior.pixelcnn import GatedPixelCNN
from vqcodec.prior.transformer import Prior

PIXELCNN: Final = "gated PixelCNN"
ORDER_0: Final = "order 0"
BASELINES: Final = (PIXELCNN, ORDER_0)
#: the order whose seconds the PixelCNN gets, where it is asked for
_REFERENCE: Final = "raster"
#: it reaches 14 tokens, nearly the whole of 16 x 16
_PIXELCNN_DEPTH: Final = 12
_PIXELCNN_WIDTHS: Final = range(2, 4098, 2)
#: channels of an attention head, where the width is a multiple
_HEAD_WIDTH: Final = 32
_TOKEN_WIDTH: Final = 48


@dataclass(frozen=True)
class PriorComparison:
    """The rows to train. orders: by name. steps: of each. width, depth: of the transformer.

    Raises ValueError for orders that do not exist, or none, and for numbers that are not positive.
    """

    orders: tuple[str, ...] = tuple(ORDERS)
    steps: int = 300
    batch_size: int = 16
    width: int = 128
    depth: int = 3
    learning_rate: float = 2e-3
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.orders:
            raise ValueError("no order to train")
        if unknown := [order for order in self.orders if order not in ORDERS]:
            raise ValueError(f"order {unknown[0]!r}: there are {', '.join(ORDERS)}")
        if min(self.steps, self.batch_size, self.width, self.depth) < 1 or self.learning_rate <= 0:
            raise ValueError("steps, batch size, width and depth are 1 or more, the learning rate is above 0")

    @property
    def reference(self) -> str:
        """The order that stands for the transformer beside the baselines: raster, or else the first."""
        return _REFERENCE if _REFERENCE in self.orders else self.orders[0]

    def tables(self) -> dict[str, list[str]]:
        """The names of the rows by what is compared. One row is in both tables."""
        return {"orders of the transformer": list(self.orders), "kinds of priors": [self.reference, *BASELINES]}

    def priors(self) -> list[str]:
        """The name of each row once, in the order of the tables."""
        return [*self.orders, *BASELINES]

    def describe(self) -> str:
        """What all rows share, for people."""
        return (
            f"transformers of width {self.width} and depth {self.depth}, "
            f"{self.steps} steps of {self.batch_size} grids, seed {self.seed}"
        )

    def prior_config(self, order: str, data: TokenSets) -> PriorConfig:
        """The transformer in one order."""
        heads = next(number for number in range(max(1, self.width // _HEAD_WIDTH), 0, -1) if not self.width % number)
        return PriorConfig(
            codebook_sizes=(data.codebook_size,),
            factors=(data.factor,),
            orders=(order,),
            width=self.width,
            depth=self.depth,
            heads=heads,
            token_width=_TOKEN_WIDTH,
            radius=max(*data.shape, 2) - 1,
        )

    def pixelcnn_shape(self, data: TokenSets) -> dict[str, int]:
        """The arguments of GatedPixelCNN; its width gives about as many parameters as the transformer has."""
        with torch.device("meta"):
            wanted = _parameters(Prior(self.prior_config(self.reference, data)))
        return _pixelcnn_shape(wanted, data.codebook_size)


def settings_of(plan: PriorComparison, prior: str, data: TokenSets, seconds: float | None = None) -> dict[str, Any]:
    """All that a row's result depends on apart from machine and code, as JSON: equal ones are not trained again.

    seconds: that the PixelCNN is trained for.
    """
    settings: dict[str, Any] = {"data": data.describe(), "network": {"kind": prior}}
    if prior == PIXELCNN:
        settings["network"] |= plan.pixelcnn_shape(data)
    elif prior != ORDER_0:
        settings["network"] = {"kind": "transformer", **plan.prior_config(prior, data).to_dict()}
    if prior != ORDER_0:
        settings["training"] = asdict(_training(plan, prior, seconds))
    return json.loads(json.dumps(settings))  # lists, as they come back from a file


def measure(
    plan: PriorComparison,
    prior: str,
    data: TokenSets,
    *,
    seconds: float | None = None,
    device: str = "auto",
    report: Report = lambda step, bits: None,
) -> PriorRow:
    """Train and measure one row: an order, or one of BASELINES.

    seconds: how long the PixelCNN is trained, which it needs to be told. Raises TrainingError, DeviceError.
    """
    chosen = choose_device(device)
    if prior == ORDER_0:
        started = time.perf_counter()
        bits = order_0_bits(data.training, data.held_out, data.codebook_size)
        passes, parameters, steps, spent = 0, data.codebook_size, 0, time.perf_counter() - started
    else:
        network, predict = _network(plan, prior, data)
        network.to(chosen)
        steps, spent = train(network, predict, data.training, _training(plan, prior, seconds), report)
        bits = bits_per_token(predict, data.held_out, chosen)
        passes = len(ORDERS.get(prior, ORDERS["raster"])(*data.shape))
        parameters = _parameters(network)
    return PriorRow(
        prior=prior,
        bits_per_token=bits,
        log2_codebook_size=math.log2(data.codebook_size),
        passes=passes,
        parameters=parameters,
        steps=steps,
        seconds=spent,
        settings=settings_of(plan, prior, data, seconds),
        environment=_environment(chosen),
    )


class PriorRows:
    """The rows of a comparison, each measured when it is first asked for and not in the results file already.

    results: the file that measured rows are added to, made with its folder; None to keep none. damaged: a message for
    each line of it that holds no row. device: as `measure` takes it. Raises OSError for the file.
    """

    def __init__(
        self, plan: PriorComparison, data: TokenSets, results: Path | None = None, *, device: str = "auto"
    ) -> None:
        self.plan, self.data, self._device = plan, data, device
        self._file = RowFile(results, PriorRow.from_json)
        self.damaged = self._file.damaged

    def row(self, prior: str, report: Report = lambda step, bits: None) -> PriorRow:
        """Raises what `measure` raises. The PixelCNN's asks for that of the transformer first."""
        seconds = self.row(self.plan.reference).seconds if prior == PIXELCNN else None

        def measured() -> PriorRow:
            return measure(self.plan, prior, self.data, seconds=seconds, device=self._device, report=report)

        return self._file.row(settings_of(self.plan, prior, self.data, seconds), measured)


def _training(plan: PriorComparison, prior: str, seconds: float | None) -> Training:
    steps = None if prior == PIXELCNN else plan.steps
    return Training(plan.batch_size, plan.learning_rate, plan.seed, steps=steps, seconds=seconds)


def _network(plan: PriorComparison, prior: str, data: TokenSets) -> tuple[nn.Module, Predict]:
    """A new network, on the CPU, and what gives its logits."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(plan.seed)
        if prior == PIXELCNN:
            convolutions = GatedPixelCNN(**plan.pixelcnn_shape(data))
            return convolutions, convolutions
        transformer = Prior(plan.prior_config(prior, data))

    def predict(tokens: Tensor) -> Tensor:
        return transformer([tokens], 0)

    return transformer, predict


@lru_cache
def _pixelcnn_shape(parameters: int, codebook_size: int) -> dict[str, int]:
    """Of the network whose number of parameters is nearest."""

    def shape(width: int) -> dict[str, int]:
        sizes = {"width": width, "depth": _PIXELCNN_DEPTH, "token_width": _TOKEN_WIDTH}
        return {"codebook_size": codebook_size, **sizes}

    def size(width: int) -> int:
        with torch.device("meta"):
            return _parameters(GatedPixelCNN(**shape(width)))

    wider = bisect_left(_PIXELCNN_WIDTHS, parameters, hi=len(_PIXELCNN_WIDTHS) - 1, key=size)
    candidates = _PIXELCNN_WIDTHS[max(0, wider - 1) : wider + 1]
    return shape(min(candidates, key=lambda width: abs(size(width) - parameters)))


def _parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _environment(device: torch.device) -> dict[str, Any]:
    """As of every benchmark, without the command, which names the user's folders: the settings say all of it."""
    described = {name: value for name, value in describe_run().items() if name != "command"}
    return described | {"device": str(device), "dtype": str(fast_dtype(device)).removeprefix("torch.")}
