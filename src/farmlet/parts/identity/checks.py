"""What must hold of the identity service. Standard library only."""

from __future__ import annotations

import time
from pathlib import Path

from farmlet.errors import FarmletError
from farmlet.runtime import audit, oauth
from farmlet.runtime.checkpoint import Checkpoint
from farmlet.runtime.checks import Failed

WEEK = 7 * 86400  # seconds
OLDEST = 97  # days; a key gets a successor after 90, by a timer
NEEDED = ("token_endpoint", "device_authorization_endpoint", "jwks_uri")


def check_audit(path: str, checkpoint: str) -> str:
    """The audit log is one unbroken chain, and what root remembers of it in the file `checkpoint` is still so.

    The evidence tells break-glass of the last week too: whoever looks shall see it.
    """
    log, kept = Path(path), Path(checkpoint)
    if not log.exists() and not kept.exists():
        return f"{path}: nothing was decided yet"
    try:
        found = Checkpoint(log, kept).verify()
        taken = list(audit.find(log, "token.minted", time.time() - WEEK))
    except FarmletError as error:
        raise Failed(f"{error.where}: {error.what}") from error
    left = f", {found.left} bytes are still to be read" if found.left else ""
    whole = f"{path}: {found.lines} lines, unbroken{left}, all verified in the last {(time.time() - found.whole) / 60:.0f} min"
    if not taken:
        return whole
    return f"{whole}; break-glass in 7 days: {len(taken)}, the last by {taken[-1]['by']} as {taken[-1]['member']}"


def check_keys(folder: str) -> str:
    """The signing keys are rotated in time: of each kind the newest, as the files' names tell, is not too old."""
    newest: dict[str, float] = {}
    for path in sorted(Path(folder).glob("*-*.pem")):
        made, _, algorithm = path.stem.partition("-")
        newest[algorithm] = (time.time() - int(made)) / 86400
    if not newest:
        raise Failed(f"{folder} holds no signing key")
    evidence = ", ".join(f"{algorithm} made {age:.0f} days ago" for algorithm, age in sorted(newest.items()))
    if max(newest.values()) > OLDEST:
        raise Failed(f"the signing keys are not rotated: {evidence}")
    return evidence


def check_issuer(issuer: str) -> str:
    """Discovery names this issuer and its endpoints (OpenID Connect Discovery §4), and there is a key to verify with."""
    try:
        metadata = oauth.load_metadata(issuer)
        missing = [name for name in NEEDED if name not in metadata]
        if missing:
            raise Failed(f"{issuer} does not say its {', '.join(missing)}")
        keys = oauth.load_json(metadata["jwks_uri"])["keys"]
    except (FarmletError, KeyError) as error:
        raise Failed(str(error)) from error
    if not keys or any("d" in key for key in keys):
        raise Failed(f"{issuer} publishes no keys" if not keys else f"{issuer} publishes a private key")
    return f"{issuer} answers, with {len(keys)} keys"
