"""vqcodec tokens: what is in a dataset of tokens, whether it is whole, and the same in other forms."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from vqcodec.cli.common import options
from vqcodec.cli.common.failures import printable
from vqcodec.cli.common.files import FileError

_EXPORTS = ("npy", "webdataset", "streams")


@click.group()
def tokens() -> None:
    """Look into datasets that `vqcodec tokenize` made."""


@tokens.command()
@click.argument("out")
@options.as_json
@options.debug
def info(out: str, as_json: bool, debug: bool) -> None:
    """What a dataset is, and how far."""
    from vqcodec.dataset.statistics import about

    _print(about(_plan(out)), as_json)


@tokens.command()
@click.argument("out")
@options.as_json
@options.debug
def stats(out: str, as_json: bool, debug: bool) -> None:
    """How the tokens of each level are spread."""
    from vqcodec.dataset.statistics import level_statistics

    for values in level_statistics(_plan(out)):
        if as_json:
            click.echo(json.dumps(values))
        else:
            click.echo(
                f"level {values['level']}: {values['tokens']:,} tokens, {values['codes_used']} of {values['codes']} "
                f"codes, entropy {values['entropy_bits']:.3f} bits, stored in {values['stored_bits']:.3f} bits"
            )


@tokens.command()
@click.argument("out")
@options.as_json
@options.debug
def errors(out: str, as_json: bool, debug: bool) -> None:
    """The pictures that failed, and why."""
    from vqcodec.dataset.statistics import failures

    for failure in failures(_plan(out)):
        message = failure["message"].removeprefix(f"{failure['key']}: ")
        click.echo(json.dumps(failure) if as_json else printable(f"{failure['source']}: {message}"))


@tokens.command()
@click.argument("out")
@click.option("--sample", type=options.AT_LEAST_0, default=0, show_default=True, help="Pictures to tokenize again.")
@options.device
@options.as_json
@options.debug
def verify(out: str, sample: int, device: str, as_json: bool, debug: bool) -> None:
    """Check counts, digests and keys of all shards; exit code 1 if something is wrong or not there."""
    from vqcodec.dataset.verify import check_complete
    from vqcodec.dataset.verify import verify as look_through

    plan = _plan(out)
    verdict = look_through(plan, sample, device=device)
    if as_json:
        click.echo(json.dumps(vars(verdict)))
    else:
        click.echo(
            f"{out}: {verdict.shards:,} of {plan.shards:,} shards, {verdict.pictures:,} pictures, "
            f"{verdict.rows:,} rows, {verdict.failed:,} failed; "
            f"{verdict.compared:,} tokenized again; {len(verdict.wrong)} wrong"
        )
    for line in verdict.wrong:
        click.echo(f"error: {printable(f'{out}/{line}')}", err=True)
    if verdict.wrong:
        sys.exit(1)
    check_complete(plan)


@tokens.command()
@click.argument("out")
@click.option("-o", "--output-folder", "target", type=options.FOLDER, required=True, help="Where to write.")
@click.option("--to", "form", type=click.Choice(_EXPORTS), required=True, help="Arrays, archives or .vq streams.")
@options.entropy
@options.force
@options.debug
def export(out: str, target: Path, form: str, entropy: str | None, force: bool, debug: bool) -> None:
    """Write a dataset in another form. --entropy is for streams."""
    from vqcodec.dataset.export import EXPORTS

    if entropy and form != "streams":
        raise click.UsageError("--entropy is for --to streams")
    if not force and target.is_dir() and any(target.iterdir()):
        raise FileError(f"{target}: holds files already; give -f to overwrite them, or a new folder")
    EXPORTS[form](_plan(out), target, **({"entropy": entropy} if form == "streams" else {}))
    click.echo(f"{target}: written")


def _plan(out: str) -> Any:
    from vqcodec.dataset.plan import TokenPlan

    return TokenPlan.open(out)


def _print(values: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(values))
        return
    width = max(map(len, values))
    for name, value in values.items():
        shown = "; ".join(", ".join(map(str, v)) if isinstance(v, list) else str(v) for v in _listed(value))
        click.echo(printable(f"{name.replace('_', ' '):<{width}}  {shown}"))


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
