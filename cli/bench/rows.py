"""What the commands have in common that train and measure row after row: options, and a folder of results."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import click

from vqcodec.cli.common import options
from vqcodec.cli.common.files import write_text
from vqcodec.cli.common.option_groups import option, shared

RESULTS_FILE, TABLE_FILE = "results.jsonl", "table.md"


@dataclass(frozen=True)
class RowOptions:
    """Where rows are measured and where they go."""

    out: Path | None = option(
        "--out",
        type=options.FOLDER,
        help=f"Folder for {RESULTS_FILE}, which is gone on with if it is there, and {TABLE_FILE}.",
    )
    as_json: bool = shared(options.as_json)
    device: str = shared(options.device)
    debug: bool = shared(options.debug)

    @property
    def results(self) -> Path | None:
        """The file that keeps the rows."""
        return self.out / RESULTS_FILE if self.out else None

    def tell(
        self,
        damaged: Iterable[str],
        json_lines: Callable[[], Iterable[str]],
        print_tables: Callable[[], None],
        markdown: Callable[[], str],
    ) -> None:
        """Warn of damaged lines, print the rows as they come, as JSON or as tables, and write the tables to the folder.

        json_lines, print_tables: measure what is not there yet. markdown: what goes into the file of tables.
        """
        for line in damaged:
            click.echo(f"warning: {line}", err=True)
        if self.as_json:
            for line in json_lines():
                click.echo(line)
        else:
            print_tables()
        if self.out:
            write_text(self.out / TABLE_FILE, markdown())
