"""Each example is loaded with the real catalogue of parts and planned by the real command."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from commands import ROOT

from farmlet.cli.main import main
from farmlet.facility.load import default_text, load
from farmlet.parts.part import find

EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))


def test_there_are_examples() -> None:
    assert {"sandbox.yaml", "one-host.yaml", "two-hosts.yaml"} <= {path.name for path in EXAMPLES}


def test_the_sandbox_is_the_built_in_one() -> None:
    assert (ROOT / "examples" / "sandbox.yaml").read_text() == default_text()


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_example_loads_and_every_part_has_its_place(example: Path) -> None:
    facility = load(example, find())
    assert facility.has("identity.provider")
    assert facility.has("access.login")
    assert any(group.login for group in facility.groups.values())
    for role in ("batch.access", "batch.execute", "software.client", "storage.element", "overlay.controller", "tokens.credmon"):
        assert facility.has(role), role


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_example_is_planned(example: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = Path(shutil.copy(example, tmp_path))  # a state folder beside the example would be somebody's real one
    assert main(["plan", "--facility", str(copy), "--json"]) == 3
    plan = json.loads(capsys.readouterr().out)
    assert set(plan["missing"]) >= set(load(copy, find()).nodes)
    assert set(plan["missing"].values()) == {"absent"}
    assert sorted(path.name for path in tmp_path.iterdir()) == [example.name]  # to look makes nothing


def test_members_cannot_work_where_tokens_are_minted_but_on_one_host() -> None:
    for example in EXAMPLES:
        facility = load(example, find())
        if len(facility.nodes) > 1:
            assert "access.login" not in facility.control.roles, example.name
