"""What a program says of itself when it registers (RFC 7591 §2), validated: plain values in, plain values out."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from farmlet.parts.identity.service.oauth import redirects
from farmlet.parts.identity.service.oauth.grants import CODE, DEVICE_CODE
from farmlet.parts.identity.service.oauth.target import name
from farmlet.runtime.tokens import ALGORITHMS

# a program nobody of the facility has looked at acts only for people who allow it
GRANTS = (CODE, DEVICE_CODE, "refresh_token")
METHODS = ("client_secret_basic", "client_secret_post", "none")
NAMELESS = "A program without a name"
NAME, URI, URIS = 64, 500, 10  # characters of a name and of a URI, number of URIs
SCOPES = re.compile(r"[!#-\[\]-~ ]*")  # RFC 6749 §3.3


class Rejected(Exception):
    """What was sent cannot be registered. `code` is RFC 7591's (§3.2.2) or RFC 6750's."""

    def __init__(self, code: str, description: str, status: int = 400) -> None:
        super().__init__(description)
        self.code, self.description, self.status = code, description, status


@dataclass(frozen=True)
class Metadata:
    """What a program may have of what it asked for. `scope` is None where it named none, `algorithm` "" likewise; `audiences`:
    whom its tokens may be for, a field of ours (`audience`, as others have it), empty for whomever a member allows by name.
    """

    name: str
    grants: tuple[str, ...]
    method: str
    redirects: tuple[str, ...]
    logouts: tuple[str, ...]
    scope: str | None
    algorithm: str
    audiences: tuple[str, ...]


def validate(data: Mapping[str, Any]) -> Metadata:
    """Cut what is asked to what may be had (RFC 7591 §2 allows that), unknown fields ignored. Raises Rejected."""
    grants = tuple(grant for grant in GRANTS if grant in _texts(data, "grant_types", (CODE,)))
    if not {CODE, DEVICE_CODE} & set(grants):
        raise Rejected("invalid_client_metadata", f"grant_types must hold {CODE} or {DEVICE_CODE}")
    method = _text(data, "token_endpoint_auth_method") or METHODS[0]
    if method not in METHODS:
        raise Rejected("invalid_client_metadata", f"token_endpoint_auth_method must be one of {', '.join(METHODS)}")
    algorithm = _text(data, "id_token_signed_response_alg") or ""
    if algorithm not in ("", *ALGORITHMS):
        raise Rejected("invalid_client_metadata", f"id_token_signed_response_alg must be one of {', '.join(ALGORITHMS)}")
    scope = _text(data, "scope")
    if not SCOPES.fullmatch(scope or ""):
        raise Rejected("invalid_client_metadata", "scope holds characters that scopes cannot have")
    redirects = _uris(data, "redirect_uris")
    if CODE in grants and not redirects:
        raise Rejected("invalid_redirect_uri", f"{CODE} needs redirect_uris")
    return Metadata(
        name=clean(_text(data, "client_name") or ""),
        grants=grants,
        method=method,
        redirects=redirects,
        logouts=_uris(data, "post_logout_redirect_uris"),
        scope=scope,
        algorithm=algorithm,
        audiences=_audiences(data),
    )


def clean(name: str) -> str:
    """A name fit to be shown: one line, nothing invisible, nothing that turns the direction of what follows."""
    folded = unicodedata.normalize("NFKC", name[: 4 * NAME])
    visible = "".join(letter if unicodedata.category(letter)[0] not in "CZ" else " " for letter in folded)
    return " ".join(visible.split())[:NAME].rstrip() or NAMELESS


def check_redirect(uri: str) -> str:
    """What is wrong with a redirect URI, "" if nothing. A star is refused, for whoever writes one expects it to mean more."""
    if len(uri) > URI:
        return f"is longer than {URI} characters"
    return "holds a wildcard" if "*" in uri else redirects.find_fault(uri)


def _audiences(data: Mapping[str, Any]) -> tuple[str, ...]:
    found = name(("audience", text) for text in _texts(data, "audience", ()))
    if found is None:
        raise Rejected("invalid_client_metadata", "audience holds odd characters, or too many of them")
    return tuple(found.split())


def _uris(data: Mapping[str, Any], field: str) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(_texts(data, field, ())))
    if len(found) > URIS:
        raise Rejected("invalid_redirect_uri", f"more than {URIS} {field}")
    for uri in found:
        if fault := check_redirect(uri):
            raise Rejected("invalid_redirect_uri", f"{clean(uri)} {fault}")
    return found


def _texts(data: Mapping[str, Any], field: str, usual: Iterable[str]) -> list[str]:
    value = data.get(field)
    if value is None:
        return list(usual)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise Rejected("invalid_client_metadata", f"{field} is not a list of texts")
    return value


def _text(data: Mapping[str, Any], field: str) -> str | None:
    value = data.get(field)
    if value is not None and not isinstance(value, str):
        raise Rejected("invalid_client_metadata", f"{field} is not a text")
    return value
