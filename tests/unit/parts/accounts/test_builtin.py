"""A member out of what our own identity says by SCIM."""

from __future__ import annotations

from typing import Any

import pytest

from farmlet.errors import FarmletError
from farmlet.parts.accounts.builtin import EXTENSION, read


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
