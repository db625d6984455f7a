"""vqcodec info: what a stream says of itself; loads no torch."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from vqcodec.bitstream import BoxType, UnknownModelError, entropy_name, read_header
from vqcodec.cards.finding import find_model_by_id
from vqcodec.cli.common import options
from vqcodec.cli.common.failures import printable, report
from vqcodec.cli.common.files import STANDARD, read_stream_file


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...", shell_complete=options.complete_files)
@options.as_json
@options.debug
def info(files: tuple[str, ...], as_json: bool, debug: bool) -> None:
    """Tell what .vq streams hold: size, rate, levels, model.

    FILE may be - for stdin. Tokens and checksum are not looked at: `vqcodec decode` finds all damage.
    """
    described = 0
    for file in files:
        try:
            values = {"file": file} | describe_stream(read_stream_file(file))
        except Exception as error:
            click.echo(report(error, "stdin" if file == STANDARD else file, debug=debug), err=True)
            continue
        text = json.dumps(values) if as_json else _as_text(values)
        click.echo(f"\n{text}" if described and not as_json else text)
        described += 1
    sys.exit(0 if described == len(files) else 1)


def describe_stream(data: bytes) -> dict[str, Any]:
    """The facts about a stream, by name. Raises a StreamError."""
    stream = read_header(data)
    header = stream.header
    try:
        model = find_model_by_id(header.model_id).card.name
    except UnknownModelError:
        model = None
    return {
        "bytes": stream.total_bytes,
        "bits_per_pixel": round(8 * stream.total_bytes / (header.width * header.height), 5),
        "width": header.width,
        "height": header.height,
        "levels": header.level_count,
        "level_bytes": list(stream.payload_bytes),
        "complete": stream.complete,
        "entropy": entropy_name(header.entropy_id),
        "model": model,
        "model_id": header.model_id.hex(),
        "region_side": stream.region_side,
        "finest_level_share": 1.0 if stream.blocks is None else round(float(stream.blocks.coded.mean()), 3),
        "boxes": {_box_name(kind): size for kind, size in stream.box_bytes.items()},
    }


def _box_name(kind: int) -> str:
    return BoxType(kind).name.lower() if kind in set(BoxType) else f"type {kind}"


def _as_text(values: dict[str, Any]) -> str:
    whole = len(values["level_bytes"])
    rows = [
        ("size", f"{values['width']} x {values['height']} pixels"),
        ("stream", f"{values['bytes']} bytes, {values['bits_per_pixel']:.4f} bits per pixel"),
        ("model", f"{values['model'] or 'not installed'} ({values['model_id']})"),
        ("entropy model", values["entropy"]),
        ("levels", f"{values['levels']}: {', '.join(map(str, values['level_bytes'])) or 0} bytes"),
    ]
    if values["finest_level_share"] < 1:
        rows.append(("finest level", f"in {values['finest_level_share']:.0%} of the picture's blocks"))
    if values["region_side"]:
        rows.append(("coded in", f"regions of {values['region_side']} pixels (vqcodec decode --crop)"))
    if values["boxes"]:
        rows.append(("boxes", ", ".join(f"{name} {size} bytes" for name, size in values["boxes"].items())))
    if not values["complete"]:
        rows.append(("damage", f"cut off: {whole} of {values['levels']} levels are whole (vqcodec decode --partial)"))
    return "\n".join([printable(values["file"]), *(f"  {name:<14}{printable(text)}" for name, text in rows)])
