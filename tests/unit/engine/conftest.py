"""A small facility of fake parts over fake nodes, and a folder that stands for a node: the engine without servers."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from farmlet.engine.authority import Authority
from farmlet.engine.plan import source, spec
from farmlet.engine.store import Store
from farmlet.errors import FarmletError
from farmlet.facility.load import loads
from farmlet.facility.model import Facility
from farmlet.parts.part import Check, Context, Part, Role
from farmlet.parts.resources import Certificate, Command, File, Packages, Resource, Unit, Wanted

TEXT = """\
farmlet: 1
facility: {name: tiny, title: A tiny facility, domain: tiny.test}
nodes:
  head: {connect: fake, runs: [upper, lower]}
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
    """`upper` needs `lower`; `base` is everywhere; `identity` decides."""
    made = (
        Part("base", "", (Role("agent", "every", _files("base"), lambda: (Packages(("python3",)),), _check),)),
        Part("identity", "", (Role("provider", "control", _files("identity")),)),
        Part("lower", "", (Role("ground", "members", _files("lower")),)),
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


class Node:
    """A folder that stands for a node: the two programs, with their stamps in that folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.payload = folder, folder / "payload"
        self.payload.mkdir()
        self.authority = Authority(folder, "ca", "tiny.test", "Test authority")
        for name in ("probe", "place"):
            text, count = re.subn(r"(?m)^STAMPS = .*$", f'STAMPS = "{folder}/state/stamps.json"', source(name))
            assert count == 1
            (self.payload / f"{name}.py").write_text(text)

    def run(self, *words: str, stdin: str = "", python: str = sys.executable) -> str:
        done = subprocess.run([python, *words], input=stdin, capture_output=True, text=True, cwd="/")
        if done.returncode:
            raise FarmletError(words[0], done.stderr)
        return done.stdout

    def look(self, *resources: Resource, python: str = sys.executable) -> dict[str, str]:
        """Findings by label."""
        role = Wanted("a.b", resources)
        question = {"resources": [spec(role, resource, self.authority.ensure()) for resource in resources]}
        answer = json.loads(self.run(str(self.payload / "probe.py"), stdin=json.dumps(question), python=python))
        self.keys: dict[str, str] = answer["keys"]
        return {resources[int(index)].label: reason for index, reason in answer["findings"].items()}

    def put(self, *resources: Resource) -> None:
        items = []
        for index, resource in enumerate(resources):
            item: dict[str, Any] = {name: value for name, value in vars(resource).items() if name != "content"}
            if isinstance(resource, File):
                (self.payload / f"blob{index}").write_bytes(resource.data)
                item["blob"] = f"blob{index}"
            if isinstance(resource, Certificate):
                (self.payload / f"blob{index}").write_text(self.sign(resource))
                item["blob"] = f"blob{index}"
            items.append(item | {"kind": type(resource).__name__})
        (self.payload / "groups.json").write_text(json.dumps([[], items]))
        self.run(str(self.payload / "place.py"), "put", "1")

    def sign(self, resource: Certificate) -> str:
        self.authority.ensure()
        asked = json.dumps([{"key": resource.key, "names": resource.names}])
        (request,) = json.loads(self.run("-c", source("place"), "requests", stdin=asked))
        return self.authority.sign(request, resource.names, resource.client)

    def stamp(self, *words: str) -> None:
        self.run(str(self.payload / "place.py"), *words)

    @property
    def stamps(self) -> Any:
        return json.loads((self.folder / "state" / "stamps.json").read_text())


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)
