"""Whose tokens open a log-in here. Standard library only.

An audience says for whom a token is, not to whom it was given: an INDIGO IAM gives any audience to any client, asks nobody, and
lets anybody register a client. So whatever logs a member in by a token asks for the client that has it (`client_id`,
RFC 9068 §2.2) as well.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

ANY = "any"  # in place of ids: the facility takes whatever its issuer calls a client


def find_fault(claims: Mapping[str, Any], clients: Collection[str]) -> str:
    """Why a token with these claims, which were verified, opens no log-in; "" if it does.

    `clients`: the ids of the clients that count, or [ANY]. A token that another program got in exchange (`act`, RFC 8693 §4.1)
    never does: it was not given to its client by the member.
    """
    client, actor = claims.get("client_id"), claims.get("act")
    named = f"the client {client}" if isinstance(client, str) and client else "an unnamed client"
    if actor is not None:
        return f"it was given to {named} in exchange for another token, and opens no log-in"
    if ANY in clients or (isinstance(client, str) and client and client in clients):
        return ""
    if not clients:
        return f"it was given to {named}, and none is known here yet whose tokens open a log-in"
    return f"it was given to {named}; a log-in is opened by tokens of {' or '.join(sorted(clients))} alone"
