"""Storage elements that are not ours: how members reach them, and the page that tells their admins what to configure.

The page is made of the same templates as our own element's configuration, so that it cannot say anything else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from farmlet.errors import InputError
from farmlet.facility.model import Facility
from farmlet.facility.places import ANY
from farmlet.parts.render import render
from farmlet.parts.storage import PACKAGE, element
from farmlet.parts.storage.config import Element
from farmlet.parts.storage.elements import elements
from farmlet.parts.storage.groups import share, write_table


@dataclass(frozen=True)
class Page:
    """What an element's admin is told: `text` (Markdown), and the `files` in it by path."""

    text: str
    files: Mapping[str, str]


def describe(facility: Facility, name: str, ca: str, own: str = "") -> Page:
    """The page for the admin of the element `name`; `ca` is the authority (PEM) of the issuer's URL, "" for a public one, `own`
    that of the facility's elements.

    Raises InputError for a name that the facility file has not.
    """
    known = {one.name: one for one in elements(facility)}
    if name not in known:
        hint = f"elements: {', '.join(known)}" if known else "name it in `storage: {elements: […]}`"
        raise InputError(f"storage element {name}", "is not in the facility file", hint)
    one = known[name]
    files = _files(facility, one)
    values = {
        "element": one,
        "facility": facility,
        "files": files,
        "ca": ca,
        "own": own or ca,
        "audiences": [ANY, one.audience],
        "groups": _groups(facility, one),
    }
    steps = render(PACKAGE, f"{one.kind}.md", **values)
    text = render(PACKAGE, "page.md", **values, steps=steps)
    return Page(re.sub(r"\n{3,}", "\n\n", text).rstrip() + "\n", files)


def _files(facility: Facility, one: Element) -> dict[str, str]:
    """The files of an XRootD server; other servers are told in the text alone."""
    if one.kind != "xrootd":
        return {}
    name, by_groups = f"{facility.name}-{one.name}", one.authorise == "groups"
    tokens, table = f"/etc/xrootd/tokens-{name}.cfg", f"/etc/xrootd/groups-{name}"
    server = render(PACKAGE, "authorise.cfg", tokens=tokens, groups=table if by_groups else "")
    text = element.write_tokens([ANY, one.audience], facility.issuer, facility.name, by_groups, one.prefix)
    found = {f"/etc/xrootd/config.d/{name}.cfg": server, tokens: text}
    if by_groups:
        found[table] = write_table(facility.rights, _claims(facility), one.prefix)
    return found


def _claims(facility: Facility) -> dict[str, str]:
    return {path: facility.claim(path) for path in facility.groups}


def _groups(facility: Facility, one: Element) -> list[tuple[str, list[tuple[str, bool]]]]:
    """For each group its name in tokens and what it may: paths on this element, and whether they may be written."""
    table, claims = share(facility.rights), _claims(facility)
    found = []
    for path in table.groups:
        rights = table.of("member", [path])
        paths = {read: read in rights.write for read in (*rights.read, *rights.write)}
        places = [(f"{one.prefix.rstrip('/')}{place}".rstrip("/") or "/", write) for place, write in sorted(paths.items())]
        if places:
            found.append((claims[path], places))
    return found
