"""Break-glass: a token in a member's name, minted by an administrator on the node, never without a trace.

Who is told: the member it was minted for and every person whose rights include `administer`, on their home page; and
whoever asks for the facility's status, by the check of the audit log.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from farmlet.errors import InputError
from farmlet.facility.places import ANY
from farmlet.parts.identity.service.django.models import Member
from farmlet.parts.identity.service.django.project import Provider
from farmlet.parts.identity.service.members.members import find
from farmlet.parts.identity.service.tokens import tokens
from farmlet.parts.identity.service.tokens.audiences import opens_login
from farmlet.parts.identity.service.tokens.policy import allow, resolve
from farmlet.runtime import audit

CLIENT = "break-glass"
EVENT = "token.minted"
LIFETIME = 900  # seconds: to look and to mend; what takes longer is done with rights of one's own
SHOWN, SHOWN_LINES = 30 * 86400, 20  # seconds, and lines, that home pages tell of it


def take(provider: Provider, options: argparse.Namespace) -> None:
    """The verb `farmlet-identity token`."""
    scopes = options.scope.split()
    print(break_glass(provider, options.member, scopes, options.audience, reason=options.reason, by=options.by))


def break_glass(provider: Provider, name: str, scopes: Sequence[str], audience: str, *, reason: str, by: str) -> str:
    """An access token of the member `name`, with `act` naming `by` (RFC 8693 §4.1). Raises InputError.

    It never carries more than the member may have, and no refresh token comes with it. It is written to the audit log
    first: without the log there is no token. It opens no log-in, which would outlive it.
    """
    if not reason.strip() or not by.strip():
        raise InputError("token", "the reason, or the account that asks, is empty", "both go into the audit log")
    member = find(name)
    if not member.is_active:
        raise InputError(f"member {name}", f"is {member.standing}")
    aimed = tuple(dict.fromkeys(audience.split())) or (ANY,)
    if opens_login(aimed):
        raise InputError("--audience", f"{audience} opens a log-in, which would outlive the token", "use the node's root account")
    rights = resolve(provider.table, member)
    granted = tuple(scope for scope in allow(scopes, rights) if scope != "offline_access")
    if not granted:
        raise InputError("--scope", f"{name} may have none of these", f"`farmlet explain {name}` shows what they may have")
    claims = tokens.claim_access(
        provider.issuer,
        str(member.sub),
        CLIENT,
        aimed,
        granted,
        min(LIFETIME, provider.configuration.lifetimes.access),
        username=member.name,
        groups=rights.groups,
        optional=rights.optional,
        act={"sub": by},
    )
    told = {"scopes": list(granted), "audience": claims["aud"], "reason": reason, "jti": claims["jti"], "expires": claims["exp"]}
    provider.record(EVENT, member=name, **told, by=by)
    return tokens.sign(claims, provider.keys.signing())


def find_minted(provider: Provider, member: Member) -> list[dict[str, Any]]:
    """`[{"at", "member", "by", "reason", "scopes"}]` that this member is to be told of, newest first.

    Administrators hear of all, others of those in their own name; of the last 30 days, twenty at most.
    """
    lines = list(audit.find(provider.configuration.audit, EVENT, time.time() - SHOWN))
    if not resolve(provider.table, member).administer:
        lines = [line for line in lines if line["member"] == member.name]
    return [
        {
            "at": datetime.fromtimestamp(line["at"], UTC),
            "scopes": " ".join(line["scopes"]),
            **{key: line[key] for key in ("member", "by", "reason")},
        }
        for line in reversed(lines[-SHOWN_LINES:])
    ]
