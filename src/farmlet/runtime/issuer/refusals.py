"""What an issuer means by refusing a refresh token. Standard library only.

By RFC 6749 §5.2 one that is over is `invalid_grant`. An INDIGO IAM says `invalid_token` of it, and `invalid_grant` of what is
good again once its member has signed the policy of use; who is suspended there is `unauthorized`.
"""

from __future__ import annotations

import re

from farmlet.runtime.oauth import OAuthError

OVER = ("invalid_grant", "invalid_token")
UNSIGNED = re.compile(r"\bsign\b.*\bAUP\b")
INACTIVE = re.compile(r"\bnot active\b")


def find_hindrance(error: OAuthError, issuer: str) -> str:
    """Why there is no token just now though the refresh token is good, and what to do; "" if that is not so."""
    if error.code == "invalid_grant" and UNSIGNED.search(error.what):
        return f"{error.what.partition(': ')[2]} Sign it: {issuer.rstrip('/')}/iam/aup/sign"
    if error.code == "unauthorized" and INACTIVE.search(error.what):
        return f"{error.what.partition(': ')[2]} Ask the administrators of {issuer}"
    return ""


def is_over(error: OAuthError, issuer: str) -> bool:
    """Whether the issuer will never take this refresh token again."""
    return error.code in OVER and not find_hindrance(error, issuer)
