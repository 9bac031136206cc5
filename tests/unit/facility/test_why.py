from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_rights import MEMBERSHIPS, PATHS, TABLES

from farmlet.errors import InputError
from farmlet.facility.explain import LISTS, PLAIN, Source, explain, parse
from farmlet.facility.rights import COMPUTE, GroupRights, Table
from farmlet.facility.scopes import grant

TABLE = Table(
    {
        "lab": GroupRights(login=True, batch_share=1, read=("/",), write=("/users/{user}",), line=10),
        "lab/production": GroupRights(write=("/data", "/data/raw"), line=20),
        "lab/production/night": GroupRights(write=("/data",), line=25),
        "lab/tape": GroupRights(stage=("/tape",), line=30),
        "lab/admins": GroupRights(administer=True, line=40),
    }
)


def ask(text: str, *groups: str, state: str = "active") -> tuple[bool, tuple[Source, ...], tuple[Source, ...], tuple[str, ...]]:
    found = explain(TABLE, "ada", groups or ("lab",), text, state)
    return found.allowed, found.sources, found.remedies, found.below


def test_yes_names_the_groups_and_lines() -> None:
    assert ask("login") == (True, (Source("lab", 10),), (), ())
    assert ask("storage:write:/users/ada/x") == (True, (Source("lab", 10),), (), ())
    assert ask("storage.modify:/data", "lab/production") == (True, (Source("lab/production", 20),), (), ())
    assert ask("storage:read:/tape", "lab/tape")[1] == (Source("lab", 10), Source("lab/tape", 30))
    assert ask("compute.create") == ask("batch") == (True, (Source("lab", 10),), (), ())


def test_no_names_what_would_give_it() -> None:
    production = (Source("lab/production", 20),)  # not its subgroup, which has it from there
    assert ask("storage:write:/data/run7/") == (False, (), production, ())
    assert ask("storage.create:/data") == (False, (), production, ())
    assert ask("storage.stage:/tape/x") == (False, (), (Source("lab/tape", 30),), ())
    assert ask("administer") == (False, (), (Source("lab/admins", 40),), ())
    assert ask("notebooks") == (False, (), (), ())
    assert ask("storage:write:/users/bob") == (False, (), (), ())


def test_a_part_of_the_path_is_told() -> None:
    assert ask("storage:write:/", "lab/production") == (False, (), (), ("/data", "/data/raw", "/users/ada"))
    assert ask("storage:write:/users") == (False, (), (), ("/users/ada",))


def test_who_is_suspended_may_nothing() -> None:
    assert ask("login", state="suspended") == (False, (Source("lab", 10),), (), ())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "fly",
        "storage",
        "storage:write",
        "storage:write:data",
        "storage.poll:/x",
        "storage:write:/a/../b",
        "compute.all",
        "read:/",
    ],
)
def test_unknown_rights(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(text)
    assert caught.value.hint


RIGHTS = st.sampled_from([*PLAIN, *COMPUTE]) | st.builds("storage:{}:{}".format, st.sampled_from(list(LISTS)), PATHS)


@given(TABLES, MEMBERSHIPS, RIGHTS)
def test_it_agrees_with_what_is_granted(table: Table, groups: set[str], text: str) -> None:
    answer, rights = explain(table, "ada", groups, text), table.of("ada", groups)
    scope = text.replace("storage:write", "storage:modify").replace("storage:", "storage.")
    granted = {
        "login": rights.login,
        "administer": rights.administer,
        "batch": rights.batch_group is not None,
        "notebooks": {rights.notebooks_cores, rights.notebooks_memory, rights.notebooks_servers} != {None},
        "scratch": rights.scratch is not None,
    }
    assert answer.allowed == granted.get(text, grant([scope], rights) == (scope,))
    assert answer.allowed == bool(answer.sources)
    # whoever joins a group that would give it has it
    assert all(explain(table, "ada", groups | {source.group}, text).allowed for source in answer.remedies)
    if not answer.allowed and not answer.remedies:
        assert not explain(table, "ada", table.groups, text).allowed
