"""Token exchange (RFC 8693, with the parameters that INDIGO IAM takes): a program that was handed a member's token gets
one of its own for what comes next.

The new token says who acts (`act`), has no scope and no audience beyond those of the old one and of the program, no scope
that the member has not, and ends no later than the old one. What must go on longer asks for `offline_access`, which the
program itself must be allowed.
"""

# mypy: allow-subclassing-any

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any

from oauthlib.oauth2.rfc6749 import errors
from oauthlib.oauth2.rfc6749.grant_types.base import GrantTypeBase

from farmlet.parts.identity.service.admin.break_glass import CLIENT as BREAK_GLASS
from farmlet.parts.identity.service.django.models import Member
from farmlet.parts.identity.service.django.project import provider
from farmlet.parts.identity.service.tokens import introspection
from farmlet.parts.identity.service.tokens.audiences import opens_login
from farmlet.parts.identity.service.tokens.policy import allow, narrow, resolve
from farmlet.parts.identity.service.tokens.tokens import nest
from farmlet.runtime.tokens import Claims, Refused

TYPES = ("urn:ietf:params:oauth:token-type:access_token", "urn:ietf:params:oauth:token-type:jwt")  # the same thing here
REFUSED = ("actor_token", "actor_token_type", "want_composite")  # the actor is the client, always


class TokenExchange(GrantTypeBase):
    """RFC 8693 §2 for confidential clients."""

    def create_token_response(self, request: Any, handler: Any) -> tuple[dict[str, str], str, int]:
        """Headers, body and status."""
        headers = self._get_default_headers()
        try:
            self.validate_client_authentication(request)
            self.validate_grant_type(request)
            if request.client.public:
                raise errors.UnauthorizedClientError(request=request)
            check_form(request)
            claims, member = find_subject(request)
            self.settle(request, claims, member)
            token = handler.create_token(request, refresh_token="offline_access" in request.scopes)
            token["issued_token_type"] = getattr(request, "requested_token_type", "") or TYPES[0]
            record(request, claims)
            self.request_validator.save_token(token, request)
        except errors.OAuth2Error as error:
            return {**headers, **error.headers}, error.json, error.status_code
        return headers, json.dumps(token), 200

    def settle(self, request: Any, claims: Claims, member: Member) -> None:
        """Set what the new token carries. Raises `invalid_scope`, `invalid_target`, InvalidRequestError."""
        rights, held = resolve(provider().table, member), str(claims.raw.get("scope", "")).split()
        asked = (request.scope or "").split() or [scope for scope in held if scope != "offline_access"]
        request.scopes = list(narrow(allow(asked, rights, request.client), [*held, "offline_access"], rights))
        if not set(request.scopes) - {"offline_access"}:
            raise errors.InvalidScopeError(request=request)
        request.act = nest(request.client.client_id, claims.raw.get("act"))
        request.left = int(claims.expires - time.time())
        if request.act is None or request.left < 1:
            what = "has passed through too many programs" if request.act is None else "has expired"
            raise errors.InvalidRequestError(f"the subject token {what}", request=request)
        request.user, request.authenticated = member, datetime.fromtimestamp(claims.raw["iat"], UTC)
        # what opens a log-in does so for whom it was given to, and becomes no other program's
        allowed = [name for name in claims.audience if not opens_login([name])]
        self.request_validator.settle_audience(request, allowed)
        request.allowed_audience = request.granted_audience


def check_form(request: Any) -> None:
    """Raise InvalidRequestError for what is missing or not to be had."""
    wrong = [name for name in REFUSED if getattr(request, name, None)]
    if wrong:
        raise errors.InvalidRequestError(f"{wrong[0]} is not supported", request=request)
    if not getattr(request, "subject_token", None):
        raise errors.InvalidRequestError("subject_token is missing", request=request)
    if getattr(request, "subject_token_type", None) not in TYPES:
        raise errors.InvalidRequestError(f"subject_token_type is not {' or '.join(TYPES)}", request=request)
    if (getattr(request, "requested_token_type", None) or TYPES[0]) not in TYPES:
        raise errors.InvalidRequestError("only access tokens are issued in exchange", request=request)


def find_subject(request: Any) -> tuple[Claims, Member]:
    """The subject token's claims and member. Raises InvalidRequestError (RFC 8693 §2.2.2).

    A break-glass token must not live on in another program's name, so it is refused.
    """
    try:
        claims, member = introspection.verify(request.subject_token)
    except Refused as error:
        raise errors.InvalidRequestError(f"the subject token is not good: {error.what}", request=request) from error
    if member is None or claims.client_id == BREAK_GLASS:
        what = "is no member's" if member is None else "is a break-glass token"
        raise errors.InvalidRequestError(f"the subject token {what}", request=request)
    return claims, member


def record(request: Any, subject: Claims) -> None:
    """Write the exchange to the audit log; without the log there is no token."""
    provider().record(
        "token.exchanged",
        member=request.user.name,
        client=request.client.client_id,
        of=subject.client_id,
        subject=subject.jti,
        jti=request.jti,
        scopes=request.scopes,
        audience=list(request.granted_audience),
    )
