"""Several processes that train together (torchrun): who this one is, and sums over all of them.

Without a process group every function here is that of a single process, and costs nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor

from vqcodec.compute.devices import choose_device


def process_count() -> int:
    """How many processes train together, 1 without torchrun."""
    return dist.get_world_size() if _together() else 1


def process_rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if _together() else 0


def is_first_process() -> bool:
    """Whether this is the process that writes files."""
    return process_rank() == 0


def sum_over_processes(value: Tensor) -> Tensor:
    """The sum of `value` over all processes, in place."""
    if _together():
        dist.all_reduce(value)
    return value


def largest_of_processes(value: Tensor) -> Tensor:
    """The largest `value` of all processes, in place."""
    if _together():
        dist.all_reduce(value, dist.ReduceOp.MAX)
    return value


def broadcast(value: Tensor) -> Tensor:
    """`value` of the first process, in place."""
    if _together():
        dist.broadcast(value, src=0)
    return value


def wait_for_all() -> None:
    """Until every process is here."""
    if _together():
        dist.barrier()


def average_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Each parameter's gradient becomes the mean over all processes; they travel as one flat tensor."""
    if not _together():
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = sum_over_processes(torch.cat([gradient.reshape(-1) for gradient in gradients])) / process_count()
    for gradient, part in zip(gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


@contextmanager
def process_group(device: str = "auto") -> Iterator[None]:
    """Join the processes that torchrun started (by NCCL where they compute on CUDA, else gloo); leave them at the end.

    device: as it is given to `choose_device`. Without torchrun's environment variables nothing happens. Each process
    takes the CUDA device of its LOCAL_RANK.
    """
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        yield
        return
    cuda = choose_device(device).type == "cuda"
    if cuda:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    dist.init_process_group("nccl" if cuda else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def _together() -> bool:
    return dist.is_available() and dist.is_initialized()
