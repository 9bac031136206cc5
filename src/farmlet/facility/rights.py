"""The rights table: what membership of a group gives, how rights combine (the token scopes they amount to: `scopes`).

Standard library only: the identity service and the node agents read the table as JSON.

How rights combine (for one member, over all groups): a subgroup has its parents' rights; paths are united, sizes take
the maximum, booleans are "any". To write a path or to stage from it is to read it too: nobody checks an upload they
cannot see. `optional` is the group's own: it says nothing about the groups below.
A group that is not in the table gives nothing, not even its parents' rights: what was taken out of the file is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, Self

from farmlet.errors import InputError
from farmlet.facility.names import MEMBER, ancestors
from farmlet.facility.paths import normalise, reduce

USER = "{user}"
# what a batch right gives (WLCG Common JWT Profile): these name no path and no owner
COMPUTE = ("compute.cancel", "compute.create", "compute.modify", "compute.read")


@dataclass(frozen=True)
class Right:
    """One right that a line of the table may give, as everything else reads it.

    `field` in `GroupRights` and `Rights`; `key` in the facility file, below `groups.PATH`; `combine`: how the lines of several
    groups become one; `scopes` that it puts into tokens, for paths the path follows; `scim`: the attribute that shows it to
    programs; `words`: what a member with it may do, `{}` is the value, in bytes for a `size`.
    """

    field: str
    key: str
    combine: Literal["any", "largest", "united"]
    words: str
    scopes: tuple[str, ...] = ()
    scim: str = ""
    size: bool = False


RIGHTS = (
    Right("login", "login", "any", "log in"),
    Right("administer", "administer", "any", "administer the facility", scim="authorities"),
    Right("publish", "publish", "any", "show images of their own to all members"),
    Right("session_cores", "sessions.cores", "largest", "use {} cores of a node in sessions"),
    Right("session_memory", "sessions.memory", "largest", "use {} of a node's memory in sessions", size=True),
    Right("session_tasks", "sessions.tasks", "largest", "run {} processes and threads on a node"),
    Right("home", "home", "largest", "keep {} in their home", size=True),
    Right("scratch", "scratch", "largest", "keep {} in scratch", size=True),
    Right("notebooks_cores", "notebooks.cores", "largest", "start a notebook with {} cores"),
    Right("notebooks_memory", "notebooks.memory", "largest", "start a notebook with {} of memory", size=True),
    Right("notebooks_servers", "notebooks.servers", "largest", "run {} notebooks at a time"),
    Right("batch_share", "batch.share", "largest", "run jobs, with a share of {}", COMPUTE, scim="scopes"),
    Right("read", "storage.read", "united", "read {}", ("storage.read",), "scopes"),
    # modify overwrites and deletes, create only adds, so that a job can ask for the lesser one
    Right("write", "storage.write", "united", "write {}", ("storage.modify", "storage.create"), "scopes"),
    Right("stage", "storage.stage", "united", "bring back {} from tape", ("storage.stage",), "scopes"),
)
PATHS = tuple(right.field for right in RIGHTS if right.combine == "united")


@dataclass(frozen=True)
class Values:
    """A value for each of RIGHTS. Memory in bytes.

    `session_…`: what all that runs for a member on one node may use. `home`, `scratch`: what their folders may hold, where
    the file system has limits; without `scratch` there is no such folder. `stage`: paths that may be brought back from tape.
    """

    login: bool = False
    administer: bool = False
    publish: bool = False
    session_cores: int | None = None
    session_memory: int | None = None
    session_tasks: int | None = None
    home: int | None = None
    scratch: int | None = None
    notebooks_cores: int | None = None
    notebooks_memory: int | None = None
    notebooks_servers: int | None = None
    batch_share: float | None = None
    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    stage: tuple[str, ...] = ()


@dataclass(frozen=True)
class GroupRights(Values):
    """One line of the table; its paths are patterns that may hold `{user}`.

    An `optional` group stands in a token only when asked for by name. `line` says where in the facility file it stands (for
    `explain`); it is no part of the policy, so it is neither compared nor sent to nodes: a comment added to the file must not
    restart a service.
    """

    optional: bool = False
    line: int = field(default=0, compare=False)


@dataclass(frozen=True, kw_only=True)
class Rights(Values):
    """What one member may do. Paths are absolute, normalised, sorted, and none lies within another of its set.

    `groups`: all groups with their parents, in table order; `optional`: those of them that are. `batch_group`: the
    accounting group a job runs in unless it names another; None without a batch right.
    """

    user: str
    groups: tuple[str, ...]
    batch_group: str | None
    optional: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """Rights by group path, in the order of the facility file."""

    groups: Mapping[str, GroupRights] = field(hash=False)
    _combined: dict[frozenset[str], _Combined] = field(default_factory=dict, init=False, repr=False, compare=False)

    def to_json(self) -> dict[str, Any]:
        """`{"groups": [{"path": "lab", "login": true, …}, …]}`; a list, since the order of the groups counts."""
        names = [item.name for item in fields(GroupRights) if item.name != "line"]
        return {
            "groups": [
                {"path": path} | {name: _jsonable(getattr(rights, name)) for name in names}
                for path, rights in self.groups.items()
            ]
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`. Raises KeyError or TypeError for anything else."""
        groups: dict[str, GroupRights] = {}
        for entry in data["groups"]:
            values = dict(entry)
            path = values.pop("path")
            groups[path] = GroupRights(**values | {name: tuple(values.get(name, ())) for name in PATHS})
        return cls(groups)

    def of(self, user: str, groups: Iterable[str]) -> Rights:
        """The combined rights of the member `user` of `groups` (paths). Raises InputError for a bad name.

        The batch group is the group of the highest share; of equal shares, the first in the table.
        """
        if not MEMBER.fullmatch(user):  # it becomes part of paths
            raise InputError(f"member {user!r}", "not a UNIX name", "names are like jdoe: a-z, 0-9, _ and -")
        return self._combine(frozenset(groups)).of(user)

    def shares(self, groups: Iterable[str]) -> dict[str, float]:
        """The batch shares of the groups (paths) that jobs may run in whose owner is in `groups`, the highest first."""
        return dict(self._combine(frozenset(groups)).shares)

    def common(self, groups: Iterable[str]) -> Rights:
        """What all who are in exactly these groups have alike: their rights but for user and paths, which are empty."""
        return self._combine(frozenset(groups)).rights

    def _combine(self, groups: frozenset[str]) -> _Combined:
        """The rights of whoever is in exactly these groups; worked out once, for a list of members asks often."""
        if (known := self._combined.get(groups)) is not None:
            return known
        held = {path for group in groups if group in self.groups for path in (*ancestors(group), group)}
        granted = {path: rights for path, rights in self.groups.items() if path in held}
        found = {path: line.batch_share for path, line in granted.items() if line.batch_share is not None}
        shares = dict(sorted(found.items(), key=lambda item: -item[1]))  # a stable sort: of equals the first in the table
        batch = next(iter(shares), None)
        values = {
            right.field: COMBINE[right.combine](getattr(line, right.field) for line in granted.values())
            for right in RIGHTS
            if right.combine in COMBINE
        }
        rights = Rights(
            user="",
            groups=tuple(granted),
            batch_group=batch,
            optional=tuple(path for path, line in granted.items() if line.optional),
            **values,
        )
        write, stage, read = (
            {plain for rights in granted.values() for plain in map(normalise, getattr(rights, name)) if plain is not None}
            for name in ("write", "stage", "read")
        )
        combined = _Combined(rights, reduce(read | write | stage), reduce(write), reduce(stage), shares)
        return self._combined.setdefault(groups, combined)


