"""The token where programs look for it: WLCG Bearer Token Discovery 1.0 (§2, the places for files)."""

from __future__ import annotations

import os
from pathlib import Path

from farmlet.parts.access.login.places import Place
from farmlet.parts.access.login.state import State, read_own
from farmlet.runtime.files import write
from farmlet.runtime.issuer.jwt import peek


def bearer() -> Path:
    """`$BEARER_TOKEN_FILE`, else `bt_u<uid>` in `$XDG_RUNTIME_DIR`, else in /tmp."""
    if named := os.environ.get("BEARER_TOKEN_FILE"):
        return Path(named).absolute()
    return Path(os.environ.get("XDG_RUNTIME_DIR") or "/tmp") / f"bt_u{os.geteuid()}"


def publish(place: Place, known: State, force: bool = False) -> bool:
    """Put the token where programs look for it; False where another one is there, which only `force` replaces."""
    path, token = Path(known.bearer), read_own(place.token)
    # a folder that is not there, or is not this person's: on log-in nodes the facility sees to the token itself
    if not token or not os.access(path.parent, os.W_OK) or (there := read_own(path)) == token:
        return True
    if (path.is_symlink() or path.exists()) and not force and not is_ours(there, known):
        return False
    write(path, f"{token}\n".encode(), 0o600)  # a rename: a link that waits there is replaced, not followed
    return True


def is_ours(token: str, known: State) -> bool:
    """Whether a token (unverified) is of this facility's issuer and for our client."""
    try:
        claims = peek(token)
    except ValueError:
        return False
    return (claims.get("iss"), claims.get("client_id")) == (known.issuer, known.client)
