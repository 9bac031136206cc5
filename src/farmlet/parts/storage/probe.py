"""Whether an element keeps what it is given: a small file is written, read back, compared and deleted. Standard library only.

With tokens of a client of its own (client credentials), for one element and one corner of it: no member, and no member's
folder, is involved. The secret is the identity service's and does not leave the control node, so this runs there.
"""

from __future__ import annotations

import http.client
import os
import ssl
import time
import zlib
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from farmlet.errors import FarmletError
from farmlet.facility.scopes import PROBE
from farmlet.runtime import oauth
from farmlet.runtime.checks import TIMEOUT, Failed

CLIENT = "storage"
SCOPE = f"storage.read:{PROBE} storage.modify:{PROBE}"
SIZE = 4096  # bytes
MARGIN = 120.0  # seconds before its end at which a token is not used any more
_tokens: dict[str, tuple[float, str]] = {}  # audience → end (monotonic), token: the agent checks four times a minute


class Refused(Failed):
    """The element takes no token like this one."""


def check_element(url: str, audience: str, issuer: str, secret: str, folder: str, digest: bool = True) -> str:
    """A file comes back from `url` as it was written, and goes when it is deleted.

    `secret`: path of the client's secret; `folder`: hashed authorities; `digest`: its checksum is asked for too, which an
    XRootD that is set up without any refuses.
    """
    began, known = time.monotonic(), audience in _tokens

    def attempt() -> None:
        _try(url, {"Authorization": f"Bearer {_token(issuer, secret, audience)}"}, folder, digest)

    try:
        try:
            attempt()
        except http.client.RemoteDisconnected:  # a server may close a connection that was kept; clients ask again then
            attempt()
        except Refused:
            if not known:
                raise
            attempt()  # with a new token: the issuer's keys may have changed
    except (OSError, http.client.HTTPException) as error:
        raise Failed(f"{url}: {error}") from error
    return f"{url}: {SIZE} bytes written, read back, deleted in {time.monotonic() - began:.2f} s"


def _try(url: str, bearer: dict[str, str], folder: str, digest: bool) -> None:
    """Write, read back, compare, delete. Raises Failed, OSError or HTTPException."""
    place, data = urlsplit(url), os.urandom(SIZE)
    context = ssl.create_default_context(capath=folder)
    connection = http.client.HTTPSConnection(place.netloc, timeout=TIMEOUT, context=context)
    target = f"{place.path.rstrip('/')}{PROBE}/check-{os.uname().nodename}-{os.getpid()}"
    try:
        _ask(connection, "PUT", target, bearer, (200, 201, 204), data)
        wish = {"Want-Digest": "adler32"} if digest else {}
        headers, found = _ask(connection, "GET", target, bearer | wish, (200,))
        _compare(data, found, headers, url)
        _ask(connection, "DELETE", target, bearer, (200, 204))
        _ask(connection, "GET", target, bearer, (404,))
    except Exception:
        connection.close()  # the next request opens it anew
        with suppress(Failed, OSError, http.client.HTTPException):
            _ask(connection, "DELETE", target, bearer, (200, 204))
        raise
    finally:
        connection.close()


def _ask(
    connection: http.client.HTTPSConnection,
    method: str,
    path: str,
    headers: dict[str, str],
    wanted: tuple[int, ...],
    data: bytes | None = None,
) -> tuple[http.client.HTTPMessage, bytes]:
    connection.request(method, path, body=data, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    if answer.status not in wanted:
        said = body[:100].decode(errors="replace").strip()
        told = f"{method} https://{connection.host}:{connection.port}{path} answers {answer.status}: {said}"
        if answer.status in (401, 403):
            _tokens.clear()
            raise Refused(told)
        raise Failed(told)
    return answer.headers, body


def _compare(data: bytes, found: bytes, headers: http.client.HTTPMessage, url: str) -> None:
    """What came back is what was sent, and so says the checksum, where the element told one (RFC 3230)."""
    if found != data:
        raise Failed(f"{url}: of {SIZE} bytes {len(found)} others came back")
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
