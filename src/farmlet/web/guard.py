"""The entrance of a web service of ours that is for members: a WSGI application around its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from html import escape
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, quote

from farmlet.web import theme
from farmlet.web.headers import POLICY
from farmlet.web.login import BACK, Away, Login, Refused, Step

PERSON = "farmlet.person"  # in the environment of a request: a `login.Person`
LEAVE = "/logout"
SAFE = ("GET", "HEAD", "OPTIONS")
HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "same-origin",
    "Strict-Transport-Security": "max-age=31536000",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
PAGE = """\
<!doctype html>
<html lang="en-GB"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{name} – {title}</title>
<link rel="stylesheet" href="/style.css"><link rel="icon" href="/icon.svg" type="image/svg+xml"></head>
<body><header><a href="/"><img src="/icon.svg" alt="" width="24" height="24">{title}</a></header>
<main><h1>{name}</h1><p>{words}</p><p><a href="/">To the start page</a></p></main></body></html>
"""

Environ = dict[str, Any]
Start = Callable[..., Any]
Application = Callable[[Environ, Start], Iterable[bytes]]


class Guard:
    """Hands on the requests of members who are logged in, with PERSON, and sends others to the issuer first.

    A request that changes something must come from a page of the service's own: cookies alone do not say so, for browsers send
    them with requests of all origins of the domain. `title`: of the facility, for the pages that tell what went wrong.
    """

    def __init__(self, app: Application, login: Login, title: str) -> None:
        self._app, self._login, self._title = app, login, title

    def __call__(self, environ: Environ, start: Start) -> Iterable[bytes]:
        path, method = environ.get("PATH_INFO", ""), environ.get("REQUEST_METHOD", "GET")
        if path.strip("/") in theme.FILES and method in SAFE:
            name = path.strip("/")
            return answer(start, 200, theme.load(name), {"Content-Type": theme.FILES[name], "Cache-Control": "max-age=3600"})
        if method not in SAFE and not self._is_ours(environ):
            return self._say(start, 403, "That did not work", "This was not sent by a page of this service.")
        cookies = read_cookies(environ.get("HTTP_COOKIE", ""))
        if path == LEAVE and method == "POST":
            return self._go(start, self._login.leave())
        try:
            if path == BACK:
                query = dict(parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True))
                return self._go(start, self._login.finish(query, cookies))
            if person := self._login.who(cookies):
                return self._app({**environ, PERSON: person}, start)
            if method != "GET" or environ.get("HTTP_SEC_FETCH_MODE", "navigate") != "navigate":
                return self._say(start, 401, "Not logged in", "Please log in again.")
            return self._go(start, self._login.begin(find_target(environ)))
        except Refused as refused:
            return self._say(start, 403, "You are not logged in", f"{refused.what}: {refused.hint}.")
        except Away:
            return self._say(start, 503, "Please try again", "The facility's log-in does not answer just now.")

    def _is_ours(self, environ: Environ) -> bool:
        """Whether a page of our own origin sent this; browsers tell, and leave pages no say in it."""
        if "HTTP_ORIGIN" in environ:
            return bool(environ["HTTP_ORIGIN"] == self._login.origin)
        return bool(environ.get("HTTP_SEC_FETCH_SITE") == "same-origin")

    def _go(self, start: Start, step: Step) -> Iterable[bytes]:
        return answer(start, 303, b"", {"Location": step.location}, step.cookies)

    def _say(self, start: Start, status: int, name: str, words: str) -> Iterable[bytes]:
        text = PAGE.format(name=escape(name), title=escape(self._title), words=escape(words[:1].upper() + words[1:]))
        return answer(start, status, text.encode(), {"Content-Type": "text/html; charset=utf-8"})


def answer(start: Start, status: int, content: bytes, headers: Mapping[str, str], cookies: Iterable[str] = ()) -> Iterable[bytes]:
    """A whole answer, with the headers that all our pages have."""
    found = [*{**HEADERS, **headers, "Content-Length": str(len(content))}.items(), *(("Set-Cookie", one) for one in cookies)]
    start(f"{status} {HTTPStatus(status).phrase}", found)
    return [content]


def read_cookies(header: str) -> dict[str, str]:
    """Name → value. What cannot be read is left out, and costs no other; of twins the first counts."""
    found: dict[str, str] = {}
    for pair in header.split(";"):
        name, sign, value = pair.strip().partition("=")
        if sign:
            found.setdefault(name, value)
    return found


def find_target(environ: Environ) -> str:
    """The path and query that were asked for."""
    query = environ.get("QUERY_STRING", "")
    return quote(environ.get("PATH_INFO", "/").encode("latin-1"), safe="/:@!$&'()*+,;=~-._") + (f"?{query}" if query else "")
