"""A refresh token on the disk: one `.top` of a member, from which one or several services get their tokens.

Issuers rotate refresh tokens: the new one is stored before anything else is done with an answer, since the old one is worth
nothing any more.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from farmlet.parts.tokens.credential import LIMIT, Credential, Unusable, rotate
from farmlet.runtime import oauth
from farmlet.runtime.files import rename, write

FRESH = 300.0  # seconds for which it is remembered where an issuer gives tokens
PATIENCE = 3  # faults of an issuer in a row after which it is silent; one is enough where it does not answer at all
# Seconds for which a silent issuer is left alone, at first and at most. Ours forgives a refresh token that comes again for 30 s,
# from when it took it the first time, which may be long after it was sent.
SILENCE = (2.0, 8.0)
PROBE = 5.0  # seconds in which an issuer that missed a question has to say where its tokens are given
ROTATING = "rotating.json"  # in the credential directory: {issuer: [clients whose refresh tokens it replaces]}
TRIES = 5  # answers lost in a row after which a credential itself is taken to be what its issuer is slow with


class Silent(oauth.Unreachable):
    """The issuer does not even say where it gives tokens: no refresh token was shown to it."""


@dataclass
class Silence:
    """Of one issuer: questions missed in a row, and until when it is left alone (monotonic seconds)."""

    missed: int = 0
    pause: float = 0.0
    since: float = 0.0
    until: float = 0.0


class Issuers:
    """Whom the monitor asks: `urls`, and where. `cafile`: authorities (PEM), the system's if None; `timeout`: seconds."""

    def __init__(self, urls: Sequence[str], cafile: str | None = None, timeout: float = oauth.TIMEOUT) -> None:
        self.urls, self.cafile, self._timeout = tuple(urls), cafile, timeout
        self._found: dict[str, tuple[float, str]] = {}
        self._silences: dict[str, Silence] = {}
        self._rotating: dict[str, set[str]] = {}
        self._kept: dict[str, set[str]] | None = None  # what is on the disk of it

    def is_silent(self, issuer: str) -> bool:
        return issuer in self._silences and self._silences[issuer].missed >= PATIENCE

    def rest(self, issuer: str) -> float:
        """Seconds for which it should not be asked."""
        return max(self._silences[issuer].until - time.monotonic(), 0.0) if issuer in self._silences else 0.0

    def hurry(self, issuer: str) -> None:
        """Somebody waits for it: the shortest pause will do."""
        if found := self._silences.get(issuer):
            found.until = min(found.until, found.since + SILENCE[0])

    def refresh(self, credential: Credential, scope: str, audience: str) -> oauth.Tokens:
        """Raises oauth.OAuthError, oauth.Lost (it may have been taken), oauth.Unreachable."""
        issuer = credential.issuer
        try:
            tokens = oauth.refresh_at(
                self._find(issuer),
                credential.client_id,
                credential.refresh_token,
                self.cafile,
                scope=scope,
                audience=audience,
                timeout=self._timeout,
            )
        except oauth.Unreachable as error:
            self._miss(issuer, isinstance(error, oauth.Lost | Silent))
            raise
        except oauth.OAuthError:
            self._silences.pop(issuer, None)
            raise
        self._silences.pop(issuer, None)
        self._learn(credential, tokens)
        return tokens

    def _learn(self, credential: Credential, tokens: oauth.Tokens) -> None:
        """Whether the issuer replaces this client's refresh tokens."""
        clients = self._rotating.setdefault(credential.issuer, set())
        if tokens.refresh_token and tokens.refresh_token != credential.refresh_token:
            clients.add(credential.client_id)
        else:
            clients.discard(credential.client_id)

    def keep(self, path: Path) -> None:
        """Leave word of that for the check. What was learnt before this process began counts until it learns otherwise.

        Raises OSError.
        """
        if self._kept is None:
            self._rotating = load_rotating(path) | self._rotating
        if self._rotating != self._kept:
            text = json.dumps({issuer: sorted(clients) for issuer, clients in self._rotating.items() if clients})
            write(path, text.encode(), 0o644)
            self._kept = {issuer: set(clients) for issuer, clients in self._rotating.items()}

    def _find(self, issuer: str) -> str:
        """Where it gives tokens. Raises Silent, oauth.OAuthError."""
        since, endpoint = self._found.get(issuer, (0.0, ""))
        if not endpoint or time.monotonic() - since > FRESH:
            timeout = min(PROBE, self._timeout) if issuer in self._silences else self._timeout
            try:
                endpoint = oauth.find_endpoint(issuer, self.cafile, timeout)
            except oauth.Unreachable as error:
                raise Silent(error.where, error.what, error.hint) from error
            self._found[issuer] = (time.monotonic(), endpoint)
        return endpoint

    def _miss(self, issuer: str, entirely: bool) -> None:
        found = self._silences.setdefault(issuer, Silence())
        found.missed = max(found.missed + 1, PATIENCE if entirely else 0)
        if found.missed >= PATIENCE:
            first, most = SILENCE
            found.pause = min(max(2 * found.pause, first), most)
            found.since = time.monotonic()
            found.until = found.since + found.pause * random.uniform(0.8, 1.2)
        # before the next token is shown to it, it has to say again where: what it does not answer costs no credential anything
        self._found.pop(issuer, None)


