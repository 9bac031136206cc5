"""What went wrong between this machine and the facility, for the person in front of it."""

from __future__ import annotations

import ssl
import urllib.error

from farmlet.errors import FarmletError
from farmlet.runtime.oauth import OAuthError, Unreachable

# X509_V_ERR_…: the certificate's time is not now
TIMES = {9, 10}
CODES = {
    "access_denied": ("the request was refused in the browser", "if that was not you, nothing happened; else log in again"),
    "expired_token": ("nobody allowed it in time, the code has ended", "repeat it: the code is good for some minutes"),
    "invalid_client": ("the issuer does not know this machine's client", "tell the facility's administrators"),
    "invalid_scope": ("you may have nothing of what a log-in asks for", "are you a member of a group? ask an administrator"),
}


def explain(error: FarmletError, again: str) -> FarmletError:
    """The same error in words, with what to do. `again`: the command by which to log in anew."""
    if isinstance(error, OAuthError):
        if error.code == "invalid_grant":
            return FarmletError(error.where, "the log-in has ended", f"log in anew: {again}")
        what, hint = CODES.get(error.code, (error.what, error.hint))
        return FarmletError(error.where, what, hint)
    if isinstance(error, Unreachable):
        return _explain_silence(error)
    return error


def is_dead(error: FarmletError) -> bool:
    """Whether the issuer will never take this refresh token again."""
    return isinstance(error, OAuthError) and error.code == "invalid_grant"


def _explain_silence(error: Unreachable) -> FarmletError:
    cause = error.__cause__
    reason = cause.reason if isinstance(cause, urllib.error.URLError) else cause
    if isinstance(reason, ssl.SSLCertVerificationError):
        if reason.verify_code in TIMES:
            hint = "is this machine's clock right (`date -u`)? if so, tell the administrators"
            return FarmletError(error.where, f"its certificate is not valid now: {reason.verify_message}", hint)
        hint = "where the facility has an authority of its own: --ca FILE, with the file its administrators gave you"
        return FarmletError(error.where, f"its certificate is not trusted here: {reason.verify_message}", hint)
    if isinstance(reason, OSError):
        return FarmletError(
            error.where, f"cannot be reached: {reason.strerror or reason}", "is there a network, is the name right?"
        )
    return error
