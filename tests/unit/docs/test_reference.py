"""The generated pages are what the code says now."""

from __future__ import annotations

import argparse

import pytest
from pydantic import BaseModel
from tools import reference

from farmlet.facility.load import TOP
from farmlet.parts.part import find


@pytest.mark.parametrize("name", reference.PAGES)
def test_page_is_in_step(name: str) -> None:
    assert (reference.FOLDER / name).read_text() == reference.render()[name], "run `make docs`"


def test_the_file_page_has_every_section_and_key() -> None:
    text = reference.render()["facility-file.md"]
    parts = find()
    for title in (*TOP[1:], *(name for name, part in parts.items() if part.section)):
        assert f"\n## `{title}" in text
    for part in parts.values():
        for key in part.section.model_fields if part.section else ():
            assert f"| `{key}` |" in text


def test_the_ports_page_has_every_role() -> None:
    text = reference.render()["ports.md"]
    for part in find().values():
        for role in part.roles:
            assert f"| `{part.name}.{role.name}` |" in text
            assert all(f"`{path}`" in text for path in (*role.data, *role.shares))


def test_values_are_told_in_words() -> None:
    class Sample(BaseModel):
        """A sample."""

        size: reference.fields.Memory | None = None
        count: reference.fields.Count = 2
        paths: tuple[reference.fields.Pattern, ...] = ()

    text = reference.keys(Sample, "sample")
    assert "| `size` | size, e.g. `6G` | – |" in text
    assert "| `count` | whole number ≥ 1 | `2` |" in text
    assert "| `paths` | list of: path, may hold `{user}` | – |" in text


def test_arguments_of_verbs_within_verbs_are_told() -> None:
    parser = argparse.ArgumentParser(prog="farmlet node")
    inner = parser.add_subparsers(dest="action").add_parser("exec")
    inner.add_argument("name", help="which node")
    text = reference.arguments(parser, "farmlet node", 3)
    assert "### `farmlet node exec`" in text
    assert "| `name` | which node |" in text
