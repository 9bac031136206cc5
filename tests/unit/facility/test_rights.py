from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farmlet.errors import InputError
from farmlet.facility import rights
from farmlet.facility.names import MEMBER, ancestors
from farmlet.facility.paths import normalise, reduce, within
from farmlet.facility.rights import COMPUTE, GroupRights, Rights, Table, fill
from farmlet.facility.scopes import grant, scopes

TABLE = Table(
    {
        "lab": GroupRights(
            login=True,
            notebooks_cores=2,
            notebooks_memory=4 << 30,
            batch_share=1,
            read=("/",),
            write=("/users/{user}",),
        ),
        "lab/production": GroupRights(batch_share=10, write=("/data",), line=14),
        "lab/admins": GroupRights(administer=True),
        "guests": GroupRights(login=True, notebooks_cores=4, batch_share=1, read=("/open/",)),
    }
)


def test_a_subgroup_has_its_parents_rights() -> None:
    found = TABLE.of("ada", ["lab/production"])
    assert found == Rights(
        user="ada",
        groups=("lab", "lab/production"),
        login=True,
        administer=False,
        read=("/",),
        write=("/data", "/users/ada"),
        notebooks_cores=2,
        notebooks_memory=4 << 30,
        batch_group="lab/production",
        batch_share=10,
    )


def test_a_parent_has_not_its_subgroups_rights() -> None:
    found = TABLE.of("ada", ["lab"])
    assert (found.groups, found.administer, found.batch_group) == (("lab",), False, "lab")
    assert found.write == ("/users/ada",)


def test_a_subgroup_without_a_share_runs_in_its_parents_group() -> None:
    assert TABLE.of("ada", ["lab/admins"]).batch_group == "lab"


def test_equal_shares_go_to_the_first_of_the_table() -> None:
    assert TABLE.of("ada", ["guests", "lab"]).batch_group == "lab"


def test_sizes_take_the_maximum() -> None:
    found = TABLE.of("ada", ["guests", "lab"])
    assert (found.notebooks_cores, found.notebooks_memory) == (4, 4 << 30)
    table = Table({"a": GroupRights(home=2, scratch=5), "a/b": GroupRights(home=1), "c": GroupRights(home=3)})
    assert [(one.home, one.scratch) for one in (table.of("ada", groups) for groups in (["a/b"], ["c"], ["c", "a"]))] == [
        (2, 5),
        (3, None),
        (3, 5),
    ]


def test_write_implies_read() -> None:
    table = Table({"a": GroupRights(read=("/open",), write=("/data",))})
    assert table.of("ada", ["a"]).read == ("/data", "/open")


def test_to_stage_is_to_read_and_is_a_right_of_its_own() -> None:
    table = Table(
        {"lab": GroupRights(read=("/",)), "lab/tape": GroupRights(stage=("/tape/{user}",)), "reco": GroupRights(stage=("/t",))}
    )
    assert grant(["storage.stage:/"], table.of("ada", ["lab"])) == ()
    assert grant(["storage.stage:/"], table.of("ada", ["lab/tape"])) == ("storage.stage:/tape/ada",)
    assert scopes(table.of("ada", ["reco"])) == ("storage.read:/t", "storage.stage:/t")


def test_compute_scopes_come_with_a_batch_right() -> None:
    asked = ["compute.create", "compute.read", "compute.create:/x", "compute.all"]
    assert grant(asked, TABLE.of("ada", ["guests"])) == ("compute.create", "compute.read")
    without = Table({"lab": GroupRights(login=True)}).of("ada", ["lab"])
    assert grant(asked, without, frozenset(COMPUTE)) == ()


def test_optional_groups() -> None:
    table = Table({"lab": GroupRights(), "lab/alarm": GroupRights(optional=True), "lab/alarm/desk": GroupRights()})
    found = table.of("ada", ["lab/alarm/desk"])
    assert (found.groups, found.optional) == (("lab", "lab/alarm", "lab/alarm/desk"), ("lab/alarm",))


def test_a_table_of_an_earlier_version_is_read() -> None:
    entry = {"path": "lab", "login": True, "read": ["/"], "write": []}
    assert Table.from_json({"groups": [entry]}) == Table({"lab": GroupRights(login=True, read=("/",))})


