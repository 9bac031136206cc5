"""One token of a member, kept fresh: `SERVICE.use` beside `SERVICE.top`. Standard library only."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

from farmlet.parts.tokens import notes
from farmlet.parts.tokens.credential import Credential, Unusable, Wish, read_end
from farmlet.parts.tokens.source import TRIES, Issuers, Silent, Source, read
from farmlet.runtime import oauth
from farmlet.runtime.files import write
from farmlet.runtime.issuer.refusals import OVER, find_hindrance

BACKOFF = (2.0, 60.0)  # seconds until an issuer that did not answer is asked again: at first, at most
SPENT = (0.32, 0.4)  # of its life, within which a token is renewed: jobs get it later, and issuers may be away
TICK = 10_000_000  # nanoseconds by which times of files are behind the clock at most: a tick of the kernel's
SHORTEST = 30.0  # seconds; what a token is taken to live at least, lest its issuer be asked without end
# Verdicts on a wish (RFC 6749 §5.2, RFC 8707 §2): they stay where it names what they are about, in this attribute of `Wish`.
# What is usual is the facility's own affair, as the client is: while `up` changes its elements, head and issuer know different
# ones. That is no reason to have all members come back.
NAMED = {"invalid_scope": "scope", "invalid_target": "audience"}
AT_ONCE = 1.0  # seconds; an answer that is lost sooner is asked for again at once


class Waiting(Exception):
    """The issuer gives nothing until its member has done something there, or somebody for them; the text says what."""


class Renewer:
    """Keeps one `.use`. `source` has the refresh token, `audience` is the usual one at the first issuer (blank-separated)."""

    def __init__(self, top: Path, source: Source, issuers: Issuers, audience: str = "") -> None:
        self.top, self.use, self.source = top, top.with_suffix(".use"), source
        self._issuers, self._audience = issuers, audience
        self._lifetime = 0
        self._pause = self._later = 0.0  # back-off in seconds, and until when

    def due(self) -> float:
        """When it wants to be renewed (seconds since the epoch): at a third of the token's life or a little later.

        At once when there is no token yet or the member stored another credential.
        """
        try:
            made, stored = self.use.stat().st_mtime_ns, self.top.stat().st_mtime_ns
            end = read_end(self.use.read_bytes())
        except OSError:
            return self._later
        if stored > made:
            return self._later
        life = max(self._lifetime or end - made / 1e9, SHORTEST)
        return max(made / 1e9 + life * random.Random(f"{self.top}{made}").uniform(*SPENT), self._later)

    def delay(self) -> None:
        """Ask later: as soon as the issuer is asked at all, if that is silent; else twice as late each time, until it works."""
        if (rest := self._issuers.rest(self.source.issuer)) and self.source.lost <= TRIES:
            self._later = time.time() + rest
            return
        first, most = BACKOFF
        self._pause = min(max(2 * self._pause, first), most)
        self._later = time.time() + self._pause * random.uniform(0.8, 1.2)

    def wake(self) -> None:
        """Something on the disk has changed: forget what spoke against asking."""
        self._pause = self._later = 0.0

    def renew(self) -> bool:
        """Get a new access token; False if the member stored another credential meanwhile.

        Raises Unusable, Waiting or oauth.Unreachable (ask again later), FileNotFoundError (it was taken back) or OSError (the
        disk).
        """
        asked = max(self.top.stat().st_mtime_ns, time.time_ns() - TICK)
        data, owner = self.source.load(), self.source.owner
        tokens = self._ask(data)
        if taken := tokens is not None and self.source.take(data, tokens):
            self._lifetime = tokens.expires_in
            write(self.use, tokens.access_token.encode(), 0o600, owner)
            os.utime(self.use, ns=(asked, asked))  # whatever is stored from then on is newer
            notes.forget(self.top)
            notes.forget(self.source.top)
        self.wake()
        return taken

    def _ask(self, data: bytes) -> oauth.Tokens | None:
        """As `renew`. What the issuer takes no more is away then, and a note says why."""
        wished = data if self.top == self.source.top else read(self.top)
        culprit, held = self.top, wished
        try:
            wish = Wish.parse(wished)
            culprit, held = self.source.top, data
            credential = Credential.parse(data, self._issuers.urls)
            # others know nothing of the facility's storage elements
            usual = self._audience if credential.issuer == self._issuers.urls[0] else ""
            tokens = self._refresh(credential, wish.scope, wish.audience or usual)
            self.source.lost = 0
            return tokens
        except Silent:
            raise
        except oauth.Unreachable as error:
            self.source.lost += isinstance(error, oauth.Lost) or self.source.lost > 0
            raise
        except oauth.OAuthError as error:
            refused = Unusable(str(error))
            if error.code in NAMED and getattr(wish, NAMED[error.code]):
                culprit, held = self.top, wished
            elif reason := find_hindrance(error, self.source.issuer):
                raise Waiting(reason) from error
            elif error.code in OVER:  # members read it as the reason why their jobs are held
                refused = Unusable(f"its issuer has ended it: {describe(error)}{self._explain()}")
            else:
                raise
        except Unusable as error:
            refused = error
        if not refuse(culprit, held, str(refused)):
            return None
        raise refused

    def _refresh(self, credential: Credential, scope: str, audience: str) -> oauth.Tokens:
        """As Issuers.refresh. An issuer may replace the refresh token without grace: then only who asks in the same moment again,
        before it has ended the old one, gets another."""
        again = time.monotonic() + AT_ONCE
        try:
            return self._issuers.refresh(credential, scope, audience)
        except oauth.Lost as error:
            if isinstance(error.__cause__, TimeoutError) or time.monotonic() > again:
                raise
            self.source.lost = max(self.source.lost, 1)
        return self._issuers.refresh(credential, scope, audience)

    def _explain(self) -> str:
        """Where an answer was lost before, that may be why."""
        return ", after an answer of it was lost on the way" if self.source.lost else ""


def describe(error: oauth.OAuthError) -> str:
    """What it says; of what it does not know an INDIGO IAM repeats the refresh token."""
    return str(error) if error.code == "invalid_grant" else f"{error.where}: {error.code}"


def refuse(top: Path, held: bytes, reason: str) -> bool:
    """Take away what is worth nothing any more, so that its member is asked anew; tokens made of it live to their end.

    `held` is what was refused; False if the member has stored something else in its place meanwhile, which stays.
    """
    info, same = top.stat(), False
    refused = notes.refuse(top, reason, (info.st_uid, info.st_gid))
    try:
        if same := read(top) == held:
            top.unlink(missing_ok=True)
        return same
    finally:
        if not same:
            refused.unlink(missing_ok=True)
