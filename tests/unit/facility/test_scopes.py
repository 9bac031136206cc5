"""Scopes within scopes, the order of groups, who acts for whom: what is pure in the identity service."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farmlet.facility.paths import normalise, within
from farmlet.facility.scopes import intersect, order_groups
from farmlet.parts.identity.service.tokens.tokens import DEPTH, nest

HELD = ["lab", "lab/alarm", "lab/production"]


@pytest.mark.parametrize(
    ("asked", "claim"),
    [
        # the examples of the WLCG Common JWT Profile 1.1 §3.1
        ("wlcg.groups", ["/cms"]),
        ("wlcg.groups:/cms/uscms wlcg.groups:/cms/alarm", ["/cms/uscms", "/cms/alarm", "/cms"]),
        ("wlcg.groups:/cms/uscms wlcg.groups:/cms/alarm wlcg.groups", ["/cms/uscms", "/cms/alarm", "/cms"]),
        ("wlcg.groups wlcg.groups:/cms/uscms wlcg.groups:/cms/alarm", ["/cms", "/cms/uscms", "/cms/alarm"]),
        ("wlcg.groups:/cms wlcg.groups:/cms/uscms wlcg.groups:/cms/alarm", ["/cms", "/cms/uscms", "/cms/alarm"]),
        ("wlcg.groups:/cms/uscms wlcg.groups wlcg.groups:/cms/alarm", ["/cms/uscms", "/cms", "/cms/alarm"]),
        ("wlcg.groups:/cms/nowhere", ["/cms"]),
    ],
)
def test_order_of_groups(asked: str, claim: list[str]) -> None:
    optional = ["cms/uscms", "cms/alarm"]
    assert order_groups(asked.split(), ["cms", *optional], optional) == claim


def test_default_groups_come_in_the_order_of_the_file() -> None:
    assert order_groups(["wlcg.groups"], ["z", "a"]) == ["/z", "/a"]
    assert order_groups(["openid", "wlcg.groups:/a"], ["z", "a", "b"]) == ["/a", "/z", "/b"]


SCOPES = st.sampled_from(["wlcg.groups", "openid", *(f"wlcg.groups:/{path}" for path in [*HELD, "gone", "lab/x"])])


@given(st.lists(SCOPES), st.permutations(HELD), st.sets(st.sampled_from(HELD)))
def test_groups_of_a_token(asked: list[str], held: list[str], optional: set[str]) -> None:
    claim = order_groups(asked, held, optional)
    named = [scope.partition(":/")[2] for scope in asked]
    assert len(claim) == len(set(claim))
    assert {path[1:] for path in claim} == {path for path in held if path not in optional or path in named}
    first = next((scope for scope in asked if scope == "wlcg.groups" or scope.partition(":/")[2] in held), "")
    if ":" in first:
        assert claim[0] == first.partition(":")[2]


@pytest.mark.parametrize(
    ("asked", "held", "found"),
    [
        ("storage.read:/a/b openid", "openid storage.read:/a", "storage.read:/a/b openid"),
        ("storage.read:/", "storage.read:/b storage.read:/a", "storage.read:/b storage.read:/a"),
        ("storage.modify:/a", "storage.read:/", ""),
        ("storage.read:/ab", "storage.read:/a", ""),
        ("storage.read:/a/../b storage.read:/%61 storage.read://a storage.read", "storage.read:/", ""),
        ("compute.read compute.cancel", "compute.read", "compute.read"),
        ("wlcg.groups:/lab wlcg.groups:/lab/alarm", "wlcg.groups", "wlcg.groups:/lab"),
        ("wlcg.groups:/lab/alarm", "wlcg.groups wlcg.groups:/lab/alarm", "wlcg.groups:/lab/alarm"),
        ("wlcg.groups", "wlcg.groups:/lab", ""),
        ("wlcg.groups:/../lab wlcg.groups://lab wlcg.groups:/lab%2fx wlcg.groups:/Lab wlcg.groups:", "wlcg.groups", ""),
    ],
)
def test_intersect(asked: str, held: str, found: str) -> None:
    assert intersect(asked.split(), held.split(), ["lab/alarm"]) == tuple(found.split())


STEP = st.sampled_from(["a", "b", "ab"])
PATHS = st.lists(STEP, max_size=3).map(lambda steps: "/" + "/".join(steps))
STORED = st.lists(st.builds("storage.{}:{}".format, st.sampled_from(["read", "modify"]), PATHS) | SCOPES, max_size=5)


@given(STORED, STORED)
def test_intersect_is_within_both(asked: list[str], held: list[str]) -> None:
    found = intersect(asked, held)
    assert intersect(found, held) == found and intersect(found, asked) == found
    for scope in found:
        verb, _, path = scope.partition(":")
        for side in (asked, held):
            pairs = [other.partition(":") for other in side]
            covered = any(verb == other and normalise(way) and within(path, way) for other, _, way in pairs)
            assert covered or scope in side or "wlcg.groups" in side


@given(st.text(max_size=20))
def test_no_odd_scope_lies_within_a_wide_one(text: str) -> None:
    wide = ["storage.read:/", "wlcg.groups", "openid"]
    for scope in intersect([text, f"storage.read:{text}", f"wlcg.groups:{text}"], wide):
        assert scope.isascii() and "%" not in scope and "//" not in scope and not {".", ".."} & set(scope.split("/"))


def test_who_acts() -> None:
    first = nest("transfer", None)
    assert first == {"sub": "transfer"}
    second = nest("archive", first)
    assert second == {"sub": "archive", "act": {"sub": "transfer"}}
    assert nest("archive", second) == second  # who acts already is named once


def test_a_chain_of_programs_ends() -> None:
    act: dict[str, Any] | None = None
    for number in range(DEPTH):
        act = nest(f"client{number}", act)
        assert act is not None
    assert nest("one too many", act) is None
