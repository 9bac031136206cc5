from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farmlet.engine.images import sources
from farmlet.engine.images.build import REPOSITORY, Base, content, tag
from farmlet.parts.resources import Environment, File, Packages, Resource, Wanted

INSTALL = (
    Wanted("a.install", (Packages(("one", "two")), Environment("/opt/a", "x==1\n"))),
    Wanted("b.install", (File("/etc/b", "text"),)),
)
KEY = content(INSTALL, "base")


def swap(old: Resource, new: Resource) -> tuple[Wanted, ...]:
    return tuple(replace(wanted, resources=tuple(new if one == old else one for one in wanted.resources)) for wanted in INSTALL)


def test_equal_contents_have_one_key() -> None:
    assert content(tuple(replace(wanted) for wanted in INSTALL), "base") == KEY
    assert tag(KEY) == f"{REPOSITORY}:{KEY}" and KEY.isalnum()


def test_the_key_follows_every_resource() -> None:
    packages, environment, file = (resource for wanted in INSTALL for resource in wanted.resources)
    assert isinstance(packages, Packages) and isinstance(environment, Environment) and isinstance(file, File)
    changed = [
        swap(packages, replace(packages, names=("one",))),
        swap(packages, replace(packages, names=("two", "one"))),
        swap(packages, replace(packages, suite="sid")),
        swap(environment, replace(environment, requirements="x==2\n")),
        swap(environment, replace(environment, system=True)),
        swap(file, replace(file, content="texts")),
        swap(file, replace(file, content=b"other")),
        swap(file, replace(file, mode=0o600)),
        INSTALL[::-1],
        INSTALL[:1],
    ]
    keys = [content(install, "base") for install in changed]
    assert KEY not in keys and len(set(keys)) == len(keys)
    assert content(INSTALL, "other base") != KEY


@given(st.lists(st.text(max_size=6), max_size=4), st.lists(st.text(max_size=6), max_size=4))
def test_names_never_run_into_each_other(one: list[str], other: list[str]) -> None:
    keys = [content((Wanted("r", (Packages(tuple(names)),)),), "base") for names in (one, other)]
    assert (keys[0] == keys[1]) is (one == other)


def test_a_blank_node_is_the_same_from_any_mirror() -> None:
    assert Base().key == Base("http://mirror.example.org/debian").key


def test_a_blank_node_is_another_with_other_options_of_apt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "apt_options", lambda: [])
    one = Base().key
    monkeypatch.setattr(sources, "apt_options", lambda: ['Acquire::Check-Valid-Until "false"'])
    assert Base().key != one
