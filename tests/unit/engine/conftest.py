"""A small facility of fake parts over fake nodes, and a folder that stands for a node: the engine without servers."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from subprocess import PIPE, Popen
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
        Part("base", "", (Role("agent", "every", _files("base"), lambda: (Packages(("python3",)),), _check),), implicit=True),
        Part("identity", "", (Role("provider", "control", _files("identity")),), decides=1),
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
    """A folder that stands for a node: the programs that run there, with what they keep in that folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.payload, self.sent = folder, folder / "payload", folder / "sent"
        self.payload.mkdir()
        self.authority = Authority(folder, "ca", "tiny.test", "Test authority")
        for name in ("probe", "place", "steps"):
            text = source(name)
            for constant in ("STAMPS", "BORROWED", "POLICY"):
                text = re.sub(rf"(?m)^{constant} = .*$", f'{constant} = "{folder}/state/{constant.lower()}"', text)
            text = text.replace("TERM_SECONDS = 1800, 10", "TERM_SECONDS = 1800, 1")
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

    def start(self, *steps: dict[str, Any], forget: Sequence[str] = (), blobs: Mapping[str, bytes] = {}) -> Popen[str]:
        """The program in a payload of its own. It goes on as long as its input is open."""
        shutil.copytree(self.payload, self.sent)
        (self.sent / "job.json").write_text(json.dumps({"forget": forget, "steps": steps}))
        (self.sent / "environment").write_text("export SENT=1\n")
        for name, data in blobs.items():
            (self.sent / name).write_bytes(data)
        return Popen([sys.executable, str(self.sent / "steps.py")], stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True, cwd="/")

    def do(self, *steps: dict[str, Any], forget: Sequence[str] = (), blobs: Mapping[str, bytes] = {}) -> list[dict[str, Any]]:
        """What the program told of the steps; FarmletError of one that failed."""
        with self.start(*steps, forget=forget, blobs=blobs) as process:
            assert process.stdout is not None and process.stderr is not None
            told = [json.loads(line) for line in process.stdout]
            failed = [step["output"] for step in told if not step["ok"]]
            if process.wait() or failed:
                raise FarmletError("steps", "\n".join([*failed, process.stderr.read()]))
        assert not self.sent.exists(), "what a node was sent goes"
        return told

    def put(self, *resources: Resource) -> None:
        items, blobs = [], {}
        for index, resource in enumerate(resources):
            item: dict[str, Any] = {name: value for name, value in vars(resource).items() if name != "content"}
            if isinstance(resource, File | Certificate):
                item["blob"] = f"blob{index}"
                blobs[f"blob{index}"] = resource.data if isinstance(resource, File) else self.sign(resource).encode()
            items.append(item | {"kind": type(resource).__name__})
        self.do({"op": "put", "label": "files", "items": items}, blobs=blobs)

    def sign(self, resource: Certificate) -> str:
        self.authority.ensure()
        return self.authority.answer(self.request(resource), resource)

    def request(self, resource: Certificate) -> str:
        asked = json.dumps([{"key": resource.key, "names": resource.names}])
        return str(json.loads(self.run("-c", source("place"), stdin=asked))[0])

    def stamp(self, name: str, fingerprint: str) -> None:
        program = f"import sys; sys.path.insert(0, {str(self.payload)!r}); import place; place.stamp(*sys.argv[1:])"
        self.run("-c", program, name, fingerprint)

    @property
    def stamps(self) -> Any:
        return json.loads((self.folder / "state" / "stamps").read_text())


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)
