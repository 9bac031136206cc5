"""Where answers may be sent: redirect URIs are compared letter by letter (RFC 9700 §4.1.3).

The one exception is the port of a loopback address, which a native program learns only when it starts (RFC 8252 §7.3).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from urllib.parse import urlencode, urlsplit

from farmlet.runtime import oauth

ALPHABET = re.compile(r"[A-Za-z0-9._~:/?\[\]@!$&'()*+,;=%-]+")  # RFC 3986 §2 without `#`
HOST = re.compile(r"(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:]+\])(?::\d{1,5})?")
PRIVATE = re.compile(r"[a-z][a-z0-9+-]*(?:\.[a-z0-9+-]+)+")  # a reversed domain name (RFC 8252 §7.1)
LOOPBACK = re.compile(r"(http://(?:127\.0\.0\.1|\[::1\]))(?::\d{1,5})?(?=[/?]|\Z)")


def find_fault(uri: str) -> str:
    """Why `uri` cannot be registered, "" if it can: https, http on loopback, or a scheme of the program's own."""
    if not ALPHABET.fullmatch(uri):
        return "has characters that a URI cannot have, or a fragment"
    try:
        parts = urlsplit(uri)
        _ = parts.port
    except ValueError:  # brackets that hold no address, a port beyond 65535
        return "is no URI"
    if "@" in parts.netloc:
        return "holds a user's name"
    if parts.scheme not in ("https", "http"):
        return "" if PRIVATE.fullmatch(parts.scheme) else "is neither https nor a scheme with a dot in it"
    if not HOST.fullmatch(parts.netloc):
        return "has no plain host name"
    if parts.scheme == "http" and parts.hostname not in oauth.LOOPBACK:
        return "is not encrypted: http is for 127.0.0.1, [::1] and localhost"
    return ""


def match(uri: str, registered: Iterable[str]) -> bool:
    """Whether `uri` is one of those registered, but for the port of a loopback address."""
    return _forget_port(uri) in {_forget_port(known) for known in registered}


def extend(uri: str, values: Mapping[str, str]) -> str:
    """`uri` with the values, empty ones left out, added to its query."""
    query = urlencode({name: value for name, value in values.items() if value})
    return f"{uri}{'&' if '?' in uri else '?'}{query}" if query else uri


def find_source(uri: str) -> str:
    """The source by which a Content-Security-Policy allows to go to `uri`; "" for one that could change the policy."""
    parts = urlsplit(uri)
    if parts.scheme not in ("https", "http") or parts.netloc.startswith("["):  # policies have no words for IPv6 addresses
        return f"{parts.scheme}:"
    return f"{parts.scheme}://{parts.netloc}" if HOST.fullmatch(parts.netloc) else ""


def _forget_port(uri: str) -> str:
    return LOOPBACK.sub(r"\1", uri, count=1) if LOOPBACK.match(uri) else uri
