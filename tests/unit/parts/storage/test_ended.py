"""Who is no member any more has nothing on elements that go by the groups of an external issuer's tokens."""

from __future__ import annotations

import json
import re
from pathlib import Path

from farmlet.facility.load import loads
from farmlet.facility.rights import GroupRights, Table
from farmlet.parts.part import Context, Trust, find
from farmlet.parts.resources import File
from farmlet.parts.storage import element, ended
from farmlet.parts.storage.deploy import ENDED, PART
from farmlet.parts.storage.groups import write_table
from farmlet.runtime.rows import dump

TABLE = Table({"lab": GroupRights(read=("/",), write=("/data",))})


def test_all_who_are_not_active_and_nobody_else(tmp_path: Path) -> None:
    target = tmp_path / "ended.json"
    states = {"ada": "active", "bob": "suspended", "eve": "expired", "gone": "removed"}
    rows = [
        {"name": name, "sub": f"sub-{name}", "uid": 20000 + n, "state": state} for n, (name, state) in enumerate(states.items())
    ]
    ended.apply(dump(rows), str(target))
    assert json.loads(target.read_bytes()) == [{"sub": f"sub-{name}", "result": ended.NAME} for name in ("bob", "eve", "gone")]
    assert target.stat().st_mode & 0o777 == 0o644  # the server reads it, and is not root
    before = target.stat().st_mtime_ns
    ended.apply(dump(rows), str(target))
    assert target.stat().st_mtime_ns == before
    ended.apply(dump(row | {"state": "active"} for row in rows), str(target))
    assert json.loads(target.read_bytes()) == []


def test_their_name_is_taken_all_from_and_groups_decide_for_the_rest() -> None:
    table = write_table(TABLE, {"lab": "/vo/lab"}, ended=ended.NAME)
    found = element.configure("se.af.test", "https://iam.example.org/", "af", {}, table, "/var/lib/ended.json")
    texts = {resource.path: resource.data.decode() for resource in found if isinstance(resource, File)}
    tokens = dict(line.split(" = ", 1) for line in texts[element.TOKENS].splitlines() if " = " in line)
    assert (tokens["authorization_strategy"], tokens["name_mapfile"]) == ("group mapping", "/var/lib/ended.json")
    assert re.sub(r"#.*\n", "", texts[element.GROUPS]) == f"g /vo/lab /data/ a / rl\nu {ended.NAME} / -a\n"
    ours = element.configure("se.af.test", "https://id.af.test", "af", {}, "", "/var/lib/ended.json")
    texts = {resource.path: resource.data.decode() for resource in ours if isinstance(resource, File)}
    assert "mapping" not in texts[element.TOKENS] and "capability" in texts[element.TOKENS]


TEXT = """
farmlet: 1
facility: {name: lab, title: Example, domain: farmlet.test}
nodes:
  head: {connect: fake, runs: [access, storage]}
  service: {connect: fake, runs: [identity, accounts]}
groups:
  lab: {login: true, storage: {read: [/]}}
"""


def write_files(more: str) -> dict[str, str]:
    """What part storage writes on `head`, by path."""
    facility = loads(TEXT + more, "facility.yaml", find())
    node = facility.nodes["head"]
    roles = [role for role in PART.roles if f"storage.{role.name}" in node.roles]
    found = [one for role in roles for one in role.configure(Context(facility, node, Trust("CA\n"), "0" * 64))]
    return {one.path: one.data.decode() for one in found if isinstance(one, File)}


def test_elements_of_an_external_issuer_have_the_list_and_the_rule() -> None:
    """And the agent is told to keep it."""
    task = "/etc/farmlet/agent.d/storage.ended.json"
    theirs, ours = write_files("identity: {issuer: 'https://iam.example.org/'}\n"), write_files("")
    assert theirs[element.GROUPS].endswith(f"\nu {ended.NAME} / -a\n") and ENDED in theirs[element.TOKENS]
    call = json.loads(theirs[task])["apply"]["accounts"]
    assert call["call"] == "farmlet.parts.storage.ended:apply" and call["args"]["path"] == ENDED
    assert task not in ours and ENDED not in ours[element.TOKENS]
