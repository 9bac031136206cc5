"""What a token may carry: the client's limits and the member's rights, together. Every grant passes through here.

A scope is given only where both allow it, at issue and again at each refresh, so that a change of the rights table or
of a membership reaches the next token.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from farmlet.facility.rights import Rights, Table, grant, normalise, within
from farmlet.parts.identity.service.models import Client, Member
from farmlet.parts.identity.service.tokens import ANY, GROUPS

# what any member may ask for besides storage
PERSONAL = frozenset({"openid", "profile", "email", "offline_access", "wlcg", "wlcg.groups"})
STORAGE = ("storage.read:/", "storage.create:/", "storage.modify:/")
# audiences at which a token becomes a log-in: not for service members, and not by break-glass, which it would outlive
LOGINS = frozenset({"ssh"})
SUPPORTED = (*sorted(PERSONAL), *STORAGE)


def resolve(table: Table, member: Member) -> Rights:
    """The member's rights by the table."""
    return table.of(member.name, member.paths)


def allow(requested: Iterable[str], rights: Rights, client: Client | None = None) -> tuple[str, ...]:
    """The requested scopes that a member with `rights` may have through `client` (None: no client's limits apply)."""
    wanted = tuple(requested) if client is None else restrict(requested, client)
    groups = {scope for scope in wanted if (match := GROUPS.fullmatch(scope)) and (match[1] or "/")[1:] in rights.groups}
    return grant(wanted, rights, PERSONAL | groups)


def restrict(requested: Iterable[str], client: Client) -> tuple[str, ...]:
    """The requested scopes within the client's own, member or not. Refresh tokens need the refresh grant too."""
    held = set(client.scopes)
    if "refresh_token" not in client.grants:
        held.discard("offline_access")
    return intersect(requested, held)


def intersect(requested: Iterable[str], held: Iterable[str]) -> tuple[str, ...]:
    """The requested scopes that lie within `held`, sorted; one that is wider is answered with what is held below it.

    `storage.read:/a/b` lies within `storage.read:/a`, `wlcg.groups:/lab` within `wlcg.groups`.
    """
    owned = set(held)
    found: set[str] = set()
    for scope in requested:
        verb, _, text = scope.partition(":")
        path = normalise(text) if verb.startswith("storage.") else None
        if path is not None:
            limits = [limit.partition(":")[2] for limit in owned if limit.startswith(f"{verb}:")]
            found.update(f"{verb}:{_narrower(path, limit)}" for limit in limits if _related(path, limit))
        elif not verb.startswith("storage.") and (scope in owned or (GROUPS.fullmatch(scope) and "wlcg.groups" in owned)):
            found.add(scope)
    return tuple(sorted(found))


def resolve_audience(text: str, client: Client | None) -> tuple[str, ...] | None:
    """The audience named by a space-separated `text`, by default anybody's; None where the client may not name it."""
    audience: Sequence[str] = text.split() or [ANY]
    if client is not None and client.audiences and not set(audience) <= set(client.audiences):
        return None
    if client is not None and client.member_id and LOGINS & set(audience):
        return None
    return tuple(dict.fromkeys(audience))


def _related(path: str, limit: str) -> bool:
    return within(path, limit) or within(limit, path)


def _narrower(path: str, limit: str) -> str:
    return path if within(path, limit) else limit
