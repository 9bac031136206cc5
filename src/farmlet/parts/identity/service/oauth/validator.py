"""The decisions of the token endpoint, in the hooks that oauthlib calls.

django-oauth-toolkit has a validator too, which was seen to fail our clients: public clients that send an empty secret, device
codes redeemed twice or by another client, refresh scopes that only ever shrink.
"""

# mypy: allow-subclassing-any

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import unquote_plus

from django.contrib.auth.hashers import check_password
from django.db import transaction
from django.utils import timezone
from oauthlib.oauth2 import RequestValidator
from oauthlib.oauth2.rfc6749.errors import CustomOAuth2Error, InvalidGrantError, InvalidScopeError
from oauthlib.oauth2.rfc8628.errors import AccessDenied, AuthorizationPendingError, ExpiredTokenError, SlowDownError

from farmlet.facility.places import ANY
from farmlet.parts.identity.service.clients import registry
from farmlet.parts.identity.service.clients.clients import note_use
from farmlet.parts.identity.service.django.models import Client, DeviceGrant, Grant
from farmlet.parts.identity.service.django.project import provider
from farmlet.parts.identity.service.members.members import digest
from farmlet.parts.identity.service.oauth import codes, connections, target
from farmlet.parts.identity.service.oauth.mint import create_identity
from farmlet.parts.identity.service.tokens.audiences import choose
from farmlet.parts.identity.service.tokens.policy import PERSONAL, allow, narrow, probes, resolve_once, restrict

EARLY = 0.8  # the part of the interval that must have passed: networks are uneven


