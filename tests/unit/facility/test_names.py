from __future__ import annotations

from itertools import islice

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from farmlet.errors import InputError
from farmlet.facility import names


@pytest.mark.parametrize("name", ["jdoe", "j", "a" * 31, "anna-b_2"])
def test_good_members(name: str) -> None:
    assert names.check_member(name) is None


@pytest.mark.parametrize(
    "name",
    ["", "Jdoe", "2fast", "-x", "_x", "a" * 32, "j.doe", "j/doe", "jdoe\n", "jürgen", "root", "systemd-x", "nobody"],
)
def test_bad_members(name: str) -> None:
    assert names.check_member(name)


def test_a_member_must_not_bear_a_groups_name() -> None:
    assert names.check_member("lab-production", ["lab", "lab/production"])
    assert names.check_member("lab-other", ["lab", "lab/production"]) is None


@given(st.lists(st.text(max_size=40), max_size=30))
def test_whoever_comes_gets_a_name_of_their_own(texts: list[str]) -> None:
    taken: set[str] = set()
    for text in texts:
        name = names.derive_member(text, taken, ["lab/production"])
        assert name not in taken and names.check_member(name, ["lab/production"]) is None
        taken.add(name)


@given(st.from_regex(names.MEMBER, fullmatch=True))
def test_a_name_that_will_do_stays(name: str) -> None:
    if names.check_member(name) is None:
        assert names.derive_member(name, ()) == name


@pytest.mark.parametrize("path", ["lab", "lab/production", "a/b/c", "lab/2024", "x-y_z"])
def test_good_groups(path: str) -> None:
    assert names.check_group(path) is None
    assert names.unix_group(path) == path.replace("/", "-")


@pytest.mark.parametrize("path", ["", "/lab", "lab/", "lab//x", "lab/../x", "Lab", "docker", "lab\n", "a/" + "b" * 31])
def test_bad_groups(path: str) -> None:
    assert names.check_group(path)
    with pytest.raises(InputError):
        names.unix_group(path)


def test_collisions_name_the_later_path_first() -> None:
    assert names.find_collisions(["a", "a/b", "c", "a-b"]) == [("a-b", "a/b")]
    assert names.find_collisions(["a-b", "a_b"]) == [("a_b", "a-b")]
    assert names.find_collisions(["a-b/c", "a/b-c", "a/b/c"]) == [("a/b-c", "a-b/c"), ("a/b/c", "a-b/c")]


@given(st.sets(st.from_regex(r"[ab]([-_][ab])?(/[ab]([-_][ab])?){0,2}", fullmatch=True)))
def test_groups_are_injective_or_found(paths: set[str]) -> None:
    collisions = names.find_collisions(sorted(paths))
    left = paths - {path for path, _ in collisions}
    assert len({names.accounting_group(path) for path in paths}) + len(collisions) == len(paths)
    assert len({names.unix_group(path) for path in left}) == len(left)


def test_ancestors() -> None:
    assert names.ancestors("a/b/c") == ("a", "a/b")
    assert names.ancestors("a") == ()


@pytest.mark.parametrize("name", ["head", "h2", "a-b", "a" * 63])
def test_good_hosts(name: str) -> None:
    assert names.check_host(name) is None


@pytest.mark.parametrize("name", ["", "Head", "2h", "a-", "a.b", "a_b", "a" * 64, "head\n"])
def test_bad_hosts(name: str) -> None:
    assert names.check_host(name)


@pytest.mark.parametrize("address", ["af1.example.org", "192.0.2.7", "2001:db8::7", "head", "1.example.org"])
def test_good_addresses(address: str) -> None:
    assert names.check_address(address) is None


@pytest.mark.parametrize("address", ["", "af1 .org", "af_1.org", "a..b", "192.0.2", "192.0.2.300", "http://x", "-a.org"])
def test_bad_addresses(address: str) -> None:
    assert names.check_address(address)


@pytest.mark.parametrize(("name", "good"), [("lab", True), ("a" * 21, True), ("a" * 22, False), ("a_b", False), ("", False)])
def test_facilities(name: str, good: bool) -> None:
    assert (names.check_facility(name) is None) is good


@given(st.text(max_size=60))
def test_derived_members_have_unix_names(text: str) -> None:
    # a name that is cut short and ends in a number may be another's too; there are always further ones
    found = list(islice(names.derive_members(text), 24))
    assert len(set(found)) >= 12
    assert all(names.MEMBER.fullmatch(name) for name in found)


@given(st.text(alphabet=st.sampled_from("aZ9é/ -_.:"), max_size=60))
@example("9" * 31)
def test_derived_groups_have_paths(text: str) -> None:
    # as with members: one that is cut short and ends in a number may come twice
    paths = list(islice(names.derive_groups(text), 24))
    assert len(set(paths)) >= 12
    assert all(names.GROUP.fullmatch(path) and len(path) <= names.UNIX_GROUP_LENGTH for path in paths)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Zoë.Müller@example.org", "zoe-muller"),
        ("jdoe", "jdoe"),
        ("007", "u007"),
        ("@x", "x"),
        ("日本", "member"),
        ("", "member"),
        ("systemd-run", "usystemd-run"),  # no name that begins so will do
    ],
)
def test_derived_members_are_near(text: str, name: str) -> None:
    assert next(names.derive_members(text)) == name


def test_derived_groups_are_near() -> None:
    assert list(islice(names.derive_groups("Lab/Muon Group"), 2)) == ["lab/muon-group", "lab/muon-group2"]


@pytest.mark.parametrize("text", ["systemd-run", "Systemd/Run", "systemd--x", "systemd"])
def test_a_derived_group_is_never_one_of_systemd(text: str) -> None:
    assert next(path for path in islice(names.derive_groups(text), 3) if names.check_group(path) is None)
