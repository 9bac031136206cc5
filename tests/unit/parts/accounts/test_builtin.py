"""A member out of what our own identity says by SCIM."""

from __future__ import annotations

from typing import Any

import pytest

from farmlet.errors import FarmletError
from farmlet.parts.accounts.builtin import EXTENSION, FEW, Builtin, read
from farmlet.parts.accounts.scim import Missing


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
        self.feed: dict[str, Any] = {"cursor": 1, "changed": []}

    def users(self, path: str, count: int) -> list[dict[str, Any]]:
        self.asked.append("all")
        return list(self.there.values())

    def get(self, path: str, timeout: float = 15, **query: int) -> dict[str, Any]:
        if path.endswith("/changes"):
            return self.feed
        self.asked.append(path.rpartition("/")[2])
        if self.asked[-1] not in self.there:
            raise Missing(path, "is not there")
        return self.there[self.asked[-1]]


def test_after_a_change_only_those_of_whom_the_feed_tells_are_read() -> None:
    service = Service()
    source = Builtin(service)  # type: ignore[arg-type]
    source.wait(-1)
    assert len(source.members()) == 3
    service.feed = {"cursor": 3, "changed": ["sub-0", "sub-1"]}
    service.there["sub-0"][EXTENSION]["state"] = "suspended"
    del service.there["sub-1"]
    assert source.wait(1) == 3
    assert {member.name: member.state for member in source.members()} == {"u0": "suspended", "u2": "active"}
    assert service.asked == ["all", "sub-0", "sub-1"]


def test_everybody_is_read_when_in_doubt() -> None:
    service = Service()
    source = Builtin(service)  # type: ignore[arg-type]
    source.wait(-1)
    source.members()
    service.feed = {"cursor": 2, "changed": ["sub-0"]}
    source.wait(1)
    source.members()
    source.members()  # nobody waited
    service.feed = {"cursor": 2, "changed": ["sub-0"]}
    source.wait(9)  # a mark from the future: the database was restored
    source.members()
    service.feed = {"cursor": 2, "changed": []}  # nothing for a while
    source.wait(2)
    source.members()
    service.feed = {"cursor": 50, "changed": [f"sub-{n}" for n in range(FEW + 1)]}
    source.wait(2)
    source.members()
    assert service.asked == ["all", "sub-0", "all", "all", "all", "all"]


def test_who_could_not_be_read_is_read_again() -> None:
    service = Service()
    source = Builtin(service)  # type: ignore[arg-type]
    source.wait(-1)
    source.members()
    del service.there["sub-0"][EXTENSION]["state"]
    service.feed = {"cursor": 2, "changed": ["sub-0"]}
    source.wait(1)
    with pytest.raises(FarmletError):
        source.members()
    service.there["sub-0"][EXTENSION]["state"] = "suspended"
    source.wait(1)
    assert {member.name: member.state for member in source.members()}["u0"] == "suspended"
