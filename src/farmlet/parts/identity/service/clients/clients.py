"""Programs that may ask for tokens, registered beforehand by the deployment."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.contrib.auth.hashers import check_password
from django.db import transaction
from django.utils import timezone

from farmlet.errors import InputError
from farmlet.parts.identity.service.clients import registry
from farmlet.parts.identity.service.clients.hashers import hash_secret
from farmlet.parts.identity.service.django.models import Client
from farmlet.parts.identity.service.django.project import Provider
from farmlet.parts.identity.service.oauth.grants import CODE, DEVICE_CODE, TOKEN_EXCHANGE
from farmlet.parts.identity.service.oauth.redirects import find_fault
from farmlet.parts.identity.service.tokens.policy import SUPPORTED
from farmlet.runtime.tokens import ALGORITHMS

NAME = re.compile(r"[!-9;-~]{1,100}")  # RFC 6749 §A.1 without the colon, which ends a name in HTTP Basic
MEMBERS = re.compile(r"\W*[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\W*", re.IGNORECASE)
OWN = "facility"  # `registration_source` of the clients that `farmlet up` makes
SEEN = timedelta(hours=1)  # how exactly it is known when a client last got a token: more would cost a write a token

SHORT = {"code": CODE, "device": DEVICE_CODE, "refresh": "refresh_token", "exchange": TOKEN_EXCHANGE}
GRANTS = {
    **SHORT,
    "device_code": DEVICE_CODE,
    "token_exchange": TOKEN_EXCHANGE,
    **{name: name for name in (*SHORT.values(), "client_credentials")},
}
# what the library's column says, which is about one grant only; ours is `Client.grants`
KINDS = {
    CODE: Client.GRANT_AUTHORIZATION_CODE,
    DEVICE_CODE: Client.GRANT_DEVICE_CODE,
    "client_credentials": Client.GRANT_CLIENT_CREDENTIALS,
}


def ensure_client(
    provider: Provider,
    client_id: str,
    *,
    name: str,
    public: bool,
    secret: str | None,
    grants: Sequence[str],
    scopes: Sequence[str],
    audiences: Sequence[str],
    lifetimes: tuple[int | None, int | None],
    redirects: Sequence[str] = (),
    departures: Sequence[str] = (),
    trusted: bool = False,
    algorithm: str = "",
    source: str = "manual",
    by: str,
) -> bool:
    """Make the client what is asked; returns whether anything changed. Without `secret` one that is not `public` keeps its own.

    `redirects` and `departures` are the URIs it may have people sent to, with a code and after a log-out; a `trusted` one
    is the facility's own, so nobody is asked; `algorithm` signs its ID tokens, "" for the usual.

    Without grants a client gets device and refresh; without scopes, one that people use may ask for all that members can
    have, narrowed by the rights of each; without `audiences`, for whatever they allow that opens no log-in. Raises InputError.
    """
    _check_name(client_id)
    wanted = _resolve_grants(grants, public)
    if not scopes and wanted == ["client_credentials"]:
        raise InputError(f"client {client_id}", "its scopes are missing", "for example --scope scim:read")
    if algorithm not in ("", *ALGORITHMS):
        raise InputError(f"--algorithm {algorithm}", "is not known", f"known are {', '.join(ALGORITHMS)}")
    _check_redirects(wanted, redirects, departures, trusted and public)
    values: dict[str, Any] = {
        "name": name or client_id,
        "client_type": Client.CLIENT_PUBLIC if public else Client.CLIENT_CONFIDENTIAL,
        "authorization_grant_type": next((KINDS[grant] for grant in KINDS if grant in wanted), Client.GRANT_DEVICE_CODE),
        "grants": wanted,
        "scopes": sorted(set(scopes or SUPPORTED)),
        "audiences": sorted(set(audiences)),
        "access_lifetime": lifetimes[0],
        "refresh_lifetime": lifetimes[1],
        "redirect_uris": " ".join(sorted(set(redirects))),
        "post_logout_redirect_uris": " ".join(sorted(set(departures))),
        "skip_authorization": trusted,
        "algorithm": algorithm,
        "registration_source": source,
    }
    if changed := _store(client_id, values, secret):
        told = {name: values[name] for name in ("grants", "scopes", "audiences")}
        provider.record("client.set", client=client_id, **told, public=public, by=by)
    return changed


def _store(client_id: str, values: dict[str, Any], secret: str | None) -> bool:
    """Write the client if it is not there as it should be; returns whether it was written."""
    with transaction.atomic():
        client = Client.objects.filter(client_id=client_id).first() or Client(client_id=client_id, client_secret="")
        if client.member_id:
            hint = f"farmlet user secret {client.member.name}"
            raise InputError(f"client {client_id}", f"belongs to the service member {client.member.name}", hint)
        same = client.pk is not None and all(getattr(client, key) == value for key, value in values.items())
        if same and (secret is None or check_password(secret, client.client_secret)):
            return False
        for key, value in values.items():
            setattr(client, key, value)
        if secret is not None or client.public:
            client.client_secret = hash_secret(secret)
        client.save()
    return True


def _check_name(name: str) -> None:
    """It is the `sub` of the client's own tokens, where members have UUIDs: none may be taken for the other."""
    if not NAME.fullmatch(name):
        raise InputError(f"client {name!r}", "has blanks, a colon or odd characters, or is too long")
    if MEMBERS.fullmatch(name):
        raise InputError(f"client {name}", "could be taken for a member's sub")


def note_use(client: Client) -> None:
    """Remember that a client got a token just now."""
    now = timezone.now()
    if client.used is None or now - client.used > SEEN:
        client.used = now
        Client.objects.filter(pk=client.pk).update(used=now)
        registry.forget(client)


def _resolve_grants(names: Sequence[str], public: bool) -> list[str]:
    texts = [text for name in names for text in name.replace(",", " ").split()] or ["device", "refresh"]
    if unknown := sorted(set(texts) - set(GRANTS)):
        raise InputError("--grant", f"{', '.join(unknown)} is not known", f"known are {', '.join(sorted(GRANTS))}")
    found = sorted({GRANTS[text] for text in texts})
    if public and {"client_credentials", TOKEN_EXCHANGE} & set(found):
        raise InputError("--grant", "a public client has no credentials to use", "give --secret-file instead of --public")
    return found


def _check_redirects(grants: Sequence[str], redirects: Sequence[str], departures: Sequence[str], exposed: bool) -> None:
    for option, uris in (("--redirect-uri", redirects), ("--post-logout-uri", departures)):
        for uri in uris:
            if fault := find_fault(uri):
                raise InputError(f"{option} {uri}", fault)
    if (CODE in grants) != bool(redirects):
        raise InputError("--redirect-uri", "the grant code and redirect URIs go together", "give both or neither")
    if exposed:
        raise InputError("--trusted", "anybody can pose as a public client", "give --secret-file instead of --public")
