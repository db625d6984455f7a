"""Whether the fields of a card are of the types that its dataclass says: JSON may hold anything."""

from __future__ import annotations

import dataclasses
import types
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


def check_field_types(made: Any) -> None:
    """Raises TypeError, naming the field, where a field of a dataclass, or of one inside it, is of another type."""
    hints = get_type_hints(type(made))
    for each in dataclasses.fields(made):
        _check(getattr(made, each.name), hints[each.name], each.name)


def _check(value: Any, hint: Any, name: str) -> None:
    if not _fits(value, hint, name):
        wanted = getattr(hint, "__name__", None) if isinstance(hint, type) else None
        raise TypeError(f"{name}: {type(value).__name__} in the place of {wanted or hint}")


def _fits(value: Any, hint: Any, name: str) -> bool:
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin in (Union, types.UnionType):
        if value is None:
            return type(None) in inner
        return any(_fits(value, one, name) for one in inner if one is not type(None))
    if origin is tuple:
        if not isinstance(value, tuple) or (inner[-1] is not Ellipsis and len(value) != len(inner)):
            return False
        kinds = inner[:1] * len(value) if inner[-1] is Ellipsis else inner
        return all(_fits(item, kind, name) for item, kind in zip(value, kinds, strict=True))
    if origin is Literal:
        return value in inner
    if origin is not None:  # of what is in a mapping or a sequence nothing is said
        return isinstance(value, origin)
    if not isinstance(value, hint):
        return hint is float and type(value) is int
    if isinstance(value, bool):
        return hint is bool
    if dataclasses.is_dataclass(value):
        check_field_types(value)
    return True