@dataclass(frozen=True)
class _Combined:
    """`rights` without a user and paths, and the patterns of the paths, normalised: no member's name changes that.

    A pattern within another one stays within it whatever the name, so the patterns are reduced too; a name may bring
    more together (`/users/{user}` and `/users/jdoe`).
    """

    rights: Rights
    read: tuple[str, ...]
    write: tuple[str, ...]
    stage: tuple[str, ...]
    shares: Mapping[str, float]

    def of(self, user: str) -> Rights:
        read, write, stage = (
            reduce(pattern.replace(USER, user) for pattern in patterns) for patterns in (self.read, self.write, self.stage)
        )
        return replace(self.rights, user=user, read=read, write=write, stage=stage)


def check_pattern(pattern: str) -> str | None:
    """What is wrong with a path of the facility file, which may hold `{user}`; None when it can be used."""
    if not pattern.startswith("/"):
        return f"{pattern!r} is not an absolute path"
    filled = pattern.replace("{user}", "user")
    if "{" in filled or "}" in filled:
        return f"{pattern!r} has braces; only {{user}} is filled in"
    if normalise(filled) is None:
        return f"{pattern!r} has `.` or `..`, an empty step, `%`, or a character that a token scope cannot carry"
    return None


def fill(user: str, patterns: Iterable[str]) -> set[str]:
    """Patterns as normalised paths of `user`. A pattern the loader would have refused gives nothing."""
    return {path for pattern in patterns if (path := normalise(pattern.replace(USER, user))) is not None}


def _largest(sizes: Iterable[float | None]) -> float | None:
    return max((size for size in sizes if size is not None), default=None)


COMBINE: Mapping[str, Callable[[Iterable[Any]], Any]] = {"any": any, "largest": _largest}


def _jsonable(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
