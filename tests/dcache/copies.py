"""Third-party copies with this element as the active side. §5."""

from __future__ import annotations

import http.client
import posixpath
import ssl
import time
import urllib.parse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from dcache.namespace import Full, Mismatch, Overtaken

if TYPE_CHECKING:
    from dcache.door import Door, Refusal

HOPS = 5


class Failure(Exception):
    """What the last line says."""


def serve(door: Door, refusal: type[Refusal]) -> None:
    """What is refused before it begins has the reason in its status line and no body."""
    source, destination = door.headers.get("Source", ""), door.headers.get("Destination", "")
    remote, names = urllib.parse.urlsplit(source or destination), door.dcache.namespace
    if door.headers.get("Credential", "") != "none":
        raise refusal(500, phrase="Error performing OpenId-Connect delegation")
    if remote.scheme != "https" or not remote.hostname:
        raise refusal(400, phrase="Unknown scheme")
    if source:
        if not door.dcache.authority.may(door.login, "overwrite" if names.find(door.place) else "create", door.place):
            raise refusal(401)
        if not names.has_parent(door.place):
            raise refusal(400, phrase="No such directory")
        if names.find(door.place) and door.headers.get("Overwrite") == "F":
            raise refusal(500, phrase="File exists")
    else:
        door.need("read")
        if not (found := names.find(door.place)) or not found.whole:
            raise refusal(404)
    door.send_response(202)
    door.send_header("Content-Type", "text/perf-marker-stream")
    door.send_header("Transfer-Encoding", "chunked")
    door.end_headers()
    said = _run(door, remote, bool(source)).encode() + b"\n"
    door.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(said), said))


def _run(door: Door, remote: urllib.parse.SplitResult, pull: bool) -> str:
    mark = f"Perf Marker\n  Timestamp: {time.time():.0f}\n  State: Running\n  Stripe Index: 0\nEnd\n" if door.dcache.slow else ""
    try:
        _pull(door, remote) if pull else _push(door, remote)
    except Failure as error:
        return f"{mark}failure: {error}"
    except Full:
        return f"{mark}failure: pool is full"
    except (OSError, http.client.HTTPException, Mismatch, Overtaken) as error:
        return f"{mark}failure: {error}"
    return f"{mark}success: Created"


def _pull(door: Door, remote: urllib.parse.SplitResult) -> None:
    names, path = door.dcache.namespace, door.place
    assert names.has_parent(posixpath.normpath(path))
    with _ask(door, "GET", remote, _headers(door) | {"Want-Digest": "adler32"}) as answer:
        entry = names.begin(path)
        try:
            names.store(path, entry, _parts(answer))
            told = answer.headers.get("Digest", "")
            if told and told.lower() != entry.sums["adler32"]:
                raise Failure(f"checksum {told}")
        except BaseException:
            names.discard(path, entry)  # who asked, or who gives, may go away: nothing is left
            raise


def _push(door: Door, remote: urllib.parse.SplitResult) -> None:
    found = door.dcache.namespace.find(door.place)
    assert found and found.data
    with _ask(door, "PUT", remote, _headers(door), found.data.read_bytes()) as answer:
        answer.read()


def _parts(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    while part := answer.read(1 << 16):
        yield part
    if answer.length:
        raise Failure("connection closed")


def _headers(door: Door) -> dict[str, str]:
    start = "transferheader"
    return {name[len(start) :]: value for name, value in door.headers.items() if name.lower().startswith(start)}


def _ask(
    door: Door, method: str, place: urllib.parse.SplitResult, headers: dict[str, str], body: bytes | None = None
) -> http.client.HTTPResponse:
    context = ssl.create_default_context(cafile=str(door.dcache.trusted))
    for _ in range(HOPS):
        connection = http.client.HTTPSConnection(place.netloc, timeout=30, context=context)
        connection.request(method, place._replace(scheme="", netloc="").geturl(), body, headers)
        answer = connection.getresponse()
        if answer.status in (301, 302, 303, 307, 308):
            place = urllib.parse.urlsplit(urllib.parse.urljoin(place.geturl(), answer.headers["Location"]))
            headers = {name: value for name, value in headers.items() if name.lower() != "authorization"}
        elif answer.status in (200, 201, 204):
            return answer
        else:
            raise Failure(f"rejected {method}: {answer.status} {answer.reason}")
    raise Failure("too many redirects")
