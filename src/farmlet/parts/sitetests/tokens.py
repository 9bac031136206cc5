"""Tokens for jobs at sites: each for one corner of storage, of that site alone, and for nothing else.

They come from the facility's own issuer by client credentials (RFC 6749 §4.4), with the facility's own check of storage as model
(`storage.probe`): no member is involved. Whoever reads one at a site can write below that corner, for an hour.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from farmlet.errors import FarmletError
from farmlet.facility.scopes import PROBE
from farmlet.runtime import oauth

CLIENT = "sitetests-jobs"
CORNER = f"{PROBE}/sitetests"
SCOPES = (f"storage.read:{CORNER}", f"storage.modify:{CORNER}")
PAUSE = 60.0  # seconds before an issuer that gave none is asked again


@dataclass
class Minter:
    """`secret`: the client's, a file; `audience`: of all elements, with blanks between."""

    issuer: str
    secret: Path
    audience: str
    clock: Callable[[], float] = time.time
    _kept: dict[str, tuple[float, str]] = field(default_factory=dict)  # site → end, token
    _fault: tuple[float, str] = (0.0, "")  # until when nobody is asked, and why

    async def mint(self, site: str, seconds: float) -> str:
        """A token for the tests at a site, good for so many seconds or as long as the issuer gives them. Raises FarmletError."""
        end, token = self._kept.get(site, (0.0, ""))
        if end - self.clock() >= seconds:
            return token
        if self.clock() < self._fault[0]:
            raise FarmletError(self.issuer, self._fault[1])
        try:
            # a site's task waits for this, the others go on
            found = await asyncio.to_thread(self._ask, site)
        except FarmletError as error:
            self._fault = (self.clock() + PAUSE, error.what)
            raise
        self._kept[site] = (self.clock() + found.expires_in, found.access_token)
        return found.access_token

    def _ask(self, site: str) -> oauth.Tokens:
        scope = " ".join(f"{one}/{site}" for one in SCOPES)
        try:
            secret = self.secret.read_text().strip()
        except OSError as error:
            raise FarmletError(str(self.secret), str(error.strerror)) from error
        return oauth.obtain(self.issuer, CLIENT, secret, scope, audience=self.audience)
