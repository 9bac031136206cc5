"""Programs that may ask for tokens, registered beforehand by the deployment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib.auth.hashers import check_password, make_password
from django.db import transaction

from farmlet.errors import InputError
from farmlet.parts.identity.service.models import Client
from farmlet.parts.identity.service.oauth.exchange import TOKEN_EXCHANGE
from farmlet.parts.identity.service.oauth.server import DEVICE_CODE
from farmlet.parts.identity.service.policy import SUPPORTED
from farmlet.parts.identity.service.project import Provider

GRANTS = {
    "device": DEVICE_CODE,
    "device_code": DEVICE_CODE,
    DEVICE_CODE: DEVICE_CODE,
    "refresh": "refresh_token",
    "refresh_token": "refresh_token",
    "client_credentials": "client_credentials",
    "exchange": TOKEN_EXCHANGE,
    "token_exchange": TOKEN_EXCHANGE,
    TOKEN_EXCHANGE: TOKEN_EXCHANGE,
}


def ensure_client(
    provider: Provider,
    client_id: str,
    *,
    name: str,
    secret: str | None,
    grants: Sequence[str],
    scopes: Sequence[str],
    audiences: Sequence[str],
    lifetimes: tuple[int | None, int | None],
    by: str,
) -> bool:
    """Make the client what is asked; returns whether anything changed. `secret` None makes it public.

    Without grants a client gets device and refresh; without scopes, one that people use may ask for all that members can
    have, narrowed by the rights of each. Raises InputError.
    """
    wanted = _resolve_grants(grants, secret is None)
    if not scopes and wanted == ["client_credentials"]:
        raise InputError(f"client {client_id}", "its scopes are missing", "for example --scope scim:read")
    values: dict[str, Any] = {
        "name": name or client_id,
        "client_type": Client.CLIENT_PUBLIC if secret is None else Client.CLIENT_CONFIDENTIAL,
        "authorization_grant_type": Client.GRANT_DEVICE_CODE if DEVICE_CODE in wanted else Client.GRANT_CLIENT_CREDENTIALS,
        "grants": wanted,
        "scopes": sorted(set(scopes or SUPPORTED)),
        "audiences": sorted(set(audiences)),
        "access_lifetime": lifetimes[0],
        "refresh_lifetime": lifetimes[1],
    }
    with transaction.atomic():
        client = Client.objects.filter(client_id=client_id).first() or Client(client_id=client_id, client_secret="")
        same = client.pk is not None and all(getattr(client, key) == value for key, value in values.items())
        if same and (secret is None or check_password(secret, client.client_secret)):
            return False
        for key, value in values.items():
            setattr(client, key, value)
        client.client_secret = make_password(secret, hasher="farmlet_random")  # None makes one that nothing fits
        client.save()
    provider.record("client.set", client=client_id, grants=wanted, scopes=values["scopes"], public=secret is None, by=by)
    return True


def _resolve_grants(names: Sequence[str], public: bool) -> list[str]:
    texts = [text for name in names for text in name.replace(",", " ").split()] or ["device", "refresh"]
    if unknown := sorted(set(texts) - set(GRANTS)):
        raise InputError("--grant", f"{', '.join(unknown)} is not known", f"known are {', '.join(sorted(GRANTS))}")
    found = sorted({GRANTS[text] for text in texts})
    if public and {"client_credentials", TOKEN_EXCHANGE} & set(found):
        raise InputError("--grant", "a public client has no credentials to use", "give --secret-file instead of --public")
    return found
