"""What a server says of a request that it refused, fit for a log and for a screen. Standard library only.

An INDIGO IAM repeats tokens and device codes in its error texts ("Refresh token for value … was not found").
"""

from __future__ import annotations

import re
import urllib.parse
import urllib.request
from collections.abc import Iterable

# parameters of RFC 6749, 7009, 8628, 8693 that open something
SECRETS = frozenset(
    {"refresh_token", "access_token", "device_code", "token", "client_secret", "code", "code_verifier"}
    | {"subject_token", "actor_token", "password"}
)
# a JWT begins with `{"` in base64url; what is opaque and as long as 32 random bytes is no word either
TOKEN = re.compile(r"eyJ[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]*)*|[A-Za-z0-9_-]{43,}")
LONGEST = 300
HIDDEN = "[hidden]"


def conceal(text: str, secrets: Iterable[str] = ()) -> str:
    """`text` on one line, without these secrets and what looks like a token."""
    for secret in sorted((secret for secret in secrets if secret), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    words = "".join(letter if letter.isprintable() else " " for letter in TOKEN.sub(HIDDEN, text))
    return " ".join(words.split())[:LONGEST]


def find_secrets(request: urllib.request.Request) -> list[str]:
    """What of a request no answer to it may bring to light: a form's secrets, its bearer's token."""
    data = request.data if isinstance(request.data, bytes) else b""
    form = urllib.parse.parse_qsl(data.decode("utf-8", "replace"))
    authorization = request.get_header("Authorization") or ""
    return [value for name, value in form if name in SECRETS] + [authorization.partition(" ")[2]]
