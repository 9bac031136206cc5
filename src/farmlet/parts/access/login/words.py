"""What went wrong between this machine and the facility, for the person in front of it."""

from __future__ import annotations

import re
import ssl
import time
import urllib.error

from farmlet.errors import FarmletError
from farmlet.parts.access.login.state import State
from farmlet.runtime.issuer.refusals import OVER, find_hindrance
from farmlet.runtime.oauth import OAuthError, Unreachable

# X509_V_ERR_…: the certificate's time is not now
TIMES = {9, 10}
CODES = {
    "access_denied": ("the request was refused in the browser", "if that was not you, nothing happened; else log in again"),
    "expired_token": ("nobody allowed it in time, the code has ended", "repeat it: the code is good for some minutes"),
    "invalid_client": ("the issuer does not know this machine's client", "tell the facility's administrators"),
    "invalid_scope": ("you may have nothing of what a log-in asks for", "are you a member of a group? ask an administrator"),
}

# an INDIGO IAM's words for a scope that the client, and not the person, may not have
LACKING = re.compile(r"Scope '?(?P<scope>[^' ]+)'? not allowed for client '?(?P<client>[^' ]+)'?")


def explain(error: FarmletError, again: str, known: State | None = None) -> FarmletError:
    """The same error in words, with what to do. `again`: the command by which to log in anew; `known`: a log-in that is there."""
    if isinstance(error, OAuthError):
        issuer = known.issuer if known else error.where.rpartition("/")[0]
        if hindrance := find_hindrance(error, issuer):
            return FarmletError(error.where, hindrance, "what is here stays; it goes on by itself afterwards" if known else "")
        if error.code in OVER:
            return FarmletError(error.where, "the log-in has ended", f"log in anew: {again}")
        if lack := LACKING.search(error.what):
            what = f"its client {lack['client']} has no scope {lack['scope']} there"
            return FarmletError(error.where, what, "tell the facility's administrators: docs/reference/clients.md lists them")
        what, hint = CODES.get(error.code, (error.what, error.hint))
        return FarmletError(error.where, what, hint)
    if isinstance(error, Unreachable):
        told = _explain_silence(error)
        rest = find_rest(known, time.time()) if known else ""
        return FarmletError(told.where, told.what, "; ".join(filter(None, (rest, told.hint)))) if rest else told
    return error


def find_rest(known: State, now: float) -> str:
    """What of a log-in serves on while nobody answers, and until when (local time); "" for nothing."""
    left = [(name, span.end) for name, span in known.spans.items() if span.end > now]
    times = " and ".join(f"your {name} until {time.strftime('%a %H:%M', time.localtime(end))}" for name, end in left)
    return f"what you have serves on: {times}" if left else ""


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
