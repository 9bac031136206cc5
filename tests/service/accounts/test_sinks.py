"""The seam `AccountSink`: the same cases over both kinds of directory, the nodes and memory; then what is special of LDAP."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import slapd

from farmlet.errors import FarmletError
from farmlet.parts.accounts import checks
from farmlet.parts.accounts.sink import state
from farmlet.parts.accounts.sink.memory import Memory
from farmlet.parts.accounts.sink.nodes import Nodes
from farmlet.parts.accounts.sink.sink import AccountSink
from farmlet.runtime.checks import Failed

pytestmark = pytest.mark.service
OWN = state.Layout("dc=farmlet,dc=test", "/home", "/bin/bash")
MARK = "farmlet@af.example.org"
OTHER = state.Layout("", "/home", "/bin/bash", MARK, ("ou=people,dc=example,dc=org", "ou=groups,dc=example,dc=org"))


def account(name: str, uid: int, *groups: str, title: str = "", how: str = "active") -> state.Account:
    gids = {"lab": 30000, "lab-production": 30001, "guests": 30002}
    return state.Account(f"sub-{uid}", name, uid, uid, title or name, how, True, {group: gids[group] for group in groups})


ADA, BEN, EVE = account("ada", 20010, "lab"), account("ben", 20011, "lab"), account("eve", 20012, "lab", "lab-production")


@dataclass
class Side:
    """A sink and what it knows of `who`: None, or whether they are active and their groups."""

    sink: AccountSink
    kind: str
    running: slapd.Running | None = None
    folder: Path | None = None

    def look(self, who: str) -> tuple[bool, frozenset[str]] | None:
        if isinstance(self.sink, Memory):
            one = self.sink.accounts.get(who)
            return one and (one.active, frozenset(one.groups if one.active else ()))
        if self.folder:
            rows = {row["name"]: row for row in json.loads((self.folder / "accounts").read_text())}
            row = rows.get(who)
            active = bool(row) and row["state"] == "active"
            return None if not row or row["state"] == "removed" else (active, frozenset(row["groups"] if active else ()))
        assert self.running
        found = read(self.running)
        person = next((entry for dn, entry in found.items() if dn.startswith(f"uid={who},")), None)
        groups = [entry["cn"][0] for entry in found.values() if who in entry.get("memberUid", ())]
        return None if person is None else ("shadowExpire" not in person, frozenset(groups))


def connect(running: slapd.Running, uri: str = "", **other: str) -> Any:
    from farmlet.parts.accounts.sink.connection import Server
    from farmlet.parts.accounts.sink.directory import Directory

    if running.port:
        how = {"bind": slapd.BIND, "password": str(running.folder / "password"), "ca": running.ca} | other
        return Directory(Server(uri or running.uri, **how), OTHER)
    return Directory(Server(running.uri), OWN)


def read(running: slapd.Running) -> dict[str, dict[str, list[str]]]:
    """All entries, by somebody who is not us."""
    import ldap

    from farmlet.parts.accounts.sink.difference import normalise

    connection = ldap.initialize(running.plain or running.uri)
    if running.plain:
        connection.simple_bind_s(slapd.BIND, slapd.SECRET)  # others are told 500 entries at most
    else:
        connection.sasl_external_bind_s()
    rows = connection.search_s(slapd.BASE if running.port else OWN.base, ldap.SCOPE_SUBTREE)
    connection.unbind_s()
    return {
        normalise(dn): {name: sorted(value.decode() for value in values) for name, values in entry.items()} for dn, entry in rows
    }


@pytest.fixture(params=["ours", "theirs", "nodes", "memory"])
def side(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Side]:
    if request.param == "memory":
        yield Side(Memory(), "memory")
    elif request.param == "nodes":
        yield Side(Nodes(tmp_path, OWN), "nodes", folder=tmp_path)
    else:
        running = request.getfixturevalue(request.param)
        made = Side(connect(running), request.param, running)
        yield made
        made.sink.sync(())


def test_what_is_there_can_be_looked_at_by_who_has_forgotten_it(side: Side) -> None:
    side.sink.sync((ADA, EVE, replace(BEN, state="suspended")))
    held = side.sink.look()
    assert {(one.sub, one.name, one.uid, one.gid) for one in held.accounts} == {
        (one.sub, one.name, one.uid, one.gid) for one in (ADA, BEN, EVE)
    }
    assert held.groups == ({} if side.kind == "nodes" else {"lab": 30000, "lab-production": 30001})


def test_a_pass_makes_the_side_equal_and_the_next_changes_nothing(side: Side) -> None:
    people = (ADA, BEN, EVE)
    planned = side.sink.plan(people)
    outcome = side.sink.sync(people)
    assert outcome == planned and outcome.changes and not outcome.faults
    assert side.look("eve") == (True, {"lab", "lab-production"})
    assert not side.sink.sync(people).changes and not side.sink.plan(people).changes


def test_groups_states_and_removal_follow(side: Side) -> None:
    side.sink.sync((ADA, BEN, EVE))
    people = (replace(ADA, groups={}), replace(BEN, state="suspended"), replace(EVE, state="removed", groups={}))
    told = " ".join(side.sink.sync(people).changes)
    assert all(name in told for name in ("ada", "ben", "eve"))
    assert [side.look(name) for name in ("ada", "ben", "eve")] == [(True, frozenset()), (False, frozenset()), None]
    side.sink.sync((ADA, BEN))
    assert side.look("ben") == (True, {"lab"})


def test_who_is_held_stays_and_their_end_is_carried_out(side: Side) -> None:
    side.sink.sync((ADA, BEN))
    held = frozenset({"ada", "ben", "eve"})
    side.sink.sync((replace(ADA, groups={}), replace(BEN, state="suspended"), EVE), held)
    assert [side.look(name) for name in ("ada", "ben", "eve")] == [(True, {"lab"}), (False, frozenset()), None]
    side.sink.sync((EVE,), frozenset({"ada"}))
    assert side.look("ada") == (True, {"lab"}) and side.look("eve")


def test_a_plan_changes_nothing(side: Side) -> None:
    side.sink.sync((ADA,))
    assert len(side.sink.plan((ADA, BEN)).changes) >= 1
    assert side.look("ben") is None


def test_entries_of_others_in_an_existing_directory_are_left_alone_and_told(theirs: slapd.Running) -> None:
    before, sink = read(theirs), connect(theirs)
    bob, carla = account("bob", 20001, "lab"), account("carla", 20002, "lab")
    leader, ada = account("leader", 20003), account("ada", 20010, "lab", "guests")
    outcome = sink.sync((ada, bob, carla, leader))
    assert outcome.held == {"bob", "carla", "leader", "guests"}
    told = " / ".join(map(str, outcome.faults))
    for words in ("uid=bob,ou=people", "has uidNumber 20002 of uid=carla", "uid=leader,ou=people", "cn=guests,ou=groups"):
        assert words in told
    found = read(theirs)
    assert {dn: found[dn] for dn in before} == before
    assert found["cn=lab,ou=groups,dc=example,dc=org"]["memberUid"] == ["ada"]
    assert "uid=carla,ou=people,dc=example,dc=org" not in found and "cn=bob,ou=groups,dc=example,dc=org" not in found
    # the fault stays, also where only the changed are looked at, and goes with its cause
    assert sink.sync((replace(ada, title="Ada L"), bob, carla, leader)).held == outcome.held
    sink.sync(())
    assert read(theirs) == before


def test_values_that_others_add_to_our_entries_are_theirs(theirs: slapd.Running) -> None:
    import ldap

    sink = connect(theirs)
    sink.sync((ADA,))
    connection = ldap.initialize(theirs.plain)
    connection.simple_bind_s(slapd.BIND, slapd.SECRET)
    connection.modify_s(
        "uid=ada,ou=people,dc=example,dc=org", [(ldap.MOD_ADD, "l", [b"Hall 3"]), (ldap.MOD_REPLACE, "gecos", [b"x"])]
    )
    connection.unbind_s()
    assert connect(theirs).sync((ADA,)).changes == ("member ada: gecos x → ada",)
    assert read(theirs)["uid=ada,ou=people,dc=example,dc=org"]["l"] == ["Hall 3"]
    sink.sync(())


def test_an_entry_of_the_class_of_old_is_made_anew(theirs: slapd.Running) -> None:
    import ldap

    dn = "uid=ada,ou=people,dc=example,dc=org"
    connect(theirs).sync((ADA,))
    connection = ldap.initialize(theirs.plain)
    connection.simple_bind_s(slapd.BIND, slapd.SECRET)
    entry = read(theirs)[dn] | {"objectClass": ["account", "posixAccount", "shadowAccount"]}
    connection.delete_s(dn)
    connection.add_s(dn, [(key, [value.encode() for value in values]) for key, values in entry.items() if key != "sn"])
    connection.unbind_s()
    assert connect(theirs).sync((ADA,)).changes == ("member ada: deleted", f"member ada: added, number {ADA.uid}")
    assert "inetOrgPerson" in read(theirs)[dn]["objectClass"]
    assert connect(theirs).sync((ADA,)).changes == ()
    connect(theirs).sync(())


def test_starttls_and_its_faults(theirs: slapd.Running, tmp_path: Path) -> None:
    assert not connect(theirs, theirs.plain).plan(()).faults
    (tmp_path / "wrong").write_text("guessed")
    (tmp_path / "empty").write_text("\n")
    with slapd.make(existing=True) as stranger:
        other = str(stranger / "tls.crt")
        for uri in (theirs.uri, theirs.plain):
            with pytest.raises(FarmletError, match="cannot be reached"):
                connect(theirs, uri, ca=other).plan(())
    with pytest.raises(FarmletError, match="cannot be reached"):  # a name that is not in the certificate
        connect(theirs, theirs.uri.replace("localhost", "127.0.0.1")).plan(())
    with pytest.raises(FarmletError, match="refuses the password"):
        connect(theirs, password=str(tmp_path / "wrong")).plan(())
    with pytest.raises(FarmletError, match="is empty"):
        connect(theirs, password=str(tmp_path / "empty")).plan(())


def test_the_check_of_a_node_speaks_tls_to_both_ports(theirs: slapd.Running) -> None:
    port = int(theirs.plain.rpartition(":")[2])
    assert "TLS" in checks.check_tls("localhost", theirs.ca, theirs.port)
    assert "TLS" in checks.check_tls("localhost", theirs.ca, port, start=True)
    with pytest.raises(Failed):
        checks.check_tls("localhost", theirs.ca, port)


def test_a_server_of_rfc_2307bis_is_refused_by_name() -> None:
    with slapd.serve(existing=True, auxiliary=True) as running, pytest.raises(FarmletError, match="RFC 2307bis"):
        connect(running).sync((ADA,))


def test_without_its_subtrees_nothing_is_made(theirs: slapd.Running) -> None:
    from farmlet.parts.accounts.sink.directory import Directory

    sink = connect(theirs)
    lost = Directory(sink._server, replace(OTHER, subtrees=("ou=nowhere,dc=example,dc=org", OTHER.groups)))
    with pytest.raises(FarmletError, match="ou=nowhere,dc=example,dc=org is not there"):
        lost.sync((ADA,))


def test_names_and_titles_that_try_to_be_something_else(side: Side) -> None:
    titles = ["*)(uid=*", "a,ou=people", "\x00", "\ud800", "x" * 5000, "Zoë: root", "\u202e", "#", " "]
    people: Sequence[state.Account] = [account(f"m{n}", 21000 + n, "lab", title=title) for n, title in enumerate(titles)]
    outcome = side.sink.sync(people)
    assert not outcome.faults
    assert all(side.look(one.name) == (True, {"lab"}) for one in people)
    assert not side.sink.sync(people).changes


def test_a_server_that_was_restored_is_brought_in_order(ours: slapd.Running) -> None:
    import ldap

    sink = connect(ours)
    sink.sync((ADA, BEN))
    connection = ldap.initialize(ours.uri)
    connection.sasl_external_bind_s()
    connection.delete_s("uid=ada,ou=people,dc=farmlet,dc=test")
    assert not sink.sync((ADA, BEN)).changes  # it looks at what changed, and at all every five minutes
    sink._due = 0.0
    assert sink.sync((ADA, BEN)).changes == ("member ada: added, number 20010",)
    sink.sync(())
