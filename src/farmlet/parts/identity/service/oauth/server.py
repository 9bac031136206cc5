"""The token endpoint's grants. oauthlib does the protocol, `Validator` decides."""

# mypy: allow-subclassing-any

from __future__ import annotations

import json
from typing import Any

from oauthlib.oauth2.rfc6749 import errors
from oauthlib.oauth2.rfc6749.endpoints import TokenEndpoint
from oauthlib.oauth2.rfc6749.grant_types import ClientCredentialsGrant, RefreshTokenGrant
from oauthlib.oauth2.rfc6749.grant_types.base import GrantTypeBase
from oauthlib.oauth2.rfc6749.tokens import BearerToken

from farmlet.parts.identity.service.oauth import codes, connections, form, mint
from farmlet.parts.identity.service.oauth.exchange import TokenExchange
from farmlet.parts.identity.service.oauth.grants import CODE, DEVICE_CODE, TOKEN_EXCHANGE


class OnceGrantType(GrantTypeBase):
    """Something that a person's consent gave, for tokens. The library's own lets device codes be redeemed by anybody."""

    def __init__(self, validator: Any, hook: str) -> None:
        """`hook`: the validator's method that says what a request has been allowed."""
        super().__init__(validator)
        self.hook = hook

    def create_token_response(self, request: Any, handler: Any) -> tuple[dict[str, str], str, int]:
        """Headers, body and status."""
        headers = self._get_default_headers()
        try:
            self.validate_client_authentication(request)
            self.validate_grant_type(request)
            getattr(self.request_validator, self.hook)(request)
            token = handler.create_token(request, refresh_token="offline_access" in request.scopes)
            self.request_validator.save_token(token, request)
        except errors.OAuth2Error as error:
            if isinstance(error, codes.Replayed):  # only here, after the transaction that it ended
                codes.punish(request)
            return {**headers, **error.headers}, error.json, error.status_code
        return headers, json.dumps(token), 200


class Unsupported:
    """What answers a grant type we do not have."""

    def create_token_response(self, request: Any, handler: Any) -> tuple[dict[str, str], str, int]:
        error = errors.UnsupportedGrantTypeError(request=request)
        return {"Content-Type": "application/json", "Cache-Control": "no-store"}, error.json, error.status_code


class Server(TokenEndpoint):
    """oauthlib's token endpoint with the grants this service has; new ones are added to the dictionary below."""

    def __init__(self, validator: Any) -> None:
        bearer = BearerToken(validator, mint.create_access, mint.find_lifetime, connections.create_token)
        grants = {
            CODE: OnceGrantType(validator, "redeem_code"),  # RFC 6749 §4.1.3
            DEVICE_CODE: OnceGrantType(validator, "validate_device_code"),  # RFC 8628 §3.4
            "refresh_token": RefreshTokenGrant(validator),
            "client_credentials": ClientCredentialsGrant(validator),
            TOKEN_EXCHANGE: TokenExchange(validator),
            "unsupported": Unsupported(),
        }
        super().__init__(default_grant_type="unsupported", default_token_type=bearer, grant_types=grants)
        self.request_validator = validator

    def validate_token_request(self, request: Any) -> None:
        """Before any grant looks at it. Raises errors of oauthlib."""
        super().validate_token_request(request)
        form.check(request)
