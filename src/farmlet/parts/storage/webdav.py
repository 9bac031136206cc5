"""An element as the check asks it: also where a door leads on to the machine that has the data. Standard library only."""

from __future__ import annotations

import http.client
import ssl
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from urllib.parse import SplitResult, urljoin, urlsplit

from farmlet.runtime.checks import TIMEOUT, Failed

Message = http.client.HTTPMessage
HOPS = 3  # to other places; a dCache needs one
# statuses of a redirect by method (RFC 9110 §15.4): what is written goes on only where the same request is asked for
LEADS = {"GET": (301, 302, 303, 307, 308), "PUT": (307, 308)}
SKEW = 20.0  # seconds between clocks from which on they are named


class Refused(Failed):
    """The element takes no token like this one. `counted`: it may count such answers, and close its door after some."""

    def __init__(self, told: str, counted: bool) -> None:
        super().__init__(told)
        self.counted = counted


class Busy(Failed):
    """It takes nothing of this machine at all just now."""


class Client:
    """The element at `url` for who has `bearer`, a header; it goes to no other host or port. `folder`: hashed authorities."""

    def __init__(self, url: str, bearer: Mapping[str, str], folder: str) -> None:
        self._place, self._bearer = urlsplit(url), dict(bearer)
        self._context = ssl.create_default_context(capath=folder)
        self._open: dict[str, http.client.HTTPSConnection] = {}

    def ask(
        self, method: str, path: str, wanted: tuple[int, ...], data: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[Message, bytes]:
        """Headers and body of the answer to a request at a path below the URL. Raises Failed, OSError or HTTPException."""
        place = self._place._replace(path=self._place.path.rstrip("/") + path)
        for hop in range(HOPS + 1):
            answer, body = self._send(method, place, data, headers or {}, hop)
            if answer.status not in LEADS.get(method, ()):
                break
            place = _follow(method, place, answer)
        else:
            raise Failed(f"{method} {self._place.geturl()}{path} is redirected more than {HOPS} times")
        if answer.status not in wanted:
            raise _explain(method, place, answer, body)
        return answer.headers, body

    def _send(
        self, method: str, place: SplitResult, data: bytes | None, headers: Mapping[str, str], hop: int
    ) -> tuple[http.client.HTTPResponse, bytes]:
        home = place.netloc == self._place.netloc
        connection = self._open.get(place.netloc)
        if connection is None:
            connection = http.client.HTTPSConnection(place.netloc, timeout=TIMEOUT, context=self._context)
            self._open[place.netloc] = connection
        target = place._replace(scheme="", netloc="").geturl()
        try:
            connection.request(method, target, body=data, headers={**headers, **(self._bearer if home else {})})
            answer = connection.getresponse()
            return answer, answer.read()
        except (OSError, http.client.HTTPException) as error:
            if not hop:
                raise
            # of the two the door is in order
            raise Failed(f"{method} is redirected to https://{place.netloc}, and there: {error}") from error

    def close(self) -> None:
        for connection in self._open.values():
            connection.close()


def _follow(method: str, place: SplitResult, answer: http.client.HTTPResponse) -> SplitResult:
    target = urlsplit(urljoin(place.geturl(), answer.headers.get("Location", "")))
    if target.scheme != "https" or not target.hostname:
        raise Failed(
            f"{method} https://{place.netloc}{place.path} is redirected to an address without https: {target.geturl()[:100]}"
        )
    return target._replace(fragment="")


def _explain(method: str, place: SplitResult, answer: http.client.HTTPResponse, body: bytes) -> Failed:
    said = body[:100].decode(errors="replace").strip() or answer.reason
    told = f"{method} https://{place.netloc}{place.path} answers {answer.status}: {said}"
    if answer.status == 401:
        why = _read_clock(answer) or "its clock, its copy of the issuer's keys (a dCache keeps it 6 hours), issuer or audience"
        return Refused(f"{told} (it takes no token of this facility: {why})", counted=True)
    if answer.status == 403:
        return Refused(told, counted=False)
    if answer.status == 429:
        return Busy(f"{told} (it has closed its door to this machine, as after three refused tokens within 20 s)")
    return Failed(told)


def _read_clock(answer: http.client.HTTPResponse) -> str:
    try:
        behind = time.time() - parsedate_to_datetime(answer.headers.get("Date", "")).timestamp()
    except ValueError:
        return ""
    return f"its clock is {abs(behind):.0f} s {'behind' if behind > 0 else 'ahead'}" if abs(behind) > SKEW else ""
