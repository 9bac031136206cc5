"""What any form of a client must be, looked at before anything else of it."""

from __future__ import annotations

from typing import Any

from oauthlib.oauth2.rfc6749.errors import InvalidRequestError, InvalidScopeError

REPEATED = frozenset({"audience", "resource"})  # RFC 8693 §2.1, RFC 8707 §2
SCOPES = 200  # of one request: each is compared with each that is held
TEXT = 1 << 15  # characters of a value: subject tokens are the longest


def read(body: bytes) -> str:
    """A form's text as oauthlib takes it. Raises ValueError where it is no UTF-8.

    oidc-agent 4.2.6 sends scopes with blanks as they are, once it has registered itself; a form has `+` or `%20` there.
    """
    return body.decode().replace(" ", "+")


def check(request: Any) -> None:
    """Raise what a client must be told whose form nobody could mean (RFC 6749 §3.2)."""
    if request.body and request.decoded_body is None:  # else it would count as a request without parameters
        raise InvalidRequestError("the request is not a form", request=request)
    if request.uri_query_params:  # §2.3.1: what lies between would log it
        raise InvalidRequestError("parameters belong into the body, not into the URL", request=request)
    if twice := sorted(set(request.duplicate_params) - REPEATED):
        raise InvalidRequestError(f"given twice: {', '.join(twice)}"[:200], request=request)
    if long := sorted({name for name, value in request.decoded_body or () if len(value) > TEXT} - {"scope"}):
        raise InvalidRequestError(f"too long: {', '.join(long)}"[:200], request=request)
    if len((request.scope or "").split()) > SCOPES:
        raise InvalidScopeError(f"more than {SCOPES} scopes", request=request)
