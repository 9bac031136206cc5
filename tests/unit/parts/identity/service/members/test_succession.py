"""Who owns service members, after whatever happens to people and groups."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from farmlet.facility.names import ancestors
from farmlet.facility.rights import GroupRights, Table
from farmlet.parts.identity.service.members.succession import find_staffed, succeed

PATHS = ("lab", "lab/production", "lab/production/night", "lab/admins", "guests", "staff")
TABLE = Table({path: GroupRights(administer=path in ("lab/admins", "staff")) for path in PATHS})


def test_the_line_of_succession() -> None:
    assert succeed("lab/production", find_staffed(TABLE, PATHS), TABLE) == "lab/production"
    # who is in a group below is one of it
    assert succeed("lab/production", find_staffed(TABLE, ["lab/production/night"]), TABLE) == "lab/production"
    assert succeed("lab/production/night", find_staffed(TABLE, ["lab/production"]), TABLE) == "lab/production"
    assert succeed("lab/production", find_staffed(TABLE, ["lab/admins", "guests"]), TABLE) == "lab"
    assert succeed("guests", find_staffed(TABLE, ["staff", "lab/production"]), TABLE) == "staff"
    assert succeed("guests", find_staffed(TABLE, ["staff", "lab/admins"]), TABLE) == "lab/admins"  # the first of the table
    assert succeed("guests", find_staffed(TABLE, ["lab/production"]), TABLE) is None
    assert succeed("guests", find_staffed(TABLE, []), TABLE) is None


def test_a_group_that_left_the_table_has_nobody() -> None:
    assert find_staffed(TABLE, ["gone", "gone/below", "lab/gone"]) == frozenset()
    assert succeed("lab/gone", find_staffed(TABLE, ["lab/gone", "lab"]), TABLE) == "lab"


@given(st.sampled_from(PATHS), st.sets(st.sampled_from(PATHS)))
def test_an_owner_has_somebody_and_is_the_nearest(owner: str, groups: set[str]) -> None:
    staffed = find_staffed(TABLE, groups)
    found = succeed(owner, staffed, TABLE)
    if found is None:
        assert not staffed & {owner, *ancestors(owner), "lab/admins", "staff"}
        return
    assert any(group == found or group.startswith(f"{found}/") for group in groups)
    assert owner not in staffed or found == owner
    assert not any(found in ancestors(step) for step in staffed & {owner, *ancestors(owner)})
    assert succeed(found, staffed, TABLE) == found  # what was settled stays


MOVES = st.tuples(
    st.sampled_from(("suspend", "resume", "join", "leave")),
    st.sampled_from(("ada", "bo", "cy")),
    st.sampled_from(PATHS),
)


@given(st.lists(MOVES, max_size=30), st.sampled_from(PATHS))
def test_after_any_moves_who_is_active_is_owned(moves: list[tuple[str, str, str]], first: str) -> None:
    people: dict[str, set[str]] = {"ada": {first}, "bo": set(), "cy": {"lab/admins"}}
    active = set(people)
    owner: str | None = first
    for verb, name, path in moves:
        {"suspend": active.discard, "resume": active.add}.get(verb, lambda _: None)(name)
        {"join": people[name].add, "leave": people[name].discard}.get(verb, lambda _: None)(path)
        held = {group for person in active for group in people[person]}
        owner = owner and succeed(owner, find_staffed(TABLE, held), TABLE)
        assert owner is None or any(group == owner or group.startswith(f"{owner}/") for group in held)
