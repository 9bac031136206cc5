"""HTCondor's credential monitor for OAuth: turns each stored refresh token into access tokens that stay fresh.

Run by condor_master as CREDMON_OAUTH, as root; standard library only. Its contract with condor_credd, for each
`<user>/<service>.top` below the credential directory: `<service>.use` beside it, which jobs get as it is, here the bare
access token. The monitor's process id is in `pid`, SIGHUP asks for a pass now, CREDMON_COMPLETE is touched after each.

A `.top` is JSON {"issuer", "client_id", "refresh_token"}. Issuers rotate refresh tokens: the new one is stored before
anything else is done with the answer, since the old one is worth nothing any more. A credential that its issuer refuses
for good is left alone until its member stores another one; `<service>.refused` says why.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import logging
import math
import os
import random
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from farmlet.errors import FarmletError
from farmlet.runtime import oauth
from farmlet.runtime.files import write

log = logging.getLogger("farmlet.credmon")

LONGEST = 60.0  # seconds between two passes
BACKOFF = (2.0, 60.0)  # seconds until an issuer that did not answer is asked again: at first, at most
PATIENCE = 3  # questions in a row without an answer, after which a pass ends
SHORTEST = 120.0  # seconds; what a token is taken to live at least, lest its issuer be asked without end
LIMIT = 64 * 1024  # bytes of a credential
# The issuer's verdicts that the same request will meet again (RFC 6749 §5.2).
FINAL = frozenset(
    {"invalid_grant", "invalid_client", "unauthorized_client", "invalid_scope", "invalid_request", "unsupported_grant_type"}
)


class Unusable(Exception):
    """A credential that cannot work as it is; the text says why."""


@dataclass(frozen=True)
class Credential:
    """What a member stored."""

    issuer: str
    client_id: str
    refresh_token: str

    @classmethod
    def parse(cls, data: bytes, issuers: Sequence[str]) -> Credential:
        """Raises Unusable. Only `issuers` are asked: members write these files, and the monitor runs as root."""
        try:
            value = json.loads(data)
            found = cls(*(value[name] for name in ("issuer", "client_id", "refresh_token")))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise Unusable("it is not JSON with issuer, client_id and refresh_token") from error
        if not all(isinstance(text, str) and text for text in (found.issuer, found.client_id, found.refresh_token)):
            raise Unusable("issuer, client_id and refresh_token must be texts")
        if found.issuer not in issuers:
            raise Unusable(f"{found.issuer!r} is not an issuer of this facility; that is {' or '.join(issuers)}")
        return found

    def rotate(self, refresh_token: str) -> bytes:
        """The stored form with the token that replaces this one's."""
        return json.dumps({"issuer": self.issuer, "client_id": self.client_id, "refresh_token": refresh_token}).encode()


class Keeper:
    """Keeps one `.top` with its `.use`."""

    def __init__(self, top: Path, issuers: Sequence[str], cafile: str | None) -> None:
        self.top, self.use, self.refused = top, top.with_suffix(".use"), top.with_suffix(".refused")
        self._issuers, self._cafile = issuers, cafile
        self._unsaved: tuple[bytes, bytes] | None = None  # what lies on the disk, what should
        self._lifetime = 0
        self._pause = self._later = 0.0  # back-off in seconds, and until when

    def due(self) -> float:
        """When it wants to be renewed (seconds since the epoch): at half of the token's life, a little earlier by chance.

        At once when there is no token yet or the member stored another credential; never while that is refused.
        """
        if self._is_refused():
            return math.inf
        try:
            made, stored = self.use.stat().st_mtime_ns, self.top.stat().st_mtime_ns
            end = read_end(self.use.read_bytes())
        except OSError:
            return self._later
        # our own renewal writes the .top first, so a younger one is the member's
        if stored > made or self._unsaved:
            return self._later
        life = max(self._lifetime or end - made / 1e9, SHORTEST)
        return max(made / 1e9 + life * (0.5 - random.Random(f"{self.top}{made}").uniform(0, 0.1)), self._later)

    def delay(self) -> None:
        """Ask later: twice as late each time, until it works again."""
        first, most = BACKOFF
        self._pause = min(max(2 * self._pause, first), most)
        self._later = time.time() + self._pause * random.uniform(0.8, 1.2)

    def renew(self) -> None:
        """Get a new access token. Raises Unusable, oauth.Unreachable (ask again later) or OSError (the disk)."""
        data = self._load()
        try:
            credential = Credential.parse(data, self._issuers)
            tokens = oauth.refresh(credential.issuer, credential.client_id, credential.refresh_token, self._cafile)
        except oauth.OAuthError as error:
            if error.code not in FINAL:
                raise
            self._refuse(data, str(error))
            raise Unusable(str(error)) from error
        except Unusable as error:
            self._refuse(data, str(error))
            raise
        fresh = credential.rotate(tokens.refresh_token) if tokens.refresh_token else data
        self._unsaved = (data, fresh)
        if self._save():
            self._lifetime = tokens.expires_in
            write(self.use, tokens.access_token.encode(), 0o600, self._owner())
            self.refused.unlink(missing_ok=True)
        self._pause = self._later = 0.0

    def _load(self) -> bytes:
        if self._unsaved:
            self._save()
        with self.top.open("rb") as stream:
            return stream.read(LIMIT)

    def _save(self) -> bool:
        """Store the rotated refresh token; False if the member stored another credential meanwhile, which stays.

        When the disk does not take it (OSError), it is kept in memory and stored at the next attempt.
        """
        assert self._unsaved
        before, after = self._unsaved
        same = self.top.read_bytes() == before
        if same and after != before:
            write(self.top, after, 0o600, self._owner())
        self._unsaved = None
        return same

    def _is_refused(self) -> bool:
        """Whether this very credential was refused before."""
        try:
            note = json.loads(self.refused.read_text())
            return bool(note["sha256"] == hashlib.sha256(self.top.read_bytes()).hexdigest())
        except (OSError, ValueError, LookupError, TypeError):
            return False

    def _refuse(self, data: bytes, reason: str) -> None:
        note = {"reason": reason, "at": time.strftime("%FT%TZ", time.gmtime()), "sha256": hashlib.sha256(data).hexdigest()}
        write(self.refused, json.dumps(note).encode(), 0o600, self._owner())

    def _owner(self) -> tuple[int, int]:
        info = self.top.stat()
        return info.st_uid, info.st_gid


