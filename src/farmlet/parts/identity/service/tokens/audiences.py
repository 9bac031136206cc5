"""Whom tokens may be for: what a client may ask of a member, what they allowed, and what of it one token names.

The member allows audiences as they allow scopes, and every token of that consent stays within them. An audience that opens a
log-in is only for a client that is registered for it by name: nothing else, not even a token for anybody, stands for it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from farmlet.facility.places import ANY, SSH
from farmlet.parts.identity.service.django.models import Client
from farmlet.parts.identity.service.django.project import provider


def opens_login(audiences: Iterable[str]) -> bool:
    """Whether a token for one of these becomes a log-in: what the facility's roles say, and the names that hosts with
    motley-cue use, which need not be the facility's.
    """
    known = provider().configuration.logins
    return any(name in known or name == SSH or name.startswith(f"{SSH}_") for name in audiences)


def may_have(client: Client, name: str) -> bool:
    """Whether tokens of `client` may be for `name` at all. Without registered audiences: for whatever opens no log-in."""
    if opens_login([name]):
        # nobody logs in as a service member; nobody has looked at a program that registered itself
        barred = client.member_id or (client.registration and not provider().configuration.registered_logins)
        return name in client.audiences and not barred
    return not client.audiences or covers(client.audiences, name)


def ask(text: str | None, client: Client) -> tuple[str, ...] | None:
    """What a member is asked to allow where the request names `text` (see `target.name`), None where the client may not.

    Without a wish it is what is usual among those it is registered for, anybody if it is registered for none (RFC 8707 §2: a
    predefined default).
    """
    if text is None:
        return None
    wanted = tuple(dict.fromkeys(text.split() or _find_usual(client.audiences or [ANY], client)))
    return wanted if wanted and all(may_have(client, name) for name in wanted) else None


def choose(text: str | None, allowed: Collection[str], client: Client) -> tuple[str, ...] | None:
    """The audience of one token, of those `allowed`; None where the client or the consent has not what `text` names.

    Without a wish it is what is usual among those allowed.
    """
    if text is None:
        return None
    wanted = tuple(dict.fromkeys(text.split() or _find_usual(allowed, client)))
    within = all(may_have(client, name) and covers(allowed, name) for name in wanted)
    return wanted if wanted and within else None


def _find_usual(names: Iterable[str], client: Client) -> Sequence[str]:
    """Of what the client may have: anybody, else all of them but log-ins, which must be named where there is anything else."""
    held = [name for name in names if may_have(client, name)]
    plain = [name for name in held if not opens_login([name])]
    return [ANY] if ANY in plain else plain or held


def covers(allowed: Collection[str], name: str) -> bool:
    """Whether `name` is among what was allowed. Who may be handed a token for anybody may be handed one for a storage element
    of the facility alone: elements take both.
    """
    return name in allowed or (ANY in allowed and is_element(name))


def is_element(name: str) -> bool:
    """Whether it is a storage element of the facility."""
    return name in provider().configuration.elements and not opens_login([name])