def load_rotating(path: Path) -> dict[str, set[str]]:
    """The clients, by issuer; none where nothing is known."""
    try:
        return {str(issuer): set(map(str, clients)) for issuer, clients in json.loads(path.read_bytes()).items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


class Source:
    """Keeps what one `.top` holds.

    `issuer`: who gives tokens for it, "" while that cannot be told. `lost`: answers to it that were lost in a row. Its issuer
    may have replaced it then, and ends it should it come again late.
    """

    def __init__(self, top: Path) -> None:
        self.top, self.issuer, self.lost = top, "", 0
        self._unsaved: tuple[bytes, bytes] | None = None  # what lies on the disk, what should

    def look(self, issuers: Sequence[str]) -> None:
        """The member has stored something."""
        self.issuer, self.lost = "", 0
        try:
            self.issuer = Credential.parse(read(self.top), issuers).issuer
        except (OSError, Unusable):
            return  # who asks will find out

    def load(self) -> bytes:
        """The credential. Raises OSError, too while a rotated token cannot be stored."""
        if self._unsaved:
            self._save()
        return read(self.top)

    def take(self, data: bytes, tokens: oauth.Tokens) -> bool:
        """Store what the answer to a request with `data` replaces; False if the member stored another credential meanwhile.

        When the disk does not take it (OSError), it is kept in memory and stored before the next request.
        """
        self._unsaved = (data, rotate(data, tokens.refresh_token) if tokens.refresh_token else data)
        return self._save()

    def _save(self) -> bool:
        assert self._unsaved
        before, after = self._unsaved
        if (same := read(self.top) == before) and after != before:
            same = self._replace(before, after)
        self._unsaved = None
        return same

    def _replace(self, before: bytes, after: bytes) -> bool:
        info, fresh = self.top.stat(), self.top.with_name(f".{self.top.name}.new")
        try:
            write(fresh, after, 0o600, (info.st_uid, info.st_gid))
            # its age tells when the member stored it
            os.utime(fresh, ns=(info.st_atime_ns, info.st_mtime_ns))
            # disks take their time to write: what was stored meanwhile stays, and what was taken back stays away
            if same := read(self.top) == before:
                rename(fresh, self.top)
            return same
        finally:
            fresh.unlink(missing_ok=True)

    @property
    def owner(self) -> tuple[int, int]:
        """User and group id. Raises OSError."""
        info = self.top.stat()
        return info.st_uid, info.st_gid


def read(top: Path) -> bytes:
    """What a member stored. Raises OSError."""
    with top.open("rb") as stream:
        return stream.read(LIMIT)
