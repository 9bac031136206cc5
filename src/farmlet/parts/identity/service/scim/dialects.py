"""What Entra, Okta and others send beside the standard, put into the standard's words before it is looked at.

What means nothing here (the enterprise extension, passwords) is passed over: a request that also switches somebody off or takes
them out of a group must not fail for it. Whatever else is wrong stays so, and is refused as always.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from farmlet.parts.identity.service.django.models import Member
from farmlet.parts.identity.service.scim import models
from farmlet.parts.identity.service.scim.groups import Groups
from farmlet.parts.identity.service.scim.users import Users
from farmlet.parts.identity.service.scim.wire import Resource

URNS = tuple(urn.lower() for urn in (models.USER, models.GROUP, models.OUR_USER, models.INDIGO_USER, models.INDIGO_GROUP))
ACTIVE = ("active", f"{models.USER}:active".lower())
MEMBERS = ("members", f"{models.GROUP}:members".lower())
# of a multi-valued attribute the one value with a word, and something of it
CHOSEN = re.compile(r'(\w+)\[(\w+) eq "([^"\\]*)"\]\.(\w+)', re.IGNORECASE)


def translate(method: str, path: str, body: bytes, users: Users, groups: Groups) -> bytes:
    """The body of a request that writes, in the standard's words."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return body
    return json.dumps(_translate(method.upper(), path, data, users, groups)).encode() if isinstance(data, dict) else body


def _translate(method: str, path: str, data: Resource, users: Users, groups: Groups) -> Resource:
    kind, _, name = path.strip("/").partition("/")
    if kind.lower() == "bulk" and isinstance(data.get("Operations"), list):
        return data | {"Operations": [_translate_one(each, users, groups) for each in data["Operations"]]}
    if method == "PATCH":
        found = (users if kind.lower() == "users" else groups).find(name)
        listed = [key for key in data if key.lower() == "operations" and isinstance(data[key], list)]
        if found is None or not listed:
            return data
        current = users.represent([found])[0] if isinstance(found, Member) else groups.represent([found])[0]
        return data | {listed[0]: list(_operations(data[listed[0]], current)) or [_change_nothing(current)]}
    data = _known(data)
    if kind.lower() == "users" and method == "PUT" and "active" not in map(str.lower, data) and (member := users.find(name)):
        return data | {"active": member.is_active}
    return data


def _translate_one(operation: Any, users: Users, groups: Groups) -> Any:
    if not isinstance(operation, dict) or not isinstance(operation.get("data"), dict):
        return operation
    words = str(operation.get("method")).upper(), str(operation.get("path"))
    return operation | {"data": _translate(*words, operation["data"], users, groups)}


def _is_strange(name: str) -> bool:
    low = name.lower()
    return low == "password" or (low.startswith("urn:") and not any(low == urn or low.startswith(f"{urn}:") for urn in URNS))


def _known(resource: Resource) -> Resource:
    """The resource without what belongs to schemas that are none of ours, `active` as a truth value."""
    found = {name: value for name, value in resource.items() if not _is_strange(name)}
    if isinstance(schemas := found.get("schemas"), list):
        found["schemas"] = [each for each in schemas if not isinstance(each, str) or each.lower() in URNS]
    return {name: _truth(value) if name.lower() in ACTIVE else value for name, value in found.items()}


def _truth(value: Any) -> Any:
    """Entra says "False" for false, and may wrap it up."""
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict):
        value = value[0].get("value")
    return value.lower() == "true" if isinstance(value, str) and value.lower() in ("true", "false") else value


def _operations(given: list[Any], current: Resource) -> Iterator[Any]:
    fresh: dict[tuple[str, ...], Resource] = {}
    for operation in given:
        verb, path, value = _read(operation)
        if path is not None and _is_strange(path):
            continue
        if path is None and isinstance(value, dict):
            yield from _spread(operation, value)
        elif path is not None and path.lower() in ACTIVE:
            yield operation | {"value": _truth(value)}
        elif verb == "remove" and str(path).lower() in MEMBERS and value:
            yield from _take_out(value, current)
        elif verb in ("add", "replace") and path and (match := CHOSEN.fullmatch(path)) and not _has(match, current):
            key = tuple(part.lower() for part in match.group(1, 2, 3))
            if key in fresh:
                fresh[key][match[4]] = value
            else:
                fresh[key] = {match[2]: match[3], match[4]: value}
                yield {"op": "add", "path": match[1], "value": [fresh[key]]}
        else:
            yield operation


def _read(operation: Any) -> tuple[str, str | None, Any]:
    if not isinstance(operation, dict):
        return "", None, None
    path = operation.get("path")
    return str(operation.get("op")).lower(), path if isinstance(path, str) else None, operation.get("value")


def _spread(operation: Resource, value: Resource) -> Iterator[Resource]:
    """One without a path: `name.givenName` as a key is a path to Entra."""
    known = _known(value)
    plain = {name: each for name, each in known.items() if "." not in name or name.lower().startswith("urn:")}
    if plain:
        yield operation | {"value": plain}
    for name in known.keys() - plain.keys():
        yield operation | {"path": name, "value": known[name]}


def _take_out(value: Any, current: Resource) -> Iterator[Resource]:
    """Members by a list, which the standard does not know. Who is not in the group is out already."""
    listed = value if isinstance(value, list) else [value]
    named = (each.get("value") if isinstance(each, dict) else each for each in listed)
    wanted = {each for each in named if isinstance(each, str)}
    for member in current.get("members", ()):
        if member["value"] in wanted:
            yield {"op": "remove", "path": f'members[value eq "{member["value"]}"]'}


def _has(match: re.Match[str], current: Mapping[str, Any]) -> bool:
    """Whether the resource has a value of that word; the attribute's own name may be in any case."""
    values = next((each for name, each in current.items() if name.lower() == match[1].lower()), None)
    words = ({name.lower(): word for name, word in each.items()} for each in values or () if isinstance(each, dict))
    return any(str(one.get(match[2].lower())).lower() == match[3].lower() for one in words)


def _change_nothing(current: Resource) -> Resource:
    name = "active" if "active" in current else "displayName"
    return {"op": "replace", "path": name, "value": current[name]}


def tell_plainly(detail: str) -> str:
    """An error's text without the words of the library that found it: `attribute: what is wrong with it`, for each."""
    lines = [line.strip() for line in detail.splitlines()]
    if not lines or "validation error" not in lines[0]:
        return detail
    pairs = itertools.pairwise(lines[1:])
    return "; ".join(f"{name}: {fault.partition(' [type=')[0]}" for name, fault in pairs if " [type=" in fault) or "is no SCIM"
