"""A refresh token on the disk: one `.top` of a member, from which one or several services get their tokens.

Issuers rotate refresh tokens: the new one is stored before anything else is done with an answer, since the old one is worth
nothing any more.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from farmlet.parts.tokens.credential import LIMIT, Credential, rotate
from farmlet.runtime import oauth
from farmlet.runtime.files import write

FRESH = 300.0  # seconds for which it is remembered where an issuer gives tokens


class Issuers:
    """Whom the monitor asks: `urls`, and where. `cafile`: authorities (PEM), the system's if None."""

    def __init__(self, urls: Sequence[str], cafile: str | None = None) -> None:
        self.urls, self.cafile = tuple(urls), cafile
        self._found: dict[str, tuple[float, str]] = {}

    def refresh(self, credential: Credential, scope: str, audience: str) -> oauth.Tokens:
        """Raises oauth.OAuthError, oauth.Unreachable."""
        since, endpoint = self._found.get(credential.issuer, (0.0, ""))
        if not endpoint or time.monotonic() - since > FRESH:
            endpoint = oauth.find_endpoint(credential.issuer, self.cafile)
            self._found[credential.issuer] = (time.monotonic(), endpoint)
        return oauth.refresh(
            credential.issuer,
            credential.client_id,
            credential.refresh_token,
            self.cafile,
            scope=scope,
            audience=audience,
            endpoint=endpoint,
        )


class Source:
    """Keeps what one `.top` holds."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self._unsaved: tuple[bytes, bytes] | None = None  # what lies on the disk, what should

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
        same = read(self.top) == before
        if same and after != before:
            info = self.top.stat()
            write(self.top, after, 0o600, (info.st_uid, info.st_gid))
            # its age tells when the member stored it
            os.utime(self.top, ns=(info.st_atime_ns, info.st_mtime_ns))
        self._unsaved = None
        return same

    @property
    def owner(self) -> tuple[int, int]:
        """User and group id. Raises OSError."""
        info = self.top.stat()
        return info.st_uid, info.st_gid


def read(top: Path) -> bytes:
    """What a member stored. Raises OSError."""
    with top.open("rb") as stream:
        return stream.read(LIMIT)
