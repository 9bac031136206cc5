"""The wanted state of the directory and the steps towards it, by properties."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farmlet.facility.names import MEMBER, check_member
from farmlet.facility.rights import GroupRights, Table
from farmlet.parts.accounts.sink import state
from farmlet.parts.accounts.sink.difference import Change, diff
from farmlet.parts.accounts.source.membership import Member, State
from farmlet.runtime.rows import dump

TABLE = Table({"lab": GroupRights(login=True, notebooks_cores=2), "lab/production": GroupRights(), "guests": GroupRights()})
GIDS = {"lab": 30000, "lab/production": 30001, "guests": 30002}
LAYOUT = state.Layout("dc=farmlet,dc=test", "/home", "/bin/bash")
STATES: tuple[State, ...] = ("pending", "active", "suspended", "expired", "removed")


def user(name: str, uid: int, groups: list[str], member_state: State = "active", title: str = "") -> Member:
    closed = sorted({parent for path in groups for parent in (path, path.split("/")[0])})
    return Member(f"sub-{uid}", name, uid, uid, title or name, member_state, {path: GIDS[path] for path in closed})


@st.composite
def memberships(draw: st.DrawFn) -> list[Member]:
    free = st.from_regex(MEMBER, fullmatch=True).filter(lambda name: check_member(name, GIDS) is None)
    names = draw(st.lists(free, unique=True, max_size=6))
    return [
        user(
            name,
            20000 + index,
            draw(st.lists(st.sampled_from(list(GIDS)), unique=True)),
            draw(st.sampled_from(STATES)),
            draw(st.text(max_size=20)),
        )
        for index, name in enumerate(names)
    ]


def changes(found: Mapping[str, state.Attributes], wanted: Mapping[str, state.Attributes]) -> list[Change]:
    return list(diff(found.items(), wanted).changes)


def listing(accounts: Sequence[state.Account], layout: state.Layout) -> bytes:
    return dump(state.list_rows(accounts, layout))


def replay(found: dict[str, state.Attributes], changes: list[Change]) -> dict[str, state.Attributes]:
    """The directory after the changes, by the rules of a directory: parents first, nothing twice."""
    after = {dn: dict(attributes) for dn, attributes in found.items()}
    for change in changes:
        if change.kind == "add":
            parent = change.dn.partition(",")[2]
            assert change.dn not in after
            assert parent in after or change.dn == LAYOUT.base
            after[change.dn] = dict(change.attributes)
        elif change.kind == "delete":
            del after[change.dn]
        else:
            merged = {**after[change.dn], **change.attributes}
            after[change.dn] = {name: values for name, values in merged.items() if values}
    return dict(after)


@given(memberships(), memberships())
def test_the_changes_lead_from_any_state_to_the_wanted_one(before: list[Member], after: list[Member]) -> None:
    found = state.entries(state.read(before, TABLE).accounts, LAYOUT)
    wanted = state.entries(state.read(after, TABLE).accounts, LAYOUT)
    assert replay(found, changes(found, wanted)) == wanted
    assert changes(wanted, wanted) == []


@given(memberships())
def test_only_active_members_are_in_groups_and_the_others_are_expired(users: list[Member]) -> None:
    entries = state.entries(state.read(users, TABLE).accounts, LAYOUT)
    active = {item.name for item in users if item.state == "active"}
    present = {item.name for item in users if item.state in ("active", "suspended", "expired")}
    people = {dn: entry for dn, entry in entries.items() if dn.startswith("uid=")}
    assert {entry["uid"][0] for entry in people.values()} == present
    for entry in people.values():
        assert ("shadowExpire" in entry) == (entry["uid"][0] not in active)
        assert entry["gecos"][0].isascii()
        assert not set(entry["gecos"][0]) & set(":,\n")
    for entry in entries.values():
        assert set(entry.get("memberUid", ())) <= active


@given(memberships())
def test_entries_of_others_are_never_touched(users: list[Member]) -> None:
    others = {"uid=postgres,ou=people,dc=farmlet,dc=test": {"uid": ("postgres",), "description": ("farmletish thing",)}}
    entries = state.entries(state.read(users, TABLE).accounts, LAYOUT)
    found = others | entries if "uid=postgres,ou=people,dc=farmlet,dc=test" not in entries else entries
    assert not {change.dn for change in changes(found, state.entries((), LAYOUT))} & set(others.keys() - entries.keys())


def test_a_member_of_a_subgroup_is_in_both_unix_groups() -> None:
    entries = state.entries(state.read([user("alice", 20000, ["lab/production"], title="Älice, B: C")], TABLE).accounts, LAYOUT)
    assert entries["cn=lab-production,ou=groups,dc=farmlet,dc=test"]["memberUid"] == ("alice",)
    assert entries["cn=lab,ou=groups,dc=farmlet,dc=test"]["memberUid"] == ("alice",)
    assert entries["cn=alice,ou=groups,dc=farmlet,dc=test"]["gidNumber"] == ("20000",)
    assert entries["uid=alice,ou=people,dc=farmlet,dc=test"]["gecos"] == ("Alice B C",)


def test_the_listing_says_who_may_log_in() -> None:
    users = [user("alice", 20000, ["lab"]), user("bob", 20001, ["guests"]), user("carol", 20002, ["lab"], "suspended")]
    rows = json.loads(listing(state.read([*users, user("dan", 20003, ["lab"], "pending")], TABLE).accounts, LAYOUT))
    assert [(row["name"], row["state"], row["login"]) for row in rows] == [
        ("alice", "active", True),
        ("bob", "active", False),
        ("carol", "suspended", True),
    ]
    numbers = {"name": "alice", "sub": "sub-20000", "uid": 20000, "gid": 20000}
    assert rows[0] | {"groups": []} == numbers | {
        "home": "/home/alice",
        "groups": [],
        "state": "active",
        "login": True,
        "sessions": {},
        "batch": [],
        "space": {},
        "notebooks": {"cores": 2},
        "administer": False,
        "left": 0,
    }


@pytest.mark.parametrize(
    "name",
    [
        "",
        "root/..",
        "../",
        "uid=x,ou=y",
        "A",
        "a b",
        "a" * 200,
        "zoë",
        "\u0430da",
        "a*)(uid=*",
        "a\n",
        "root",
        "docker",
        "systemd-x",
    ],
)
def test_a_name_that_could_be_something_else_is_refused_and_the_others_are_served(name: str) -> None:
    found = state.read([user(name, 20000, ["lab"]), user("ada", 20001, ["lab"])], TABLE)
    assert [account.name for account in found.accounts] == ["ada"]
    assert len(found.faults) == 1


def test_a_group_without_number_is_told() -> None:
    alice = replace(user("alice", 20000, ["lab/production"]), groups={"lab/production": 30001})
    found = state.read([alice], TABLE)
    assert [dict(account.groups) for account in found.accounts] == [{"lab-production": 30001}]
    assert "left out of lab:" in str(found.faults[0])


def test_only_who_may_log_in_now_is_found_by_whose_account_it_is() -> None:
    layout = replace(LAYOUT, issuer="https://iam.example.org/")
    robot = replace(user("robot", 20003, ["lab"]), service=True)
    users = [user("ada", 20000, ["lab"]), user("ben", 20001, ["guests"]), user("eve", 20002, ["lab"], "suspended"), robot]
    found = state.entries(state.read(users, TABLE).accounts, layout)
    told = {entry["uid"][0]: entry["labeledURI"] for entry in found.values() if "labeledURI" in entry}
    assert told == {"ada": ("sub-20000@https%3A%2F%2Fiam.example.org%2F",)}
    assert state.identify("a@b/c", "https://x") == "a%40b%2Fc@https%3A%2F%2Fx"


def test_an_entry_of_the_class_of_old_is_made_anew() -> None:
    wanted = state.entries(state.read([user("ada", 20000, ["lab"]), user("ben", 20001, ["lab"])], TABLE).accounts, LAYOUT)
    dn = f"uid=ada,{LAYOUT.people}"
    old = {**wanted[dn], "objectClass": ("account", "posixAccount", "shadowAccount")}
    found = {**wanted, dn: {name: values for name, values in old.items() if name != "sn"}}
    steps = changes(found, wanted)
    assert [(step.kind, step.dn) for step in steps] == [("delete", dn), ("add", dn)]
    assert replay(found, steps) == wanted
    assert not diff(found.items(), wanted, held=frozenset({"ada"})).changes


def test_nobody_logs_in_to_a_service_member() -> None:
    robot = replace(user("robot", 20001, ["lab"]), service=True)
    people = state.read([robot, user("ada", 20002, ["lab"])], TABLE).accounts
    assert [(account.name, account.service, account.login) for account in people] == [
        ("ada", False, True),
        ("robot", True, False),
    ]
    found = state.entries(people, LAYOUT)
    assert found[f"uid=robot,{LAYOUT.people}"]["loginShell"] == ("/usr/sbin/nologin",)
    assert found[f"uid=ada,{LAYOUT.people}"]["loginShell"] == (LAYOUT.shell,)
    assert found[f"cn=lab,{LAYOUT.groups}"]["memberUid"] == ("ada", "robot")  # it owns files as one of its groups
    rows = json.loads(listing(people, LAYOUT))
    assert [(row["name"], row["login"]) for row in rows] == [("ada", True), ("robot", False)]
