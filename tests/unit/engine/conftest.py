"""A small facility of fake parts over fake nodes: the engine's order of things, without servers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from farmlet.engine.store import Store
from farmlet.facility.load import loads
from farmlet.facility.model import Facility
from farmlet.parts.part import Check, Context, Part, Role
from farmlet.parts.resources import Command, File, Packages, Unit

TEXT = """\
farmlet: 1
facility: {name: tiny, title: A tiny facility, domain: tiny.test}
nodes:
  head: {connect: fake, runs: [upper]}
  service: {connect: fake, runs: [identity]}
"""


def _files(name: str) -> Callable[[Context], tuple[File | Unit | Command, ...]]:
    def configure(context: Context) -> tuple[File | Unit | Command, ...]:
        text = f"{context.node.name} {context.trust.ca}"
        return (File(f"/etc/{name}", text), Command(f"make {name}", "true"), Unit(f"{name}.service"))

    return configure


def _check(context: Context) -> tuple[Check, ...]:
    return (Check("base.agent.unit", "farmlet.runtime.checks:check_unit", {"unit": "base.service"}),)


@pytest.fixture
def parts() -> dict[str, Part]:
    """`upper` needs `lower`, which goes wherever it is; `base` is everywhere; `identity` decides."""
    made = (
        Part("base", "", (Role("agent", "every", _files("base"), lambda: (Packages(("python3",)),), _check),)),
        Part("identity", "", (Role("provider", "control", _files("identity")),)),
        Part("lower", "", (Role("ground", "members", _files("lower"), with_role="upper.roof"),)),
        Part("upper", "", (Role("roof", "members", _files("upper"), data=("/srv/upper",)),), needs=("lower",)),
    )
    return {part.name: part for part in made}


@pytest.fixture
def load_facility(parts: Mapping[str, Part], tmp_path: Path) -> Callable[[str], Facility]:
    return lambda text: loads(text, "facility.yaml", parts, tmp_path)


@pytest.fixture
def facility(load_facility: Callable[[str], Facility]) -> Facility:
    return load_facility(TEXT)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path, "tiny")
    made.ensure()
    return made
