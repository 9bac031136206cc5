"""Steps between two states of a directory, by properties: cut anywhere, among the entries of others."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from test_state import LAYOUT, TABLE, memberships, replay, user

from farmlet.parts.accounts.sink import state
from farmlet.parts.accounts.sink.difference import Change, diff, normalise
from farmlet.parts.accounts.source.membership import Member

PEOPLE, GROUPS = LAYOUT.people, LAYOUT.groups
FOREIGN = {
    f"uid=postgres,{PEOPLE}": {"uid": ("postgres",), "uidNumber": ("50",), "description": ("farmletish thing",)},
    f"cn=staff,{GROUPS}": {"objectClass": ("posixGroup",), "cn": ("staff",), "gidNumber": ("50",)},
    f"ou=robots,{PEOPLE}": {"ou": ("robots",), "description": ("not farmlet",)},
}


def entries(members: list[Member]) -> dict[str, state.Attributes]:
    return state.entries(state.read(members, TABLE).accounts, LAYOUT)


@given(memberships(), memberships(), st.data())
def test_cut_anywhere_and_begun_again_the_end_is_the_same(before: list[Member], after: list[Member], data: st.DataObject) -> None:
    wanted, there = entries(after), FOREIGN | entries(before)
    steps = diff(there.items(), wanted).changes
    cut = data.draw(st.integers(0, len(steps)))
    broken = replay(there, list(steps[:cut]))
    assert not {step.dn for step in steps} & FOREIGN.keys()
    assert replay(broken, list(diff(broken.items(), wanted).changes)) == FOREIGN | wanted


@given(memberships(), memberships())
def test_looking_at_what_changed_alone_does_the_same(before: list[Member], after: list[Member]) -> None:
    old, new = (state.read(members, TABLE).accounts for members in (before, after))
    names = {name for one in (*old, *new) if (one not in old) or (one not in new) for name in (one.name, *one.groups)}
    there = state.entries(old, LAYOUT)
    part = {dn: entry for dn, entry in there.items() if dn.partition(",")[0].partition("=")[2] in names}
    steps = diff(part.items(), state.entries(new, LAYOUT, names)).changes
    assert replay(there, list(steps)) == state.entries(new, LAYOUT)


@given(memberships(), st.sampled_from(["dn", "number", "uid", "group"]))
def test_an_entry_of_others_in_the_way_stops_one_member_alone(members: list[Member], how: str) -> None:
    alice = user("alice", 25000, ["lab"])
    others = [member for member in members if member.name != "alice"]
    foreign: tuple[str, state.Attributes] = {
        "dn": (f"uid=alice,{PEOPLE}", {"uid": ("alice",)}),
        "number": (f"uid=bob-x,{PEOPLE}", {"uid": ("bob-x",), "uidNumber": ("25000",)}),
        "uid": (f"cn=Alice,ou=staff,{PEOPLE}", {"uid": ("Alice",)}),
        "group": (f"cn=alice-x,{GROUPS}", {"objectClass": ("posixGroup",), "cn": ("alice-x",), "gidNumber": ("25000",)}),
    }[how]
    found = diff([foreign], entries([alice, *others]))
    after = replay({}, [change for change in found.changes if change.dn != foreign[0]])
    expected = entries(others)
    for dn, entry in expected.items():
        assert after[dn] == entry
    assert not any("alice" in entry.get("memberUid", ()) for entry in after.values())
    assert not {f"uid=alice,{PEOPLE}", f"cn=alice,{GROUPS}"} & {change.dn for change in found.changes}
    assert {name for fault in found.faults for name in fault.names} == {"alice"}
    assert foreign[0] in str(found.faults[0])


def test_who_is_held_stays_as_they_are_also_in_groups() -> None:
    there = entries([user("alice", 20000, ["lab"]), user("bob", 20001, ["lab"])])
    wanted = entries([user("bob", 20001, ["lab"], "suspended")])
    steps = diff(there.items(), wanted, held={"alice"}).changes
    after = replay(there, list(steps))
    assert after[f"uid=alice,{PEOPLE}"] == there[f"uid=alice,{PEOPLE}"]
    assert after[f"cn=lab,{GROUPS}"]["memberUid"] == ("alice",)


def test_changes_are_told_in_words() -> None:
    there = entries([user("alice", 20000, ["lab"], title="Alice A"), user("bob", 20001, ["lab"]), user("eve", 20002, [])])
    wanted = entries([user("alice", 20000, ["lab/production"], title="Alice B"), user("bob", 20001, ["lab"], "suspended")])
    assert [str(change) for change in diff(there.items(), wanted).changes] == [
        "group eve: deleted",
        "member eve: deleted",
        "member alice: cn Alice A → Alice B; gecos Alice A → Alice B; sn A → B",
        "member bob: shadowExpire none → 1",
        "group lab: -bob",
        "group lab-production: added, number 30001, 1 members",
    ]
    names = tuple(f"user{number}" for number in range(9))
    assert str(Change("modify", "cn=lab,ou=x", {"memberUid": names}, {})).endswith("+user4 +(4 more)")


def test_a_title_that_a_directory_would_refuse_is_made_one_it_takes() -> None:
    for title in ("\ud800", " ", "\x00\n", "a\u202eb"):
        person = entries([user("alice", 20000, [], title=title or "x")])[f"uid=alice,{PEOPLE}"]
        assert person["cn"][0].strip() and person["cn"][0].isprintable() and person["cn"][0].encode()


def test_servers_spell_names_their_own_way() -> None:
    assert normalise("uid=alice, OU=People,dc=Example,dc=org") == "uid=alice,ou=people,dc=example,dc=org"
