"""Configuration files of real components out of a part's `templates/`. Deploy time only: needs jinja2."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment


@cache
def _environment() -> Environment:
    from jinja2 import Environment, StrictUndefined  # most verbs of `farmlet` render nothing

    # configuration files, not HTML: nothing is escaped; a value that is missing is an error, never an empty string
    return Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, autoescape=False
    )


def render(package: str, template: str, **values: Any) -> str:
    """The text of `templates/<template>` in `package`, filled in. Raises jinja2.UndefinedError for a missing value."""
    text = (files(package) / "templates" / template).read_text()
    return _environment().from_string(text).render(**values)