class Validator(RequestValidator):
    """One instance serves all requests; everything about a request is kept on the request."""

    # -- clients (RFC 6749 §2.3) --

    def client_authentication_required(self, request: Any, *args: Any, **kwargs: Any) -> bool:
        return True  # `authenticate_client` knows what a public client needs: its name

    def authenticate_client(self, request: Any, *args: Any, **kwargs: Any) -> bool:
        """A confidential client by its secret, a public one by its name, with no secret or an empty one."""
        # oauthlib gives form fields as attributes: what we keep on the request must not come from there
        request.client = request.user = request.grant = request.device = request.connection = None
        request.authenticated = request.act = request.left = None
        name, secret = _credentials(request)
        if name is None or self._load_application(name, request) is None:
            return False
        request.client_id = name
        if _fits(secret, request.client):
            return True
        registry.forget(request.client)  # it may have got a new secret
        return self._load_application(name, request) is not None and _fits(secret, request.client)

    def _load_application(self, client_id: str, request: Any) -> Client | None:
        request.client = registry.find(client_id)
        return request.client if request.client is not None and request.client.is_usable(request) else None

    def validate_grant_type(self, client_id: str, grant_type: str, client: Any, request: Any, *args: Any, **kw: Any) -> bool:
        if client.member_id and not client.member.is_active:  # its secret was right, so it may hear why
            raise CustomOAuth2Error("unauthorized_client", f"its service member is {client.member.standing}", request=request)
        return grant_type in client.grants

    # -- authorization code (RFC 6749 §4.1.3) --

    def redeem_code(self, request: Any) -> None:
        """Set the request's user, scopes and audience from its code. Raises errors of oauthlib."""
        grant = codes.find(request)
        request.grant, request.user, request.authenticated = grant, grant.user, grant.authenticated
        self._cut_scopes(request, grant.scope)
        self.settle_audience(request, grant.audience.split())

    # -- device code (RFC 8628 §3.5) --

    def validate_device_code(self, request: Any) -> None:
        """Set the request's user, scopes and audience from its device code, or raise what the device must be told."""
        code = digest(getattr(request, "device_code", None) or "")
        device = DeviceGrant.objects.select_related("user").filter(device_code=code, client_id=request.client_id).first()
        if device is None or device.status == DeviceGrant.REDEEMED:
            raise InvalidGrantError(request=request)
        _pace(device)
        if device.expires <= timezone.now():
            raise ExpiredTokenError()
        if device.status == DeviceGrant.AUTHORIZATION_PENDING:
            raise AuthorizationPendingError()
        if device.status != DeviceGrant.AUTHORIZED or not device.user.is_active:
            raise AccessDenied()
        request.user, request.device, request.authenticated = device.user, device, device.authenticated
        self._cut_scopes(request, device.scope)
        self.settle_audience(request, device.audience.split())

    # -- refresh token (RFC 6749 §6, RFC 9700 §4.14) --

    def validate_refresh_token(self, refresh_token: str, client: Any, request: Any, *args: Any, **kwargs: Any) -> bool:
        """True if the token may be used by this client now, else raises InvalidGrantError. A replayed one kills its family."""
        connection = connections.find(refresh_token, client)
        if connection is None:
            raise connections.Over(connections.explain(refresh_token, client), request)
        if not connection.member.is_active:
            raise connections.Over(f"the membership is {connection.member.standing}", request)
        request.user, request.connection = connection.member, connection
        request.authenticated = connection.authenticated
        request.act = connection.act or None
        self.settle_audience(request, connection.audience.split())
        return True

    def get_original_scopes(self, refresh_token: str, request: Any, *args: Any, **kwargs: Any) -> list[str]:
        """What the family was granted, as far as client and member still may have it. Raises InvalidScopeError for nothing."""
        family = request.connection.scope.split()
        scopes = allow(family, resolve_once(provider().table, request.user), request.client)
        if not scopes:
            raise InvalidScopeError(request=request)
        return list(scopes)

    def is_within_original_scope(self, scopes: list[str], refresh_token: str, request: Any, *args: Any, **kw: Any) -> bool:
        """Narrow the request to what the family has, path by path; False where nothing is left."""
        family = self.get_original_scopes(refresh_token, request)
        request.scopes = list(narrow(scopes, family, resolve_once(provider().table, request.user)))
        return bool(request.scopes)

    # -- client credentials (RFC 6749 §4.4) --

    def get_default_scopes(self, client_id: str, request: Any, *args: Any, **kwargs: Any) -> list[str]:
        """Without a wish, all that is registered; for a service member without the groups: scopes or groups, never both."""
        return [scope for scope in request.client.scopes if not (request.client.member_id and scope in PERSONAL)]

    def validate_scopes(self, client_id: str, scopes: list[str], client: Any, request: Any, *args: Any, **kw: Any) -> bool:
        """For a client itself: what is registered for it, without what only a member can have.

        A service member's client acts in the member's name, with what the member may have now.
        """
        if client.member_id:
            request.user = client.member
            request.scopes = list(allow(scopes, resolve_once(provider().table, client.member), client))
            self.settle_audience(request, request.client.audiences or [ANY])
            return bool(request.scopes)
        granted = restrict(scopes, client)
        apart = ("storage.", "wlcg.")
        request.scopes = [one for one in granted if probes(one) or (one not in PERSONAL and not one.startswith(apart))]
        self.settle_audience(request, request.client.audiences or [ANY])
        return bool(request.scopes)

    # -- saving --

    def save_bearer_token(self, token: dict[str, Any], request: Any, *args: Any, **kwargs: Any) -> None:
        """Store what the answer says. What stores nothing, or sees to that itself, waits for no other writer."""
        if request.grant_type in ("client_credentials", "refresh_token"):
            self._save(token, request)
        else:
            with transaction.atomic():
                self._save(token, request)

    def _save(self, token: dict[str, Any], request: Any) -> None:
        """Within a transaction: use up what the token was given for, complete the answer. Raises InvalidGrantError."""
        if grant := request.grant:
            codes.use_up(grant, request)
        if device := request.device:
            mine = DeviceGrant.objects.filter(pk=device.pk, status=DeviceGrant.AUTHORIZED)
            if mine.update(status=DeviceGrant.REDEEMED) != 1:
                raise InvalidGrantError(request=request)
        if "refresh_token" in token:
            if request.connection:
                connections.rotate(request, token["refresh_token"])
            else:
                begun = connections.begin(request, token["refresh_token"])
                if grant:
                    Grant.objects.filter(pk=grant.pk).update(connection=begun)
        note_use(request.client)
        # an ID token tells of a log-in, which neither a program's own token nor an exchange is
        if "openid" in request.scopes and request.authenticated and not request.act:
            token["id_token"] = create_identity(request, token["access_token"])

    def _cut_scopes(self, request: Any, consented: str) -> None:
        """What client and member may still have of that. Raises InvalidScopeError for nothing."""
        request.scopes = allow(consented.split(), resolve_once(provider().table, request.user), request.client)
        if not request.scopes:
            raise InvalidScopeError(request=request)

    def settle_audience(self, request: Any, allowed: Sequence[str]) -> None:
        """The audience of this token: what the request names of `allowed`, by consent or registration; the refresh token, if one
        begins here, is good for all of it. Raises `invalid_target` (RFC 8707 §2) for anything else.
        """
        audience = choose(target.name(request.decoded_body or ()), allowed, request.client)
        if audience is None:
            what = "neither this client nor what was allowed to it has this audience"
            raise CustomOAuth2Error("invalid_target", what, request=request)
        request.granted_audience, request.allowed_audience = audience, allowed


def _credentials(request: Any) -> tuple[str | None, str]:
    """The client's name and secret from HTTP Basic or the form; None if there is none or two that differ."""
    form = getattr(request, "client_id", None) or None
    header = request.headers.get("HTTP_AUTHORIZATION", "")
    if not header.lower().startswith("basic "):
        return form, getattr(request, "client_secret", None) or ""
    try:
        pair = base64.b64decode(header[6:], validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None, ""
    name, _, secret = pair.partition(":")
    name = unquote_plus(name)
    return (name if form in (None, name) else None), unquote_plus(secret)


def _fits(secret: str, client: Client) -> bool:
    """Whether who says `secret` is `client`: a public one has none."""
    if client.public:
        return secret == ""
    return bool(secret) and bool(check_password(secret, client.client_secret))


def _pace(device: DeviceGrant) -> None:
    """Note the poll; raise `slow_down` if it came too early, after which 5 s more must pass (RFC 8628 §3.5)."""
    now = timezone.now()
    early = device.polled is not None and now - device.polled < timedelta(seconds=EARLY * device.interval)
    interval = device.interval + 5 if early else device.interval
    DeviceGrant.objects.filter(pk=device.pk).update(polled=now, interval=interval)
    if early:
        raise SlowDownError()
