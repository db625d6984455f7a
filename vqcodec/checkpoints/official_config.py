"""What the configuration beside a checkpoint says that no tensor tells: JSON or YAML, of any of the projects."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from vqcodec.checkpoints.errors import ForeignCheckpointError

#: names under which projects say which class a configuration is of
_CLASS_NAMES: Final = ("_class_name", "class_path", "target")
#: options with which the networks are others than ours; what they must be where they are stated
_REQUIRED: Final[dict[str, tuple[Any, ...]]] = {
    "act_fn": ("silu", "swish"),
    "norm_num_groups": (32,),
    "attn_type": ("vanilla", "none"),
    "resamp_with_conv": (True,),
    "resample_with_conv": (True,),
    "double_z": (False,),
    "using_znorm": (False,),
    "use_linear_attn": (False,),
}
#: classes whose pictures are in [0, 1]
_UNIT_CLASSES: Final = ("VQGANModel", "MaskGitVQGAN")
#: options by one of which the part of a configuration is known that describes a tokenizer
_TELLING: Final = ("block_out_channels", "hidden_channels", "codebook_size", "z_channels")
_DEEPEST: Final = 16
#: that a configuration has, lists and tables counted too
_MOST_VALUES: Final = 100_000


@dataclass(frozen=True)
class OfficialConfig:
    """class_name: of the official class, "" where it is not stated. values: the options that count here, as stated.

    pixel_range: "signed", "unit", or "" where it is not known. tanh: at the Decoder's end. l2_norm: codes and latents
    are scaled to length 1. resolution: side of a training picture, 0 where it is not stated. grids: sides of the
    token grids of VAR's scales, () where they are not stated. mixing: share of a convolution in what smooths these.
    content: all of the file.
    """

    class_name: str = ""
    values: Mapping[str, Any] | None = None
    pixel_range: str = ""
    tanh: bool = False
    l2_norm: bool = True
    resolution: int = 0
    grids: tuple[int, ...] = ()
    mixing: float = 0.5
    content: Mapping[str, Any] | None = None


def read_official_config(path: Path) -> OfficialConfig:
    """From a file in JSON or YAML (for which PyYAML is needed). Raises ForeignCheckpointError, also for options with
    which the networks are others."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ForeignCheckpointError(f"{path}: cannot be read ({error})") from error
    return official_config(_parsed(text, path), path)


def official_config(content: Any, path: Path) -> OfficialConfig:
    """From what a file holds. Raises ForeignCheckpointError for options with which the networks are others."""
    if not isinstance(content, dict):
        raise ForeignCheckpointError(f"{path}: not a configuration: it holds no names with values")
    class_name, options = _of_the_tokenizer(content)
    for name, allowed in _REQUIRED.items():
        if name in options and options[name] not in allowed:
            raise ForeignCheckpointError(f"{path}: {name} {options[name]!r}: only {allowed[0]!r} can be imported")
    short_name = class_name.rsplit(".", 1)[-1]
    pixel_range = "unit" if short_name in _UNIT_CLASSES or options.get("lookup_from_codebook") else "signed"
    resolution = options.get("resolution", 0)
    grids, mixing = options.get("v_patch_nums", ()), options.get("quant_resi", 0.5)
    if not isinstance(grids, list | tuple) or not all(type(side) is int for side in grids):
        raise ForeignCheckpointError(f"{path}: v_patch_nums {grids!r}: only whole numbers can be imported")
    if not isinstance(mixing, int | float):
        raise ForeignCheckpointError(f"{path}: quant_resi {mixing!r}: only a number can be imported")
    return OfficialConfig(
        class_name=class_name,
        values={key: value for key, value in options.items() if not isinstance(value, dict)},
        pixel_range=pixel_range,
        tanh=bool(options.get("tanh_out", False)),
        l2_norm=bool(options.get("codebook_l2_norm", True)),
        resolution=resolution if isinstance(resolution, int) else 0,
        grids=tuple(grids),
        mixing=abs(float(mixing)),
        content=content,
    )


def _parsed(text: str, path: Path) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        if path.suffix == ".json":
            raise ForeignCheckpointError(f"{path}: no valid JSON ({error})") from error
    try:
        import yaml
    except ImportError as error:
        raise ForeignCheckpointError(f"{path}: reading YAML needs PyYAML; pip install 'vqcodec[hub]'") from error
    try:  # as JSON has it: YAML's dates, bytes and sets could not be written into a card
        return _as_json(yaml.safe_load(text), [_MOST_VALUES])
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ForeignCheckpointError(f"{path}: neither valid JSON nor YAML") from error


def _as_json(value: Any, left: list[int]) -> Any:
    """A copy with dates, bytes and the like as text. left: of how many values, one number that counts down.

    Raises ValueError for more: YAML's aliases let a short text stand for any number of them.
    """
    left[0] -= 1
    if left[0] < 0:
        raise ValueError("too many values")
    if isinstance(value, dict):
        return {str(key): _as_json(each, left) for key, each in value.items()}
    if isinstance(value, list | tuple | set):
        return [_as_json(each, left) for each in value]
    return value if isinstance(value, str | int | float | None) else str(value)


def _of_the_tokenizer(content: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Class and options of the part that describes the tokenizer.

    That is the first with `ddconfig`, or else with options that tell.

    A configuration of stage 2 has that of stage 1 inside. The options of `ddconfig` stand beside the others.
    """
    parts = list(_parts(content, "", 0))
    for class_name, options in parts:
        if isinstance(options.get("ddconfig"), dict):
            return class_name, {**options, **options["ddconfig"]}
    return next((part for part in parts if any(name in part[1] for name in _TELLING)), parts[0])


def _parts(values: dict[str, Any], class_name: str, depth: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every dict in a configuration, with the class named in it or in the dicts around it."""
    named = next((values[name] for name in _CLASS_NAMES if isinstance(values.get(name), str)), class_name)
    yield named, values
    for value in values.values() if depth < _DEEPEST else ():
        if isinstance(value, dict):
            yield from _parts(value, named, depth + 1)