@pytest.mark.parametrize("groups", [[], ["gone"], ["lab/gone"], ["la"], ["/lab"]])
def test_undeclared_groups_give_nothing(groups: list[str]) -> None:
    found = TABLE.of("ada", groups)
    assert found == Rights(user="ada", groups=(), batch_group=None)
    assert scopes(found) == ()
    assert grant(["storage.read:/"], found) == ()


@pytest.mark.parametrize("user", ["../root", "a/b", "", "Ada", "ada\n", "{user}"])
def test_a_name_that_is_no_name_gets_no_paths(user: str) -> None:
    with pytest.raises(InputError):
        TABLE.of(user, ["lab"])


def test_a_bad_pattern_gives_nothing() -> None:
    table = Table({"a": GroupRights(read=("/a/../b", "/ok"), write=("data", ""))})
    assert (table.of("ada", ["a"]).read, table.of("ada", ["a"]).write) == (("/ok",), ())


def test_scopes() -> None:
    assert scopes(TABLE.of("ada", ["lab"])) == (
        *COMPUTE,
        "storage.create:/users/ada",
        "storage.modify:/users/ada",
        "storage.read:/",
    )


@pytest.mark.parametrize(
    ("requested", "granted"),
    [
        ("storage.read:/data/x", ["storage.read:/data/x"]),
        ("storage.read:/data/", ["storage.read:/data"]),
        ("storage.read:/open", ["storage.read:/open"]),
        ("storage.modify:/users/bob", []),
        ("storage.modify:/users/ada/run1", ["storage.modify:/users/ada/run1"]),
        ("storage.modify:/users/adam", []),
        ("storage.create:/", ["storage.create:/data", "storage.create:/users/ada"]),
        ("storage.modify:/users", ["storage.modify:/users/ada"]),
        ("storage.modify:/data/../users/bob", []),
        ("storage.modify:/data//x", []),
        ("storage.modify:/data/%2e%2e", []),
        ("storage.modify:/data/./x", []),
        ("storage.read:data", []),
        ("storage.read:", []),
        ("storage.read", []),
        ("storage.stage:/data", []),
        ("storage.poll:/data", []),
        ("storage.read:/a b", []),
        ('storage.read:/a"b', []),
        ("storage.read:/a\\b", []),
        ("storage.read:/a\n", []),
        ("storage.read:/ä", []),
        ("read:/", []),
        ("openid", ["openid"]),
        ("wlcg.groups", []),
        ("storage.modify:/etc", []),
    ],
)
def test_grant(requested: str, granted: list[str]) -> None:
    found = TABLE.of("ada", ["lab/production"])
    other = frozenset({"openid", "storage.modify:/etc"})
    assert list(grant([requested], found, other)) == granted


def test_json_keeps_the_policy_and_the_order_but_not_the_lines() -> None:
    text = json.dumps(TABLE.to_json(), sort_keys=True)
    back = Table.from_json(json.loads(text))
    assert back == TABLE
    assert list(back.groups) == list(TABLE.groups)
    assert "line" not in text
    assert back.groups["lab/production"].line == 0


def test_a_line_is_no_part_of_the_policy() -> None:
    moved = Table({path: replace(group, line=99) for path, group in TABLE.groups.items()})
    assert moved == TABLE
    assert moved.to_json() == TABLE.to_json()


@pytest.mark.parametrize("path", ["", "a", "a/b", "//", "/a//b", "/..", "/a/..", "/./a", "/%2e", "/a\t", "/a b", "/a//"])
def test_no_plain_paths(path: str) -> None:
    assert normalise(path) is None


@pytest.mark.parametrize(("path", "plain"), [("/", "/"), ("/a/", "/a"), ("/a/b", "/a/b"), ("/.a/..b", "/.a/..b")])
def test_plain_paths(path: str, plain: str) -> None:
    assert normalise(path) == plain


def test_within_goes_by_steps() -> None:
    assert within("/data/x", "/data") and within("/data", "/data") and within("/x", "/") and within("/", "/")
    assert not within("/database", "/data") and not within("/", "/data")


@pytest.mark.parametrize("pattern", ["data", "/a/../b", "/{group}", "/{user", "/a b", "/%41", "", "/{{user}}"])
def test_bad_patterns(pattern: str) -> None:
    assert rights.check_pattern(pattern)


@pytest.mark.parametrize("pattern", ["/", "/data", "/users/{user}", "/scratch/{user}-tmp/"])
def test_good_patterns(pattern: str) -> None:
    assert rights.check_pattern(pattern) is None


