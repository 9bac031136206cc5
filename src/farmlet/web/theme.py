"""How our pages look. The base template is Django's: `{% extends "web/page.html" %}`, with TEMPLATES among the folders.

It is told `title`, and has the blocks `name` (of the page), `content` and `foot`. A site serves the FILES at these paths.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

FOLDER = Path(__file__).parent
TEMPLATES = FOLDER / "templates"
FILES: Mapping[str, str] = {"style.css": "text/css; charset=utf-8", "icon.svg": "image/svg+xml"}  # path → media type


def load(name: str) -> bytes:
    """One of the FILES."""
    return (FOLDER / name).read_bytes()


def load_colours() -> str:
    """The style sheet's variables, for pages that have a style sheet of their own."""
    return load("style.css").decode().partition("\n* {")[0] + "\n"
