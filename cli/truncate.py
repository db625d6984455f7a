"""vqcodec truncate: streams to their first levels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from vqcodec.cli.common import options
from vqcodec.cli.common.batch import Outcome, run
from vqcodec.cli.common.files import (
    FileError,
    Task,
    check_target,
    read_stream_file,
    write_output,
)
from vqcodec.cli.common.planning import check_stream_names, plan


@click.command()
@options.paths
@options.output_folder
@click.option("--levels", type=options.AT_LEAST_1, help="Keep the first so many levels.")
@click.option("--max-bytes", type=options.AT_LEAST_1, help="Keep as many whole levels as fit.")
@click.option(
    "--partial", is_flag=True, help="Make a whole stream of one that is cut off, of the levels that are whole."
)
@options.max_pixels
@options.force
@options.as_json
@options.debug
def truncate(
    paths: tuple[str, ...],
    output_folder: Path | None,
    levels: int | None,
    max_bytes: int | None,
    partial: bool,
    max_pixels: int,
    force: bool,
    as_json: bool,
    debug: bool,
) -> None:
    """Cut .vq streams to their first levels.

    They give the same picture, coarser. What is kept is not coded anew. IN and OUT may be - for stdin and stdout. With
    -o, IN may also be folders, which are searched for .vq files.
    """
    if levels is None and max_bytes is None and not partial:
        raise click.UsageError("say what to keep: --levels N, --max-bytes B or --partial")
    tasks = plan(paths, output_folder, suffix=".vq", inputs=frozenset({".vq"})).tasks
    check_stream_names(tasks)

    from vqcodec.bitstream import StreamModel, read_header, read_stream, truncated_sizes, truncated_stream
    from vqcodec.cards.finding import find_model_by_id

    def model_of(model_id: bytes) -> StreamModel:
        return replace(find_model_by_id(model_id).stream_model, model_id=model_id)

    def work(task: Task) -> Outcome:
        check_target(task, force=force)
        data = read_stream_file(task.source)
        stream = read_header(data)
        if not stream.complete and not partial:
            raise FileError("cut off: get the whole file again, or take the levels that are whole with --partial")
        sizes = truncated_sizes(data, allow_partial=partial)
        if not sizes:
            raise FileError("cut off before the end of its first level: get the whole file again")
        fitting = [size for size in sizes[:levels] if max_bytes is None or size <= max_bytes]
        if not fitting:
            raise FileError(
                f"with its first level alone it has {sizes[0]} bytes: encode the picture itself with --max-bytes"
            )
        count = len(fitting)
        shorter = truncated_stream(data, model_of, count, allow_partial=partial, max_pixels=max_pixels)
        write_output(task, shorter, force=force, check=lambda data: read_stream(data, model_of, max_pixels=max_pixels))
        whole, levels_before = len(sizes), stream.header.level_count
        warnings: tuple[str, ...] = ()
        if not stream.complete:
            warnings = (
                f"the stream was cut off: {whole} of {levels_before} levels are whole, and could not be checked",
            )
        values = {
            "input": task.source,
            "output": task.target,
            "bytes": len(shorter),
            "levels": count,
            "bytes_before": len(data),
            "levels_before": levels_before,
            "warnings": list(warnings),
        }
        line = (
            f"{task.target_name}: {len(shorter)} bytes, {count} level{'s' if count > 1 else ''} "
            f"(before: {len(data)} bytes, {levels_before} level{'s' if levels_before > 1 else ''})"
        )
        return Outcome(line, values, warnings)

    run(tasks, work, jobs=1, as_json=as_json, debug=debug)
