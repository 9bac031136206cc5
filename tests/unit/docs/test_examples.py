"""Each example is loaded with the real catalogue of parts and planned by the real command."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from commands import ROOT

from farmlet.cli.main import main
from farmlet.facility.load import default_text, load
from farmlet.parts.part import Context, Trust, find

EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))


def test_there_are_examples() -> None:
    assert {"sandbox.yaml", "one-host.yaml", "two-hosts.yaml"} <= {path.name for path in EXAMPLES}


def test_the_sandbox_is_the_built_in_one() -> None:
    assert (ROOT / "examples" / "sandbox.yaml").read_text() == default_text()


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_example_loads_and_every_part_has_its_place(example: Path) -> None:
    facility = load(example, find())
    assert facility.has("identity.provider") is not facility.external
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


def find_resources(name: str) -> dict[str, str]:
    """Label → text of every resource of every role on every node of an example; files with their content."""
    parts = find()
    facility = load(ROOT / "examples" / name, parts)
    found: dict[str, str] = {}
    for node in facility.nodes.values():
        context = Context(facility, node, Trust("CA\n"), "0" * 64)
        for title in node.roles:
            part, _, role = title.partition(".")
            for resource in parts[part].role(role).configure(context):
                found[resource.label] = getattr(resource, "content", getattr(resource, "run", ""))
    return found


def test_an_external_issuer_leaves_nothing_of_our_own() -> None:
    found, issuer = find_resources("indigo.yaml"), "https://iam.example.org/"
    assert not [label for label in found if "identity" in label]  # no database, no keys, no unit, no account
    assert json.loads(found["file /etc/farmlet/ssh.json"])["issuer"] == issuer
    assert json.loads(found["file /etc/farmlet/accounts.json"])["source"]["issuer"] == issuer
    assert f"--issuer {issuer}\n" in found["file /etc/condor/config.d/50-farmlet-credmon.config"]
    tokens = found["file /etc/xrootd/tokens-storage.cfg"]
    assert f"issuer = {issuer}\n" in tokens and "authorization_strategy = group mapping\n" in tokens
    assert "capability" not in tokens
    assert "g /collaboration/af/production /scratch/ a /data/ a / rl\n" in found["file /etc/xrootd/groups-storage"]
    assert found["file /etc/xrootd/groups-storage"].endswith("\nu farmlet.ended / -a\n")


def test_our_own_issuer_decides_by_scopes_alone() -> None:
    found = find_resources("two-hosts.yaml")
    assert "step identity database" in found
    tokens = found["file /etc/xrootd/tokens-storage.cfg"]
    assert "issuer = https://service.af.example.org\n" in tokens and "authorization_strategy = capability\n" in tokens
    assert "no /etc/xrootd/groups-storage" in found
    assert json.loads(found["file /etc/farmlet/ssh.json"])["members"] == ""


def test_one_line_changes_the_issuer(tmp_path: Path) -> None:
    text = (ROOT / "examples" / "two-hosts.yaml").read_text()  # its service node runs `identity`
    path = tmp_path / "facility.yaml"
    path.write_text(f"{text}\nidentity: {{issuer: https://iam.example.org/}}\n")
    before, after = load(ROOT / "examples" / "two-hosts.yaml", find()), load(path, find())
    assert (before.issuer, after.issuer) == ("https://service.af.example.org", "https://iam.example.org/")
    assert before.controller == after.controller and before.public_url == after.public_url
    for name, node in before.nodes.items():
        assert after.nodes[name].roles == tuple(role for role in node.roles if role != "identity.provider")
    assert after.claim("af/production") == "/af/production"
