"""Why a member may do something or not: which lines of the rights table give it, or would. Standard library only."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from farmlet.errors import InputError
from farmlet.facility.names import ancestors
from farmlet.facility.paths import normalise, within
from farmlet.facility.rights import COMPUTE, RIGHTS, GroupRights, Table, fill

PLAIN = ("login", "administer", "publish", "batch", "notebooks", "scratch")
# what may be asked about a path → the lists of the table that give it
LISTS = {
    "read": ("read", "write", "stage"),
    "write": ("write",),
    "modify": ("write",),
    "create": ("write",),
    "stage": ("stage",),
}
KNOWN = f"{', '.join(PLAIN)}, storage:write:/PATH (read, write, stage) or a token's scope like storage.modify:/PATH"


@dataclass(frozen=True)
class Right:
    """What is asked about: one of PLAIN, or `verb` of LISTS with a normalised path."""

    verb: str
    path: str = ""


@dataclass(frozen=True)
class Source:
    """A group whose own entry, on `line` of the facility file, gives a right."""

    group: str
    line: int


@dataclass(frozen=True)
class Answer:
    """Whether a member has a right.

    `sources`: what gives it; `remedies`: groups the member is not in that would; `below`: paths within the one asked about
    for which the answer is yes; `state`: the membership's, which alone is a no unless it is `active`.
    """

    right: str
    allowed: bool
    state: str
    sources: tuple[Source, ...]
    remedies: tuple[Source, ...]
    below: tuple[str, ...]


def parse(text: str) -> Right:
    """A right as people write it: `login`, `storage:write:/data`, `storage.modify:/data`, `compute.create`. Raises InputError."""
    if text in PLAIN:
        return Right(text)
    if text in COMPUTE:
        return Right("batch")
    head, _, path = text.replace("storage:", "storage.", 1).partition(":")
    part, _, verb = head.partition(".")
    if part != "storage" or verb not in LISTS:
        raise InputError(f"right {text!r}", "is not known", f"known are {KNOWN}")
    plain = normalise(path)
    if plain is None:
        raise InputError(f"right {text!r}", f"{path!r} is not a plain absolute path", "for example storage:write:/data")
    return Right(verb, plain)


def explain(table: Table, user: str, groups: Iterable[str], text: str, state: str = "active") -> Answer:
    """Why the member `user` of `groups` (paths) has the right `text` or not. Raises InputError for what `parse` refuses."""
    right = parse(text)
    rights = table.of(user, groups)
    giving = [path for path, line in table.groups.items() if gives(line, right, user)]
    sources = [path for path in giving if path in rights.groups]
    held = fill(user, (pattern for path in rights.groups for pattern in _patterns(table.groups[path], right)))
    return Answer(
        right=text,
        allowed=bool(sources) and state == "active",
        state=state,
        sources=_locate(table, sources),
        remedies=() if sources else _locate(table, _outermost(giving)),
        below=() if sources else tuple(sorted(path for path in held if within(path, right.path))),
    )


def gives(line: GroupRights, right: Right, user: str) -> bool:
    """Whether one line of the table, by itself, gives `right` to `user`."""
    if right.verb in LISTS:
        return any(within(right.path, path) for path in fill(user, _patterns(line, right)))
    return any(getattr(line, one.field) not in (None, False) for one in RIGHTS if one.key.partition(".")[0] == right.verb)


def _patterns(line: GroupRights, right: Right) -> tuple[str, ...]:
    return tuple(pattern for name in LISTS.get(right.verb, ()) for pattern in getattr(line, name))


def _locate(table: Table, paths: Collection[str]) -> tuple[Source, ...]:
    return tuple(Source(path, table.groups[path].line) for path in paths)


def _outermost(paths: Collection[str]) -> list[str]:
    """Without groups that have the right from a group above anyhow."""
    return [path for path in paths if not set(ancestors(path)) & set(paths)]
