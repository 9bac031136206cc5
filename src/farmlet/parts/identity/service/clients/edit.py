"""Clients as administrators see, set and end them."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from farmlet.errors import InputError
from farmlet.parts.identity.service.clients.clients import OWN, ensure_client
from farmlet.parts.identity.service.clients.registration import end
from farmlet.parts.identity.service.django.models import Client
from farmlet.parts.identity.service.django.project import Provider

FIXED = {"facility": "is the facility's own, as `farmlet up` makes it", "itself": "registered itself, and changes by itself"}


def list_clients() -> list[dict[str, Any]]:
    return [describe(client) for client in Client.objects.select_related("member").order_by("client_id")]


def find(client_id: str) -> Client:
    """The client of that name. Raises InputError."""
    found: Client | None = Client.objects.select_related("member").filter(client_id=client_id).first()
    if found is None:
        raise InputError(f"client {client_id}", "no such client", "`farmlet client list` shows them")
    return found


def describe(client: Client) -> dict[str, Any]:
    """What a client is and may, without its secret; times as ISO 8601, lifetimes in seconds (None: the facility's)."""
    return {
        "client_id": client.client_id,
        "name": client.name,
        "public": client.public,
        "of": _find_origin(client),
        "grants": client.grants,
        "scopes": client.scopes,
        "audiences": client.audiences,
        "redirect_uris": client.redirect_uris.split(),
        "post_logout_uris": client.post_logout_redirect_uris.split(),
        "trusted": client.skip_authorization,
        "algorithm": client.algorithm,
        "access_lifetime": client.access_lifetime,
        "refresh_lifetime": client.refresh_lifetime,
        "created": client.created.isoformat(),
        "used": client.used.isoformat() if client.used else None,
        "connections": client.connections.count(),
    }


def _find_origin(client: Client) -> str:
    """Whose it is: who may change and end it."""
    if client.member_id:
        return f"service member {client.member.name}"
    if client.registration:
        return "itself"
    return "facility" if client.registration_source == OWN else "admin"


def set_client(provider: Provider, client_id: str, given: Mapping[str, Any], by: str) -> tuple[Client, str]:
    """Register a client, or change one as `given` (see `identity.programs`); the client, and its secret where it has a new one.

    Raises InputError; the facility's own clients are as `up` makes them, those that registered themselves as they say.
    """
    known = Client.objects.filter(client_id=client_id).first()
    old = describe(known) if known is not None else {}
    if what := FIXED.get(old.get("of", "")):
        raise InputError(f"client {client_id}", what, "register another one")
    public = old.get("public", False) if given["public"] is None else given["public"]
    fresh = not public and (given["renew"] or old.get("public", True))
    secret = secrets.token_urlsafe(32) if fresh else None

    def pick(key: str, before: str = "") -> Any:
        found = given[key]
        return old.get(before or key) if found in (None, "", []) else found

    ensure_client(
        provider,
        client_id,
        name=pick("name") or "",
        public=public,
        secret=secret,
        grants=pick("grant", "grants") or (),
        scopes=split(pick("scope", "scopes")),
        audiences=split(pick("audience", "audiences")),
        lifetimes=(pick("access_lifetime"), pick("refresh_lifetime")),
        redirects=pick("redirect_uri", "redirect_uris") or (),
        departures=pick("post_logout_uri", "post_logout_uris") or (),
        trusted=bool(pick("trusted")),
        algorithm=pick("algorithm") or "",
        by=by,
    )
    return find(client_id), secret or ""


def split(texts: list[str] | None) -> list[str]:
    return [word for text in texts or () for word in text.split()]


def remove(provider: Provider, client_id: str, by: str) -> dict[str, Any]:
    """End a client with all its connections; what it was. Raises InputError for one that would be back or is a member's."""
    client = find(client_id)
    shown = describe(client)
    if client.member_id:
        raise InputError(f"client {client_id}", f"belongs to a {shown['of']}", f"farmlet user remove {client.member.name}")
    if shown["of"] == "facility":
        raise InputError(f"client {client_id}", "is the facility's own: `farmlet up` would make it again", "leave it")
    end(provider, client, by)
    return shown
