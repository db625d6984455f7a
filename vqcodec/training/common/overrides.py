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

    They are set together, so that their order does not matter, but for one that is given twice: the last one counts.
    Raises SettingError for unknown names, for values of another type than the present one, and for values that do not
    go together.
    """
    values: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise SettingError(f"{setting}: write NAME=VALUE")
        values[name.strip()] = _value(text.strip())
    return _with(config, values, "")


def _with(config: T, values: dict[str, Any], prefix: str) -> T:
    """`values`: by the name after `prefix`, which says where in the whole `config` is."""
    known = [field.name for field in dataclasses.fields(config)]  # type: ignore[arg-type]
    groups: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        field, _, rest = name.partition(".")
        if field not in known:
            raise SettingError(f"{prefix}{name}: there is no {field}; there are {', '.join(known)}")
        groups.setdefault(field, {})[rest] = value
    changed = {field: _changed(getattr(config, field), parts, prefix + field) for field, parts in groups.items()}
    try:
        return dataclasses.replace(config, **changed)  # type: ignore[type-var]
    except (TypeError, ValueError) as error:
        given = ", ".join(f"{prefix}{name}={value}" for name, value in values.items())
        raise SettingError(f"{given}: {error}") from error


def _changed(present: Any, parts: dict[str, Any], name: str) -> Any:
    """A field with the values of its parts; that of the part "" is its own."""
    if dataclasses.is_dataclass(present):
        if "" in parts:
            inner = ", ".join(f"{name}.{each.name}" for each in dataclasses.fields(present))
            raise SettingError(f"{name} is a group; set {inner}")
        return _with(present, parts, f"{name}.")
    if set(parts) != {""}:
        raise SettingError(f"{name}: {name.rpartition('.')[2]} has no parts")
    return _fitting(present, parts[""], name)


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
