"""Whether an element keeps what it is given: a small file is written, read back, compared and deleted. Standard library only.

With tokens of a client of its own (client credentials), for one element and one corner of it: no member, and no member's
folder, is involved. The secret is the identity service's and does not leave the control node, so this runs there.
"""

from __future__ import annotations

import http.client
import os
import time
import zlib
from contextlib import suppress
from pathlib import Path

from farmlet.errors import FarmletError
from farmlet.facility.scopes import PROBE
from farmlet.parts.storage.webdav import Busy, Client, Message, Refused
from farmlet.runtime import oauth
from farmlet.runtime.checks import Failed

CLIENT = "storage"
SCOPE = f"storage.read:{PROBE} storage.modify:{PROBE}"
SIZE = 4096  # bytes
MARGIN = 120.0  # seconds before its end at which a token is not used any more
# seconds for which an element is left alone that took no token: a dCache closes its door to the whole node after three in 20 s
REST = 60.0
_tokens: dict[str, tuple[float, str]] = {}  # audience → end (monotonic), token: the agent checks four times a minute
_resting: dict[str, tuple[float, str]] = {}  # URL → end (monotonic), what it said


def check_element(url: str, audience: str, issuer: str, secret: str, folder: str, digest: bool = True) -> str:
    """A file comes back from `url` as it was written, and goes when it is deleted.

    `secret`: path of the client's secret; `folder`: hashed authorities; `digest`: its checksum is asked for too, which an
    XRootD that is set up without any refuses.
    """
    began, known = time.monotonic(), audience in _tokens
    end, said = _resting.get(url, (0.0, ""))
    if began < end:
        raise Failed(f"{said}; it is left alone for {end - began:.0f} s more")

    def attempt() -> None:
        _try(url, {"Authorization": f"Bearer {_token(issuer, secret, audience)}"}, folder, digest)

    try:
        try:
            attempt()
        except http.client.RemoteDisconnected:  # a server may close a connection that was kept; clients ask again then
            attempt()
        except Refused as refused:
            _tokens.pop(audience, None)
            # with a new token, as the issuer's keys may have changed; not where it counts who shows it bad ones
            if not known or refused.counted:
                raise
            attempt()
    except (Refused, Busy) as error:
        _tokens.pop(audience, None)
        if isinstance(error, Busy) or error.counted:
            _resting[url] = time.monotonic() + REST, str(error)
        raise
    except (OSError, http.client.HTTPException) as error:
        raise Failed(f"{url}: {error}") from error
    return f"{url}: {SIZE} bytes written, read back, deleted in {time.monotonic() - began:.2f} s"


def _try(url: str, bearer: dict[str, str], folder: str, digest: bool) -> None:
    """Write, read back, compare, delete. Raises Failed, OSError or HTTPException."""
    data, client = os.urandom(SIZE), Client(url, bearer, folder)
    target = f"{PROBE}/check-{os.uname().nodename}-{os.getpid()}"
    try:
        client.ask("PUT", target, (200, 201, 204), data)
        headers, found = client.ask("GET", target, (200,), headers={"Want-Digest": "adler32"} if digest else {})
        _compare(data, found, headers, url)
        client.ask("DELETE", target, (200, 204))
        client.ask("GET", target, (404,))
    except (Refused, Busy):
        raise  # to clean up after it would be one more refusal
    except Exception:
        client.close()  # the next request opens it anew
        with suppress(Failed, OSError, http.client.HTTPException):
            client.ask("DELETE", target, (200, 204))
        raise
    finally:
        client.close()


def _compare(data: bytes, found: bytes, headers: Message, url: str) -> None:
    """What came back is what was sent, and so says the checksum, where the element told one (RFC 3230)."""
    if found != data:
        raise Failed(f"{url}: of {SIZE} bytes sent, {len(found)} others came back")
    told, wanted = headers.get("Digest", ""), f"{zlib.adler32(data):08x}"
    name, _, value = told.partition("=")
    if name.lower() == "adler32" and value.strip().lower().rjust(8, "0") != wanted:
        raise Failed(f"{url}: its checksum is {told}, not {wanted}")


def _token(issuer: str, secret: str, audience: str) -> str:
    end, token = _tokens.get(audience, (0.0, ""))
    if time.monotonic() > end - MARGIN:
        try:
            found = oauth.obtain(issuer, CLIENT, Path(secret).read_text().strip(), SCOPE, audience=audience)
        except OSError as error:
            raise Failed(f"{secret}: {error.strerror}") from error
        except FarmletError as error:
            raise Failed(f"no token for the check: {error.where}: {error.what}") from error
        end, token = time.monotonic() + found.expires_in, found.access_token
        _tokens[audience] = (end, token)
    return token
