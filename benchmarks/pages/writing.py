"""Pages to look at results with: HTML with its styles and scripts inside, that loads nothing from a network."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

TEMPLATES: Final = Path(__file__).parent / "templates"


def render(template: str, **values: Any) -> str:
    """A page from a template of `TEMPLATES`. Text in `values` is escaped wherever it stands."""
    return _environment().get_template(template).render(**values)


def as_script(text: str) -> Markup:
    """Trusted JavaScript, for inside a script element."""
    return Markup(text.replace("</script", "<\\/script"))


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "ensure_ascii": False, "separators": (",", ":")}
    environment.globals["inlined"] = _inlined
    environment.filters["thousands"] = lambda number: f"{number:,.0f}"
    return environment


def _inlined(name: str) -> Markup:
    """The text of a style sheet or script of `TEMPLATES`."""
    return as_script((TEMPLATES / name).read_text(encoding="utf-8"))
