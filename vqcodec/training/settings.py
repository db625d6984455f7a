"""Settings by name: `training.weights.l1=3` changes one value of a recipe, and nothing that does not exist."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from typing import Any, TypeVar

T = TypeVar("T")


class SettingError(ValueError):
    """A setting that does not exist, or a value that it cannot take."""


def with_settings(config: T, settings: Iterable[str]) -> T:
    """A copy of a dataclass with `NAME=VALUE` settings. NAME: field names joined by points; VALUE: JSON, or a word.

    Raises SettingError for unknown names, and for values of another type than the present one.
    """
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise SettingError(f"{setting}: write NAME=VALUE")
        try:
            config = _with(config, name.strip().split("."), _value(text.strip()), name)
        except (TypeError, ValueError) as error:
            raise error if isinstance(error, SettingError) else SettingError(f"{setting}: {error}") from error
    return config


def _with(config: T, path: list[str], value: Any, name: str) -> T:
    known = [field.name for field in dataclasses.fields(config)]  # type: ignore[arg-type]
    field, *rest = path
    if field not in known:
        raise SettingError(f"{name}: there is no {field}; there are {', '.join(known)}")
    present = getattr(config, field)
    if dataclasses.is_dataclass(present):
        if not rest:
            inner = ", ".join(f"{name}.{each.name}" for each in dataclasses.fields(present))
            raise SettingError(f"{name} is a group; set {inner}")
        changed: Any = _with(present, rest, value, name)
    elif rest:
        raise SettingError(f"{name}: {field} has no parts")
    else:
        changed = _fitting(present, value, name)
    return dataclasses.replace(config, **{field: changed})  # type: ignore[type-var]


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _fitting(present: Any, value: Any, name: str) -> Any:
    """`value` as the type of `present`."""
    if isinstance(present, tuple):
        return _as_tuple(value if isinstance(value, list) else [value])
    if isinstance(present, float) and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if type(value) is not type(present):
        raise SettingError(f"{name}={value}: takes a value like {json.dumps(present)}")
    return value


def _as_tuple(value: Any) -> Any:
    return tuple(_as_tuple(item) for item in value) if isinstance(value, list) else value
