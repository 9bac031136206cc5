"""The client side of an OAuth 2.0 issuer: device authorization, refresh, client credentials. Standard library only.

Sources: RFC 6749 (errors §5.2, refresh §6, client credentials §4.4), RFC 8628 (device authorization), RFC 8414 and
OpenID Connect Discovery (metadata), RFC 7009 (revocation), WLCG Common JWT Profile 1.x (the `audience` parameter).
"""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from farmlet.errors import FarmletError
from farmlet.runtime.issuer.conceal import conceal, find_secrets

DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
LOOPBACK = ("localhost", "127.0.0.1", "::1")
TIMEOUT = 15.0  # seconds for one request
LIMIT = 1 << 20  # bytes of one answer


class OAuthError(FarmletError):
    """The issuer said no. `code` is its error code (`invalid_grant`, `access_denied`, …), `status` the HTTP status. Its words are
    told without what looks like a token: they go to logs and screens."""

    def __init__(self, where: str, code: str, description: str, status: int) -> None:
        code, description = conceal(code), conceal(description)
        super().__init__(where, f"{code}: {description}" if description else code)
        self.code, self.status = code, status


class Unreachable(FarmletError):
    """The issuer did not answer, or not in its own protocol; the same request may well succeed later."""


class Lost(Unreachable):
    """The request was sent, and no answer to it came, or none that can be read: the issuer may have done what it asks."""


@dataclass(frozen=True)
class Started:
    """A device authorization that waits for its person (RFC 8628 §3.2). `interval` and `expires_in` in seconds.

    `audience` goes with the polls again: an INDIGO IAM looks at it there only.
    """

    user_code: str
    verification_uri: str
    verification_uri_complete: str
    device_code: str = field(repr=False)
    interval: int
    expires_in: int
    audience: str = ""


@dataclass(frozen=True)
class Tokens:
    """An answer of the token endpoint (RFC 6749 §5.1). `expires_in` in seconds; `refresh_token` is "" if none came."""

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    expires_in: int
    scope: str