def read_end(token: bytes) -> float:
    """When a JWT ends (its `exp`, RFC 7519 §4.1.4; seconds since the epoch); 0 for a token that says nothing."""
    try:
        part = token.split(b".")[1]
        return float(json.loads(base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4)))["exp"])
    except (LookupError, ValueError, TypeError):
        return 0.0


class Monitor:
    """All credentials below `root`. `issuers`: whom to ask at all; `cafile`: authorities (PEM), the system's if None."""

    def __init__(self, root: Path, issuers: Sequence[str], cafile: str | None = None) -> None:
        self.root, self._issuers, self._cafile = root, issuers, cafile
        self._keepers: dict[Path, Keeper] = {}

    def sweep(self) -> float:
        """Renew what is due; the seconds until the next pass."""
        self._scan()
        due = {path: keeper.due() for path, keeper in self._keepers.items()}
        failures = 0
        for path in sorted(due, key=lambda path: due[path]):
            # an issuer that answers nobody is not asked for everybody: each silence takes its time
            if due[path] > time.time() or failures == PATIENCE:
                break
            failures = 0 if self._renew(self._keepers[path]) else failures + 1
        (self.root / "CREDMON_COMPLETE").touch()
        coming = min((keeper.due() for keeper in self._keepers.values()), default=math.inf) - time.time()
        return min(max(coming, BACKOFF[0]), LONGEST)

    def _scan(self) -> None:
        """Know what is stored now; tokens whose credential was taken back go with it."""
        tops = sorted(self.root.glob("*/*.top"))
        self._keepers = {top: self._keepers.get(top) or Keeper(top, self._issuers, self._cafile) for top in tops}
        for kind in ("use", "refused"):
            for path in self.root.glob(f"*/*.{kind}"):
                if path.with_suffix(".top") not in self._keepers:
                    path.unlink(missing_ok=True)

    def _renew(self, keeper: Keeper) -> bool:
        """Whether there was an answer to the keeper's question."""
        name = f"{keeper.top.parent.name}/{keeper.top.stem}"
        try:
            known = keeper.use.exists()
            keeper.renew()
            log.info("%s: %s", name, "token renewed" if known else "first token")
        except Unusable as error:
            log.warning("%s is left alone until it is stored anew: %s", name, error)
        except FileNotFoundError:
            log.info("%s was taken back", name)  # this very moment: the next pass forgets it
        except Exception as error:  # whatever one member stored must not keep the others' tokens from being renewed
            log.warning("%s: %s", name, error if isinstance(error, FarmletError | OSError) else repr(error))
            keeper.delay()
            return False
        return True

    def run(self) -> None:
        """Work until SIGTERM, SIGQUIT or SIGINT.

        Signals are taken between passes only: a process ended between an answer and its storing would lose a credential.
        """
        wake, end = {signal.SIGHUP}, {signal.SIGTERM, signal.SIGQUIT, signal.SIGINT}
        signal.pthread_sigmask(signal.SIG_BLOCK, wake | end)
        write(self.root / "pid", str(os.getpid()).encode(), 0o644)
        log.info("watching %s for %s", self.root, " and ".join(self._issuers))
        while True:
            seconds = self.sweep()
            told = signal.sigtimedwait(wake | end, seconds)
            if told is not None and told.si_signo in end:
                return


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="farmlet-credmon", description="HTCondor's credential monitor for OAuth.")
    parser.add_argument("folder", type=Path, help="the credential directory")
    parser.add_argument("--issuer", action="append", required=True, help="whose refresh tokens it takes; may be repeated")
    parser.add_argument("--cafile", help="authorities (PEM) instead of the system's")
    options = parser.parse_args(arguments)
    os.umask(0o077)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        Monitor(options.folder, options.issuer, options.cafile).run()
    except (FarmletError, OSError) as error:
        log.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