def test_nodes_need_only_the_standard_library() -> None:
    code = (
        "import sys; import farmlet.facility.names, farmlet.facility.sizes; from farmlet.facility.rights import Table;"
        "outside = {'pydantic', 'ruamel', 'django'} & {name.partition('.')[0] for name in sys.modules};"
        "sys.exit(repr(outside) if outside else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# Properties. Few, short steps, so that paths often lie within each other.
STEP = st.sampled_from(["a", "b", "ab", "ada"])
PATHS = st.lists(STEP, max_size=3).map(lambda steps: "/" + "/".join(steps))
PATTERNS = st.lists(st.one_of(STEP, st.just("{user}")), max_size=3).map(lambda steps: "/" + "/".join(steps))
GROUPS = ["p", "p/q", "p/q/r", "s", "s/t"]
GROUP = st.builds(
    GroupRights,
    login=st.booleans(),
    administer=st.booleans(),
    notebooks_cores=st.none() | st.integers(1, 9),
    notebooks_memory=st.none() | st.integers(1, 9),
    notebooks_servers=st.none() | st.integers(1, 9),
    home=st.none() | st.integers(1, 9),
    scratch=st.none() | st.integers(1, 9),
    batch_share=st.none() | st.floats(0.5, 9),
    read=st.lists(PATTERNS, max_size=3).map(tuple),
    write=st.lists(PATTERNS, max_size=3).map(tuple),
    stage=st.lists(PATTERNS, max_size=3).map(tuple),
    optional=st.booleans(),
)
TABLES = st.fixed_dictionaries({path: GROUP for path in GROUPS}).map(Table)
MEMBERSHIPS = st.sets(st.sampled_from([*GROUPS, "gone", "p/gone"]))
VERBS = st.sampled_from(["storage.read", "storage.modify", "storage.create", "storage.stage", "compute.read"])
JUNK = st.sampled_from(["", "/a/..", "/a//b", "a", "/%61", "openid"])
REQUESTS = st.lists(st.builds("{}:{}".format, VERBS, PATHS | JUNK) | st.sampled_from(COMPUTE) | JUNK, max_size=6)


def covers(granted: tuple[str, ...], scope: str) -> bool:
    """Whether one of the scopes reaches at least as far as `scope`."""
    verb, _, path = scope.partition(":")
    return any(have == scope or (have.partition(":")[0] == verb and within(path, have.partition(":")[2])) for have in granted)


@given(TABLES, MEMBERSHIPS, REQUESTS, PATHS)
def test_grant_never_exceeds_the_rights_nor_the_request(table: Table, groups: set[str], requested: list[str], probe: str) -> None:
    found = table.of("ada", groups)
    granted = grant(requested, found)
    sound = [scope for scope in requested if normalise(scope.partition(":")[2]) or scope in COMPUTE]
    for verb in ("storage.read", "storage.modify", "storage.create", "storage.stage"):
        scope = f"{verb}:{probe}"
        # exactly the intersection, whichever path one looks at
        assert covers(granted, scope) == (covers(scopes(found), scope) and covers(tuple(sound), scope))
    assert all(covers(scopes(found), scope) and covers(tuple(sound), scope) for scope in granted)


@given(TABLES, MEMBERSHIPS, MEMBERSHIPS, REQUESTS)
def test_more_groups_never_give_less(table: Table, groups: set[str], more: set[str], requested: list[str]) -> None:
    few, many = table.of("ada", groups), table.of("ada", groups | more)
    assert set(few.groups) <= set(many.groups)
    assert many.login >= few.login and many.administer >= few.administer
    assert (many.notebooks_cores or 0) >= (few.notebooks_cores or 0)
    assert (many.notebooks_memory or 0) >= (few.notebooks_memory or 0)
    assert (many.notebooks_servers or 0) >= (few.notebooks_servers or 0)
    assert (many.home or 0) >= (few.home or 0) and (many.scratch or 0) >= (few.scratch or 0)
    lines = [table.groups[path] for path in many.groups]
    assert many.home == max((line.home for line in lines if line.home), default=None)
    assert (many.batch_share or 0) >= (few.batch_share or 0)
    assert all(covers(grant(requested, many), scope) for scope in grant(requested, few))


@given(TABLES, MEMBERSHIPS, REQUESTS)
def test_grant_is_idempotent(table: Table, groups: set[str], requested: list[str]) -> None:
    found = table.of("ada", groups)
    once = grant(requested, found, frozenset({"openid"}))
    assert grant(once, found, frozenset({"openid"})) == once
    assert grant(scopes(found), found) == scopes(found)


@given(TABLES, MEMBERSHIPS, REQUESTS, st.randoms())
def test_order_does_not_matter(table: Table, groups: set[str], requested: list[str], random: object) -> None:
    mixed, shuffled = sorted(groups), list(requested)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert table.of("ada", mixed) == table.of("ada", sorted(groups))
    found = table.of("ada", groups)
    assert set(grant(shuffled, found)) == set(grant(requested, found))


@given(TABLES, MEMBERSHIPS, REQUESTS, REQUESTS)
def test_to_ask_for_more_never_gives_less(table: Table, groups: set[str], requested: list[str], more: list[str]) -> None:
    found = table.of("ada", groups)
    assert set(grant(requested, found)) <= set(grant([*requested, *more], found))


@given(TABLES, MEMBERSHIPS, REQUESTS)
def test_grant_keeps_the_order_of_the_request(table: Table, groups: set[str], requested: list[str]) -> None:
    found = table.of("ada", groups)
    one_by_one = [scope for wanted in requested for scope in grant([wanted], found)]
    assert grant(requested, found) == tuple(dict.fromkeys(one_by_one))


@given(TABLES, MEMBERSHIPS)
def test_a_parents_rights_are_the_subgroups(table: Table, groups: set[str]) -> None:
    for path in groups:
        for above in ancestors(path) if path in table.groups else ():
            assert set(table.of("ada", [above]).groups) < set(table.of("ada", [path]).groups)
    assert table.of("ada", groups) == table.of("ada", table.of("ada", groups).groups)  # parents named add nothing


NAMES = st.from_regex(MEMBER, fullmatch=True)


@given(NAMES, NAMES, st.text(st.sampled_from("/abu.{}ser%"), max_size=12))
def test_user_never_escapes(user: str, other: str, text: str) -> None:
    """Whatever the pattern, a step with `{user}` gives a member's own name in that step and nothing above it."""
    pattern = f"/users/{{user}}{text}"
    for path in fill(user, [pattern]):
        assert path.startswith(f"/users/{user}") and path.count("/") >= 2
        assert not within("/users", path)
        if other != user and text[:1] in ("", "/"):
            assert not within(f"/users/{other}", path) and not within(path, f"/users/{other}")
    assert fill(user, ["/users/{user}"]) == {f"/users/{user}"}


@given(TABLES, MEMBERSHIPS, VERBS, st.text(max_size=12))
def test_odd_characters_are_never_granted(table: Table, groups: set[str], verb: str, text: str) -> None:
    granted = grant([f"{verb}:{text}", f"{verb}:/{text}", text], table.of("ada", groups), frozenset({"openid"}))
    for scope in granted:
        assert re.fullmatch(r"[!#-\[\]-~]+", scope)  # RFC 6749 §3.3
        assert "%" not in scope and "//" not in scope and not {"..", "."} & set(scope.split("/"))


@given(TABLES, MEMBERSHIPS)
def test_paths_are_minimal_and_write_lies_within_read(table: Table, groups: set[str]) -> None:
    found = table.of("ada", groups)
    for paths in (found.read, found.write):
        assert not any(a != b and within(a, b) for a in paths for b in paths)
        assert all(normalise(path) == path for path in paths)
    assert all(any(within(path, parent) for parent in found.read) for path in found.write)


@given(TABLES, MEMBERSHIPS)
def test_paths_are_those_of_the_patterns_with_the_name_filled_in(table: Table, groups: set[str]) -> None:
    found = table.of("ada", groups)
    lines = [table.groups[path] for path in found.groups]
    assert found.write == reduce(fill("ada", [pattern for line in lines for pattern in line.write]))
    assert found.read == reduce(fill("ada", [path for line in lines for path in (*line.read, *line.write, *line.stage)]))


@given(st.lists(PATHS), PATHS)
def test_reduce_covers_the_same(paths: list[str], probe: str) -> None:
    assert any(within(probe, path) for path in reduce(paths)) == any(within(probe, path) for path in paths)


@given(TABLES)
def test_json_round_trip(table: Table) -> None:
    assert Table.from_json(json.loads(json.dumps(table.to_json()))) == table
