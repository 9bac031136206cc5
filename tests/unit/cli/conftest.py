"""The command line over a tiny catalogue of parts, in an empty folder, with nothing in the environment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from farmlet.cli import main as module
from farmlet.cli import opening
from farmlet.parts.part import Part, Role
from farmlet.parts.resources import File

GOOD = """\
farmlet: 1
facility: {name: tiny, domain: tiny.test}
nodes:
  head: {connect: container, runs: [work]}
  service: {connect: container, runs: [identity]}
groups:
  tiny: {login: true}
"""


@dataclass(frozen=True)
class Result:
    """How one command ended."""

    code: int
    out: str
    err: str


Call = Callable[..., Result]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a facility file."""
    parts = (
        Part("base", "", (Role("agent", "every", lambda context: (File("/etc/base", "x"),)),), implicit=True),
        Part("identity", "", (Role("provider", "control", lambda context: ()),), decides=1),
        Part("work", "", (Role("do", "members", lambda context: ()),)),
    )
    monkeypatch.setattr(opening, "find", lambda: {part.name: part for part in parts})
    monkeypatch.setattr(opening, "standins", lambda facility: ())
    monkeypatch.delenv("FARMLET_FACILITY", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "facility.yaml").write_text(GOOD)
    return tmp_path


@pytest.fixture
def farmlet(folder: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    """`farmlet(words…)` runs one command; argparse's own exits are exits too."""

    def call(*words: str) -> Result:
        capsys.readouterr()
        try:
            code = module.main(words)
        except SystemExit as ended:
            code = int(ended.code or 0)
        found = capsys.readouterr()
        return Result(code, found.out, found.err)

    return call
