"""What of an external issuer, an INDIGO IAM, is not as the facility needs it, as far as our clients can see.

Standard library only. Each look asks the issuer for tokens and codes that nobody uses, so a result is kept for a while;
`farmlet check` looks anew.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any

from farmlet.errors import FarmletError
from farmlet.runtime import oauth
from farmlet.runtime.checks import TIMEOUT, Failed
from farmlet.runtime.issuer.jwt import peek

GOOD_SECONDS, BAD_SECONDS = 600.0, 60.0  # for which the agent believes what it saw
SCIM = "scim:read"
LIST = "docs/reference/clients.md"
_seen: dict[tuple[object, ...], tuple[float, str | Failed]] = {}


def keep(look: Callable[..., str]) -> Callable[..., str]:
    """The function, asked again only when its last result is old."""

    @wraps(look)
    def ask(**args: Any) -> str:
        mark = (look.__name__, json.dumps(args, sort_keys=True))
        end, found = _seen.get(mark, (0.0, ""))
        if time.monotonic() > end:
            try:
                found, seconds = look(**args), GOOD_SECONDS
            except Failed as failed:
                found, seconds = failed, BAD_SECONDS
            _seen[mark] = (time.monotonic() + seconds, found)
        if isinstance(found, Failed):
            raise Failed(str(found))
        return found

    return ask


def check_issuer(issuer: str) -> str:
    """The issuer answers at all; what it says is the other checks' business."""
    try:
        oauth.load_metadata(issuer, timeout=TIMEOUT)
    except FarmletError as error:
        if error.__cause__ is not None:
            raise Failed(f"{error.where}: {error.what}; the members known last still count, and nobody new is added") from error
    return f"{issuer} answers"


@keep
def check_reader(issuer: str, client: str, secret: str) -> str:
    """The issuer gives our client a token to read the members, and its tokens name it as its discovery document does.

    `secret`: the file.
    """
    try:
        given = Path(secret).read_text().strip()
        token = oauth.obtain(issuer, client, given, SCIM).access_token
    except OSError as error:
        raise Failed(f"{secret}: {error.strerror}") from error
    except oauth.OAuthError as error:
        raise Failed(f"{issuer} refuses the client {client}: {explain(error, SCIM, 'client credentials')}") from error
    except FarmletError as error:
        raise Failed(f"{error.where}: {error.what}") from error
    named = read_issuer(token)
    if named == issuer.rstrip("/") != issuer:
        raise Failed(
            f"tokens of {issuer} call it {named}: the IAM was configured without the slash at the end of its issuer, "
            "so each token is refused here; its administrators add the slash (IAM_ISSUER) and start it anew"
        )
    if named != issuer:
        raise Failed(f"tokens of {issuer} are by {named or 'nobody'}: the file's `issuer` must be what they say")
    return f"{issuer} gives {client} a token to read the members"


@keep
def check_clients(issuer: str, clients: Sequence[dict[str, str]]) -> str:
    """The public clients that the file names are there and may do what they are for. `clients`: [{"id", "use", "scope"}]; without
    "scope" a client is only to be there."""
    found = [(client, find_fault(issuer, **client)) for client in clients]
    if faults := [f"{client['use']}: {fault}" for client, fault in found if fault]:
        raise Failed(f"{'; '.join(faults)} ({LIST})")
    return f"{', '.join(client['id'] for client in clients)}: as they should be, as far as can be seen"


def find_fault(issuer: str, id: str, use: str, scope: str = "") -> str:
    """What is wrong with a public client for the device flow; "" if nothing is that can be seen from outside."""
    if not id:
        return "the file names no client"
    flow, scopes = oauth.DeviceFlow(issuer, id), scope or "openid"
    try:
        started = flow.start(scopes)
    except oauth.OAuthError as error:
        return explain(error, scopes, "device code") if scope or error.status == 404 else ""
    except FarmletError as error:
        return f"{error.where}: {error.what}"
    # somebody else's program may have a secret, and need not refresh
    return find_refusal(flow, started) if scope else ""


def find_refusal(flow: oauth.DeviceFlow, started: oauth.Started) -> str:
    """What the token endpoint has against a public client that got a code."""
    asks: tuple[tuple[str, Callable[[], object]], ...] = (
        ("device code", lambda: flow.wait(replace(started, interval=0), Once())),
        ("refresh token", lambda: oauth.refresh(flow.issuer, flow.client_id, "none", flow.cafile)),
    )
    for grant, ask in asks:
        try:
            ask()
        except Waiting:
            continue
        except oauth.OAuthError as error:
            if error.code == "invalid_client":
                return explain(error, "", grant)
        except FarmletError as error:
            return f"{error.where}: {error.what}"
    return ""


class Waiting(Exception):
    """Nobody has decided yet, as nobody will."""


class Once:
    """In place of `sleep`: lets the issuer be asked once."""

    asked = False

    def __call__(self, seconds: float) -> None:
        if self.asked:
            raise Waiting
        self.asked = True


def explain(error: oauth.OAuthError, scope: str, grant: str) -> str:
    """An issuer's refusal of a client, as its administrators can mend it."""
    text = error.what
    if error.status == 404:
        return "there is no such client"
    if error.code == "invalid_scope":
        return f"it lacks a scope of `{scope}` ({text}); an administrator of the IAM adds it"
    if "grant type" in text.lower():
        return f"it lacks the grant “{grant}” ({text})"
    if "disabled" in text.lower():
        return f"it is disabled ({text})"
    if error.status == 401 and grant == "client credentials":
        return f"its id or its secret is wrong ({text})"
    if error.status == 401:
        return f"it is not public, or not there: token endpoint authentication must be “none” ({text})"
    return text


def read_issuer(token: str) -> str:
    """The claim `iss` of a JWT, unverified: only to compare. "" if there is none."""
    try:
        return str(peek(token).get("iss", ""))
    except ValueError:
        return ""