class DeviceFlow:
    """Device authorization of a public client: a person allows in any browser what a program asks for (RFC 8628)."""

    def __init__(self, issuer: str, client_id: str, cafile: str | None = None) -> None:
        self.issuer, self.client_id, self.cafile = issuer, client_id, cafile

    def start(self, scope: str, audience: str = "") -> Started:
        """Ask for a code. `scope` and `audience` are space-separated. Raises OAuthError or Unreachable.

        An INDIGO IAM without its profile of WLCG scopes knows no `wlcg.groups:/lab`; it is then asked without such.
        """
        plain = " ".join(word for word in scope.split() if not word.startswith("wlcg.groups:"))
        try:
            return self._start(scope, audience)
        except OAuthError as error:
            if error.code != "invalid_scope" or plain == scope:
                raise
        return self._start(plain, audience)

    def _start(self, scope: str, audience: str) -> Started:
        metadata = load_metadata(self.issuer, self.cafile)
        form = {"client_id": self.client_id, "scope": scope, "audience": audience}
        try:
            answer = _load(_form(_endpoint(metadata, "device_authorization_endpoint", self.issuer), form), self.cafile)
        except Unreachable as error:
            # so an INDIGO IAM says that it has no such client, without a word
            if getattr(error.__cause__, "code", 0) == 404:
                raise OAuthError(self.issuer, "invalid_client", f"it knows no client {self.client_id}", 404) from error
            raise
        try:
            return Started(
                user_code=answer["user_code"],
                verification_uri=answer["verification_uri"],
                verification_uri_complete=answer.get("verification_uri_complete", answer["verification_uri"]),
                device_code=answer["device_code"],
                interval=int(answer.get("interval", 5)),
                expires_in=int(answer["expires_in"]),
                audience=audience,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise Unreachable(self.issuer, f"a device authorization without {error}") from error

    def wait(self, started: Started, sleep: Callable[[float], None] = time.sleep) -> Tokens:
        """Poll until the person has decided. Raises OAuthError (`access_denied`, `expired_token`, …).

        A failed connection only makes the next poll later (RFC 8628 §3.5), until the code itself expires.
        """
        deadline = time.monotonic() + started.expires_in
        interval = float(started.interval)
        endpoint = _endpoint(load_metadata(self.issuer, self.cafile), "token_endpoint", self.issuer)
        form = {"grant_type": DEVICE_CODE, "device_code": started.device_code, "client_id": self.client_id}
        form |= {"audience": started.audience}
        while time.monotonic() + interval < deadline:
            sleep(interval)
            try:
                return _tokens(_load(_form(endpoint, form), self.cafile), self.issuer)
            except OAuthError as error:
                if error.code == "slow_down":
                    interval += 5
                elif error.code != "authorization_pending":
                    raise
            except Unreachable:
                interval += 5
        raise OAuthError(self.issuer, "expired_token", "nobody allowed the request in time", 400)


def refresh(
    issuer: str, client_id: str, refresh_token: str, cafile: str | None = None, *, scope: str = "", audience: str = ""
) -> Tokens:
    """New tokens for a refresh token of a public client; `scope` and `audience` narrow the access token only.

    The issuer rotates: `Tokens.refresh_token` replaces the one given. Raises OAuthError (`invalid_grant`: the refresh token is
    dead for good), Unreachable (try again) or Lost (try again soon: it may have been replaced, which is forgiven for a while).
    """
    return refresh_at(find_endpoint(issuer, cafile), client_id, refresh_token, cafile, scope=scope, audience=audience)


def refresh_at(
    endpoint: str,
    client_id: str,
    refresh_token: str,
    cafile: str | None = None,
    *,
    scope: str = "",
    audience: str = "",
    timeout: float = TIMEOUT,
) -> Tokens:
    """As `refresh`, for who asks often and knows where (`find_endpoint`). `timeout`: seconds."""
    form = {"grant_type": "refresh_token", "refresh_token": refresh_token, "client_id": client_id}
    request = _form(endpoint, form | {"scope": scope, "audience": audience})
    return _tokens(_load(request, cafile, timeout), endpoint)


def revoke(issuer: str, client_id: str, token: str, cafile: str | None = None) -> None:
    """Have the issuer end a public client's refresh token, and all that came of it (RFC 7009). Raises OAuthError, Unreachable.

    An INDIGO IAM then leads to its front page, as it would a browser.
    """
    endpoint = _endpoint(load_metadata(issuer, cafile), "revocation_endpoint", issuer)
    form = {"client_id": client_id, "token": token, "token_type_hint": "refresh_token"}
    try:
        _fetch(_form(endpoint, form), cafile)  # nothing is said where it went well
    except Unreachable as error:
        answer = error.__cause__
        there = answer.headers.get("Location", "") if isinstance(answer, urllib.error.HTTPError) and answer.code == 302 else ""
        if urllib.parse.urljoin(endpoint, there).rstrip("/") != issuer.rstrip("/"):
            raise


def obtain(
    issuer: str,
    client_id: str,
    secret: str,
    scope: str,
    cafile: str | None = None,
    *,
    audience: str = "",
    timeout: float = TIMEOUT,
) -> Tokens:
    """A token for a confidential client itself (client credentials). `timeout`: seconds. Raises OAuthError or Unreachable.

    The secret goes in the form where the issuer takes it there: an INDIGO IAM reads what Basic has encoded (RFC 6749 §2.3.1) as
    it is, and knows no secret with `+`, `/` or `%` then.
    """
    metadata = load_metadata(issuer, cafile, timeout)
    form, headers = {"grant_type": "client_credentials", "scope": scope, "audience": audience}, {}
    if "client_secret_post" in metadata.get("token_endpoint_auth_methods_supported", ()):
        form |= {"client_id": client_id, "client_secret": secret}
    else:
        pair = f"{urllib.parse.quote_plus(client_id)}:{urllib.parse.quote_plus(secret)}"
        headers = {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}
    return _tokens(_load(_form(_endpoint(metadata, "token_endpoint", issuer), form, headers), cafile, timeout), issuer)


def find_endpoint(issuer: str, cafile: str | None = None, timeout: float = TIMEOUT) -> str:
    """The issuer's token endpoint. Raises OAuthError or Unreachable."""
    return _endpoint(load_metadata(issuer, cafile, timeout), "token_endpoint", issuer)


def load_metadata(issuer: str, cafile: str | None = None, timeout: float = TIMEOUT) -> Mapping[str, Any]:
    """The issuer's discovery document; its `issuer` must be the one asked (OpenID Connect Discovery §4.3)."""
    metadata = load_json(issuer.rstrip("/") + "/.well-known/openid-configuration", cafile, timeout)
    if metadata.get("issuer") != issuer:
        raise Unreachable(issuer, f"its discovery document names another issuer: {metadata.get('issuer')!r}")
    return metadata


def load_json(url: str, cafile: str | None = None, timeout: float = TIMEOUT) -> dict[str, Any]:
    """GET a JSON object. https only, except on loopback. Raises Unreachable or OAuthError."""
    return _load(urllib.request.Request(url, headers={"Accept": "application/json"}), cafile, timeout)


def send_json(url: str, value: Mapping[str, Any], token: str, cafile: str | None = None) -> dict[str, Any]:
    """POST a JSON object with a Bearer token (RFC 6750 §2.1); the object that comes back. Raises as `load_json`."""
    headers = {"Accept": "application/json", "Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    return _load(urllib.request.Request(url, json.dumps(value).encode(), headers), cafile)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Endpoints are named by the metadata; following a redirect would carry credentials to somebody else."""

    def redirect_request(self, *_: object) -> None:
        return None


def _form(url: str, form: Mapping[str, str], headers: Mapping[str, str] | None = None) -> urllib.request.Request:
    body = urllib.parse.urlencode({name: value for name, value in form.items() if value}).encode()
    return urllib.request.Request(url, data=body, headers={"Accept": "application/json", **(headers or {})})


def _load(request: urllib.request.Request, cafile: str | None, timeout: float = TIMEOUT) -> dict[str, Any]:
    return _parse(_fetch(request, cafile, timeout), request.full_url)


def _fetch(request: urllib.request.Request, cafile: str | None, timeout: float = TIMEOUT) -> bytes:
    url = urllib.parse.urlsplit(request.full_url)
    if url.scheme != "https" and not (url.scheme == "http" and url.hostname in LOOPBACK):
        raise Unreachable(request.full_url, "not an https URL", "an issuer is only trusted over https")
    failure = Unreachable
    try:
        opener = _open(cafile, _stamp(cafile))
        failure = Lost
        with opener.open(request, timeout=timeout) as answer:
            return bytes(answer.read(LIMIT))
    except urllib.error.HTTPError as error:
        raise _refused(error, request) from error
    except urllib.error.URLError as error:  # there was no connection, or none that took all of the request
        raise Unreachable(request.full_url, f"no answer: {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        raise failure(request.full_url, f"no answer: {error}") from error


def _stamp(cafile: str | None) -> tuple[int, ...]:
    """What changes with the authorities. Raises OSError."""
    usual = ssl.get_default_verify_paths()
    places = (cafile,) if cafile else (usual.cafile, usual.capath)
    return tuple(Path(place).stat().st_mtime_ns for place in places if place)


@lru_cache(maxsize=8)
def _open(cafile: str | None, stamp: tuple[int, ...]) -> urllib.request.OpenerDirector:
    """Who asks with these authorities: to read them may take longer than the request itself."""
    context = ssl.create_default_context(cafile=cafile)
    return urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), _NoRedirects())


def _refused(error: urllib.error.HTTPError, request: urllib.request.Request) -> FarmletError:
    """An error answer in the protocol's own words if it has them (RFC 6749 §5.2), else as a fault of the server."""
    url = request.full_url
    try:
        said = _parse(error.read(LIMIT), url)
    except (Unreachable, OSError, http.client.HTTPException):
        said = {}
    if error.code < 500 and isinstance(said.get("error"), str):
        # ours says there why a membership ended
        description = said.get("error_description") or said.get("farmlet_reason") or ""
        return OAuthError(url, said["error"], conceal(str(description), find_secrets(request)), error.code)
    # by these a reverse proxy says that no answer came from behind it
    failure = Lost if error.code in (502, 504) else Unreachable
    return failure(url, f"HTTP {error.code} {error.reason}")


def _parse(data: bytes, url: str) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError as error:
        raise Lost(url, "the answer is not JSON") from error
    if not isinstance(value, dict):
        raise Lost(url, "the answer is not a JSON object")
    return value


def _endpoint(metadata: Mapping[str, Any], name: str, issuer: str) -> str:
    url = metadata.get(name)
    if not isinstance(url, str):
        raise Unreachable(issuer, f"its discovery document has no {name}")
    return url


def _tokens(answer: Mapping[str, Any], issuer: str) -> Tokens:
    try:
        return Tokens(
            access_token=answer["access_token"],
            refresh_token=answer.get("refresh_token", ""),
            expires_in=int(answer.get("expires_in", 0)),
            scope=answer.get("scope", ""),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise Lost(issuer, f"a token answer without {error}") from error
