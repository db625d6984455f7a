"""vqcodec tokenize: a dataset of pictures becomes a dataset of tokens."""

from __future__ import annotations

import json
import re
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from vqcodec.cli.common import options
from vqcodec.cli.common.failures import printable
from vqcodec.cli.common.option_groups import option, shared, takes
from vqcodec.pictures.names import described

if TYPE_CHECKING:
    from vqcodec.dataset.plan import TokenPlan
    from vqcodec.dataset.progress import Progress
    from vqcodec.dataset.spec import TokenSpec

#: seconds between two lines of progress where nobody looks at a terminal
_QUIET_SECONDS = 30.0


def _size(context: click.Context, parameter: click.Parameter, value: str) -> int | None:
    if value == "native":
        return None
    if not value.isdecimal() or not int(value):
        raise click.BadParameter(f"{value!r} is neither a side in pixels nor native")
    return int(value)


def _part(context: click.Context, parameter: click.Parameter, value: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)/(\d+)", value)
    if not found or not int(found[1]) < int(found[2]):
        raise click.BadParameter(f"{value!r} is not I/N with I from 0 to N - 1")
    return int(found[1]), int(found[2])


def _failures(context: click.Context, parameter: click.Parameter, value: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", value)
    if not found:
        raise click.BadParameter(f"{value!r} is not a share such as 0.1%")
    return float(found[1]) / 100


@dataclass(frozen=True)
class SpecOptions:
    """What the tokens are."""

    model: str = shared(options.model)
    levels: int | None = option("--levels", type=options.AT_LEAST_1, help="The first so many.  [default: all]")
    size: int | None = option(
        "--size",
        default="256",
        show_default=True,
        callback=_size,
        metavar="PIXELS|native",
        help="Side of the crops; native: whole pictures, with the tokens that `vqcodec encode` gives them.",
    )
    crops: str = option(
        "--crops", default="center", show_default=True, metavar="center|ten|random:N", help="Of each picture."
    )
    seed: int = option("--seed", type=int, default=0, show_default=True, help="Of random crops.")
    image: str | None = option("--image", metavar="COLUMN", help="Of pictures or paths, where several may be it.")
    key: str | None = option(
        "--key",
        metavar="COLUMN",
        help="What names a picture; `path` puts the archive's name before the key.  [default: path, or archive's key]",
    )
    keep: tuple[str, ...] | None = option(
        "--keep", callback=options.comma_separated, metavar="COLUMN,...", help="Columns that go with the tokens."
    )
    labels: str | None = option(
        "--labels", metavar="folder|cls|COLUMN", help="Classes: the first folder below SOURCE, KEY.cls, or a column."
    )
    shard_size: int = option(
        "--shard-size", type=options.AT_LEAST_1, default=1000, show_default=True, help="Pictures a shard."
    )
    fast: bool = option("--fast", is_flag=True, help="bfloat16: some tokens change; says which share.")
    max_pixels: int = shared(options.max_pixels)
    decode: str = option(
        "--decode",
        type=click.Choice(["full", "scaled"]),
        default="full",
        show_default=True,
        help="scaled: JPEG no larger than the crops need; faster, and some tokens change.",
    )

    def spec(self) -> TokenSpec:
        """As the library takes them."""
        from vqcodec.dataset.spec import TokenSpec

        return TokenSpec(**vars(self) | {"keep": self.keep or ()})


@dataclass(frozen=True)
class WorkOptions:
    """How and where the work is done."""

    workers: int | None = option(
        "--workers", type=options.AT_LEAST_1, help="Processes, of one thread each.  [default: one a processor]"
    )
    device: str = shared(options.device)
    part: tuple[int, int] = option(
        "--part", default="0/1", callback=_part, metavar="I/N", help="Only shards n with n % N = I: one job of many."
    )
    ray: str | None = option(
        "--ray", is_flag=False, flag_value="auto", metavar="[ADDRESS]", help="On a Ray cluster: auto, local, or where."
    )
    append: bool = option("--append", is_flag=True, help="Add these sources to the dataset in OUT.")
    retry_failed: bool = option("--retry-failed", is_flag=True, help="Make shards with failures again.")
    max_failures: float = option(
        "--max-failures", default="0.1%", show_default=True, callback=_failures, help="Exit code 1 above it."
    )
    plan_only: bool = option("--plan-only", is_flag=True, help="List the sources and stop.")
    as_json: bool = shared(options.as_json)
    debug: bool = shared(options.debug)


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option("-o", "--output-folder", "out", required=True, metavar="OUT", help="Folder or URL of the dataset.")
@takes(SpecOptions, "tokens")
@takes(WorkOptions, "work")
def tokenize(sources: tuple[str, ...], out: str, tokens: SpecOptions, work: WorkOptions) -> None:
    """Make a dataset of tokens of a dataset of pictures.

    SOURCE: folders, tar archives, Parquet files, datasets on disk, lists (.txt, .csv, .jsonl), pictures, or URLs such
    as s3://bucket/folder. The same command again goes on where it was stopped, or does nothing.
    """
    from vqcodec.dataset.errors import DatasetError
    from vqcodec.dataset.plan import TokenPlan

    if work.ray is not None and (work.workers is not None or work.part != (0, 1)):
        raise click.UsageError("--ray takes all shards and as many workers as the cluster has: no --part, no --workers")
    try:
        spec = tokens.spec()
    except DatasetError as error:
        raise click.UsageError(str(error)) from error
    plan = TokenPlan.make(sources, out, spec, device=work.device, append=work.append)
    if told := described(plan.passed_over):
        click.echo(f"warning: {', '.join(sources)}: {told}", err=True)
    if not work.as_json:
        click.echo(f"{out}: {plan.pictures:,} pictures in {plan.shards:,} shards")
    if work.plan_only:
        _tell_json(work, {"pictures": plan.pictures, "shards": plan.shards})
        return
    if spec.fast:
        _say_what_fast_changes(plan, work)
    _make(plan, work)
    _judge(plan, work)


def _say_what_fast_changes(plan: TokenPlan, work: WorkOptions) -> None:
    from vqcodec.dataset.fast_check import changed_share

    click.echo(f"--fast changes {changed_share(plan, work.device):.3%} of the tokens of the first pictures", err=True)


def _make(plan: TokenPlan, work: WorkOptions) -> None:
    """All that is to do, told meanwhile."""
    if work.ray is not None:
        from vqcodec.dataset.on_ray import tokenize_on_ray

        results = tokenize_on_ray(
            plan, address=work.ray, num_gpus=int(work.device.startswith("cuda")), retry_failed=work.retry_failed
        )
    else:
        from vqcodec.dataset.local import tokenize as tokenize_here

        results = tokenize_here(
            plan,
            workers=work.workers,
            device=work.device,
            part=work.part,
            retry_failed=work.retry_failed,
            progress=_Teller(),
        )
    for result in results:
        _tell_json(work, vars(result))


def _judge(plan: TokenPlan, work: WorkOptions) -> None:
    """The end, and whether too many pictures failed."""
    from vqcodec.dataset.manifest import count_failures, is_current

    index, count = work.part
    pictures = sum(map(plan.pictures_of, range(index, plan.shards, count)))
    failed = count_failures(plan, work.part)
    complete = is_current(plan)
    _tell_json(work, {"pictures": pictures, "failed": failed, "complete": complete})
    if not work.as_json:
        state = "complete" if complete else "other parts are to do"
        click.echo(f"{plan.store.url}: {pictures - failed:,} pictures tokenized, {failed:,} failed; {state}")
    if failed > work.max_failures * pictures:
        click.echo(
            f"error: {plan.store.url}: {failed:,} of {pictures:,} pictures failed, more than {work.max_failures:.3%}: "
            f"`vqcodec tokens errors {plan.store.url}` says why; allow them with --max-failures",
            err=True,
        )
        sys.exit(1)


def _tell_json(work: WorkOptions, values: dict[str, Any]) -> None:
    if work.as_json:
        click.echo(json.dumps(values))


class _Teller:
    """Tells the progress on stderr: over and over on one line of a terminal, elsewhere now and then."""

    def __init__(self) -> None:
        self._on_terminal = sys.stderr is not None and sys.stderr.isatty()
        self._last = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        finished = progress.done >= progress.planned
        if self._on_terminal:
            click.echo(f"\r\x1b[K{printable(progress.line())}", nl=finished, err=True)
        elif finished or time.monotonic() - self._last > _QUIET_SECONDS:
            self._last = time.monotonic()
            click.echo(printable(progress.line()), err=True)
