"""Authorization codes: random, kept as SHA-256, good for a minute, for one client and for one time.

Sources: RFC 6749 §4.1.2 and §10.5, RFC 7636 §4.6, RFC 9700 §2.1.1 and §4.8.2.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone
from oauthlib.oauth2.rfc6749.errors import InvalidGrantError, InvalidRequestError
from oauthlib.oauth2.rfc6749.grant_types.authorization_code import code_challenge_method_s256

from farmlet.parts.identity.service.django.models import Client, Grant, Member, RevokedToken
from farmlet.parts.identity.service.django.project import provider
from farmlet.parts.identity.service.members.members import digest
from farmlet.parts.identity.service.oauth import connections
from farmlet.parts.identity.service.oauth.request import AuthorizationRequest

LIFETIME = timedelta(seconds=60)
REMEMBERED = timedelta(days=1)  # so long a used code is known, to notice that it comes back


class Replayed(InvalidGrantError):  # type: ignore[misc]
    """The code was used before."""


def issue(
    member: Member, client: Client, wanted: AuthorizationRequest, scopes: Sequence[str], redirect: str, authenticated: datetime
) -> str:
    """A new code for what the member allowed."""
    now = timezone.now()
    Grant.objects.filter(expires__lt=now - REMEMBERED).delete()
    code = secrets.token_urlsafe(32)
    Grant.objects.create(
        user=member,
        application=client,
        code=digest(code),
        expires=now + LIFETIME,
        redirect_uri=redirect,
        scope=" ".join(scopes),
        code_challenge=wanted.challenge,
        code_challenge_method="S256" if wanted.challenge else "",
        nonce=wanted.nonce,
        audience=" ".join(wanted.audience),
        authenticated=authenticated,
    )
    return code


def find(request: Any) -> Grant:
    """The grant behind the request's code, if its client may redeem it now. Raises Replayed and other errors of oauthlib."""
    code, verifier = request.code or "", request.code_verifier or ""
    grant: Grant | None = (
        Grant.objects.select_related("user", "connection").filter(code=digest(code), application=request.client).first()
    )
    if grant is None:
        raise InvalidGrantError(request=request)
    if bool(verifier) != bool(grant.code_challenge):  # a verifier without challenge: the challenge was cut out on its way
        raise InvalidRequestError("code_verifier does not fit the authorization request", request=request)
    if verifier and not code_challenge_method_s256(verifier, grant.code_challenge):
        raise InvalidGrantError("code_verifier is wrong", request=request)
    if not hmac.compare_digest((request.redirect_uri or "").encode(), grant.redirect_uri.encode()):
        raise InvalidGrantError("redirect_uri is not that of the authorization request", request=request)
    if grant.used is not None:
        raise Replayed(request=request)
    if grant.expires <= timezone.now() or not grant.user.is_active:
        raise InvalidGrantError(request=request)
    return grant


def use_up(grant: Grant, request: Any) -> None:
    """Mark the code as used. Within a transaction. Raises Replayed if somebody else did so meanwhile."""
    if Grant.objects.filter(pk=grant.pk, used=None).update(used=timezone.now()) != 1:
        raise Replayed(request=request)


def punish(request: Any) -> None:
    """Somebody else had the code too: take back what was given for it."""
    grant = Grant.objects.select_related("connection__member", "connection__client", "user").get(code=digest(request.code))
    lifetime = timedelta(seconds=provider().configuration.lifetimes.access)
    with transaction.atomic():
        RevokedToken.objects.get_or_create(jti=name_token(grant), defaults={"expires": timezone.now() + lifetime})
        if grant.connection:
            connections.end(grant.connection, "code.replayed")
    if not grant.connection:
        provider().record("code.replayed", member=grant.user.name, client=request.client.client_id)


def name_token(grant: Grant) -> str:
    """The `jti` of the access token given for a code: it follows from the code, so it need not be stored to be revoked."""
    return digest(f"access token of {grant.code}")[:32]
