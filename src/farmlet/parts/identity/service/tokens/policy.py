"""What a token may carry: the client's limits and the member's rights, together. Every grant passes through here.

A scope is given only where both allow it, at issue and again at each refresh, so that a change of the rights table or
of a membership reaches the next token.
"""

from __future__ import annotations

from collections.abc import Iterable

from farmlet.facility.paths import normalise, within
from farmlet.facility.rights import COMPUTE, Rights, Table
from farmlet.facility.scopes import PROBE, STORAGE, grant, intersect, name_group
from farmlet.parts.identity.service.django.models import Client, Member
from farmlet.parts.identity.service.tokens import lookup

# what any member may ask for besides what the rights table decides
PERSONAL = frozenset({"openid", "profile", "email", "offline_access", "wlcg", "wlcg:1.0", "wlcg.groups"})
SUPPORTED = (*sorted(PERSONAL), *STORAGE, *COMPUTE)


def resolve(table: Table, member: Member) -> Rights:
    """The member's rights by the table."""
    return table.of(member.name, member.paths)


def resolve_once(table: Table, member: Member) -> Rights:
    """The same for a member that was read for one request: asked of the database once, however often this is called."""
    rights: Rights | None = getattr(member, "_rights", None)
    if rights is None:
        rights = member._rights = table.of(member.name, lookup.find_paths(member))
    return rights


def allow(requested: Iterable[str], rights: Rights, client: Client | None = None) -> tuple[str, ...]:
    """The requested scopes that a member with `rights` may have through `client` (None: no client's limits apply).

    In the order of the request, which decides the order of `wlcg.groups`. A request for no scopes gets none.
    """
    wanted = tuple(requested) if client is None else restrict(requested, client)
    groups = {scope for scope in wanted if name_group(scope) in rights.groups}
    granted = grant(wanted, rights, PERSONAL | groups)
    return () if granted == ("offline_access",) else granted


def restrict(requested: Iterable[str], client: Client) -> tuple[str, ...]:
    """The requested scopes within the client's own, member or not. Refresh tokens need the refresh grant too."""
    held = set(client.scopes)
    if "refresh_token" not in client.grants:
        held.discard("offline_access")
    return intersect(requested, held)


def probes(scope: str) -> bool:
    """Whether a storage scope is one for the facility's own checks: these need no member behind them."""
    verb, _, text = scope.partition(":")
    path = normalise(text)
    return verb in ("storage.read", "storage.modify") and path is not None and within(path, PROBE)


def narrow(requested: Iterable[str], held: Iterable[str], rights: Rights) -> tuple[str, ...]:
    """The requested scopes within those a connection or token has. An optional group it did not ask for is not among them, nor is
    one that its member is not in."""
    found = intersect(requested, held, rights.optional)
    return tuple(scope for scope in found if name_group(scope) in ("", *rights.groups))
