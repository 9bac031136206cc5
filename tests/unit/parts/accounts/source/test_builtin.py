"""A member out of what our own identity says by SCIM."""

from __future__ import annotations

from typing import Any

import pytest

from farmlet.errors import FarmletError
from farmlet.parts.accounts.source.builtin import EXTENSION, FEW, Builtin, read
from farmlet.parts.accounts.source.scim import Broken, Missing


def user(**extension: Any) -> dict[str, Any]:
    ours = {"uidNumber": 20003, "gidNumber": 20003, "state": "active", "groups": [{"path": "lab", "gidNumber": 30000}]}
    return {"id": "sub-1", "userName": "zoe", "displayName": "Zoë", "active": True, EXTENSION: ours | extension}


def test_a_member_as_identity_tells_them() -> None:
    member = read(user() | {"emails": [{"value": "zoe@example.org"}]})
    assert (member.sub, member.name, member.uid, member.title) == ("sub-1", "zoe", 20003, "Zoë")
    assert (member.state, dict(member.groups), member.email, member.service) == (
        "active",
        {"lab": 30000},
        "zoe@example.org",
        False,
    )


def test_who_was_registered_by_another_name_has_a_unix_name_beside_it() -> None:
    member = read(user(name="zoe-muller") | {"userName": "Zoë.Müller@example.org"})
    assert (member.name, member.username) == ("zoe-muller", "Zoë.Müller@example.org")


def test_service_members_and_those_whose_time_has_ended() -> None:
    assert read(user(kind="service")).service
    assert read(user() | {"active": False}).state == "expired"
    assert read(user(state="suspended") | {"active": False}).state == "suspended"


@pytest.mark.parametrize("missing", ["uidNumber", "state", "groups"])
def test_what_is_missing_is_told(missing: str) -> None:
    bad = user()
    del bad[EXTENSION][missing]
    with pytest.raises(FarmletError, match=f"member zoe: identity's entry lacks '{missing}'"):
        read(bad)


class Service:
    """Answers as identity's SCIM does, and remembers what it was asked."""

    issuer = "https://service.af.test"

    def __init__(self) -> None:
        self.there = {f"sub-{n}": user(uidNumber=20000 + n) | {"id": f"sub-{n}", "userName": f"u{n}"} for n in range(3)}
        self.asked: list[str] = []
        self.broken: set[str] = set()
        self.feed: dict[str, Any] = {"cursor": 1, "changed": []}

    def users(self, path: str, count: int) -> list[dict[str, Any]]:
        self.asked.append("all")
        return list(self.there.values())

    def get(self, path: str, timeout: float = 15, **query: int) -> dict[str, Any]:
        if path.endswith("/changes"):
            return {"removed": []} | self.feed
        self.asked.append(path.rpartition("/")[2])
        if self.asked[-1] in self.broken:
            raise Broken(path, "answers 500")
        if self.asked[-1] not in self.there:
            raise Missing(path, "is not there")
        return self.there[self.asked[-1]]


def test_after_a_change_only_those_of_whom_the_feed_tells_are_read() -> None:
    service = Service()
    source = Builtin(service)  # type: ignore[arg-type]
    source.wait(-1)
    assert len(source.read().members) == 3
    service.feed = {"cursor": 3, "changed": ["sub-0", "sub-1"]}
    service.there["sub-0"][EXTENSION]["state"] = "suspended"
    del service.there["sub-1"]
    assert source.wait(1) == 3
    assert {member.name: member.state for member in source.read().members} == {"u0": "suspended", "u2": "active"}
    assert service.asked == ["all", "sub-0", "sub-1"]


def test_everybody_is_read_when_in_doubt() -> None:
    service = Service()
    source = Builtin(service)  # type: ignore[arg-type]
    source.wait(-1)
    source.read()
    service.feed = {"cursor": 2, "changed": ["sub-0"]}
    source.wait(1)
    source.read()
    source.read()  # nobody waited
    service.feed = {"cursor": 2, "changed": ["sub-0"]}
    source.wait(9)  # a mark from the future: the database was restored
    source.read()
    service.feed = {"cursor": 2, "changed": []}  # nothing for a while
    source.wait(2)
    source.read()
    service.feed = {"cursor": 50, "changed": [f"sub-{n}" for n in range(FEW + 1)]}
    source.wait(2)
    source.read()
    assert service.asked == ["all", "sub-0", "all", "all", "all", "all"]


def test_who_cannot_be_read_is_told_and_read_again_while_the_others_are_known() -> None:
    service = Service()
    source = Builtin(service)  # type: ignore[arg-type]
    source.wait(-1)
    source.read()
    ours = service.there["sub-0"][EXTENSION]
    for odd in ({"state": "asleep"}, {"uidNumber": "7"}, {"uidNumber": 2**31}, {"groups": [{"path": 5, "gidNumber": 1}]}):
        service.there["sub-0"][EXTENSION] = ours | odd
        service.feed = {"cursor": 2, "changed": ["sub-0"]}
        source.wait(1)
        found = source.read()
        assert [member.name for member in found.members] == ["u1", "u2"]
        assert [(one.sub, one.who) for one in found.unread] == [("sub-0", "u0")]
    service.there["sub-0"][EXTENSION] = ours | {"state": "suspended"}
    service.feed = {"cursor": 3, "changed": []}
    source.wait(2)
    found = source.read()
    assert {member.name: member.state for member in found.members}["u0"] == "suspended" and not found.unread
    assert service.asked[-1] == "sub-0" and service.asked.count("all") == 1


def test_an_entry_that_identity_cannot_tell_costs_that_member_alone() -> None:
    service = Service()
    source = Builtin(service)  # type: ignore[arg-type]
    source.wait(-1)
    source.read()
    service.broken = {"sub-0"}
    service.there["sub-1"][EXTENSION]["state"] = "suspended"
    service.feed = {"cursor": 2, "changed": ["sub-0", "sub-1"]}
    source.wait(1)
    found = source.read()
    assert {member.name: member.state for member in found.members} == {"u1": "suspended", "u2": "active"}
    assert [one.who for one in found.unread] == ["u0"]


def test_what_is_shown_is_one_line() -> None:
    member = read(user() | {"displayName": "Zoë\x1b[2J\n\ud800 " + "x" * 500, "emails": [{"value": 7}]})
    assert member.title.startswith("Zoë [2J xxx") and len(member.title) == 200 and member.email == ""


def test_who_was_removed_is_told_by_the_feed_and_forgotten_with_the_database() -> None:
    service = Service()
    source = Builtin(service)  # type: ignore[arg-type]
    assert source.read().ended is None, "nobody has asked the feed"
    service.feed = {"cursor": 5, "changed": ["sub-0", "sub-7", "sub-8"], "removed": ["sub-7", "sub-8"]}
    source.wait(-1)
    assert source.read().ended == {"sub-7", "sub-8"}
    service.feed = {"cursor": 7, "changed": ["sub-8", "sub-1"], "removed": ["sub-1"]}
    source.wait(5)
    assert source.read().ended == {"sub-7", "sub-1"}
    service.feed = {"cursor": 3, "changed": ["sub-0"], "removed": ["sub-0"]}  # restored from before
    source.wait(7)
    assert source.read().ended == {"sub-0"}
