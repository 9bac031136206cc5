"""The WSGI application: Django, but for the request that programs make all the time, which goes straight to the protocol.

A token needs no session, cookie, form protection or page, and Django's way to a view takes a third of its time.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.db import close_old_connections

from farmlet.parts.identity.service.oauth import cors

LOG = logging.getLogger(__name__)
TOKEN = ("/token/", "/token")
READ = 1 << 21  # bytes that are read of a body that is too long
ALWAYS = {"Content-Type": "application/json", "X-Content-Type-Options": "nosniff", **cors.ANSWER}


class Front:
    """Chooses by path and method."""

    def __init__(self) -> None:
        self.django: Callable[..., Iterable[bytes]] = WSGIHandler()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        take_in(environ)
        if environ.get("PATH_INFO") in TOKEN and environ.get("REQUEST_METHOD") == "POST":
            return issue(environ, start_response)
        return self.django(environ, start_response)


def take_in(environ: dict[str, Any]) -> None:
    """Read the body before anything answers: who still sends would not see the answer.

    One that is too long is forgotten at once. What answers looks at the length that was announced; as files of a form
    such a body would be written to disk.
    """
    length = int(environ.get("CONTENT_LENGTH") or 0)
    if length:
        body = environ["wsgi.input"].read(min(length, READ))
        environ["wsgi.input"] = io.BytesIO(body if length <= settings.DATA_UPLOAD_MAX_MEMORY_SIZE else b"")


def issue(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer at the token endpoint (RFC 6749 §3.2)."""
    from farmlet.parts.identity.service.oauth import token

    try:
        close_old_connections()  # the database may have been restarted
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        body = environ["wsgi.input"].read(limit + 1) if int(environ.get("CONTENT_LENGTH") or 0) <= limit else None
        query = environ.get("QUERY_STRING", "")
        path = environ["PATH_INFO"] + (f"?{query}" if query else "")
        status, headers, text = token.respond(path, body, environ.get("HTTP_AUTHORIZATION", ""))
    except Exception:
        LOG.exception("token endpoint")
        status, headers, text = 500, {}, '{"error": "server_error"}'
    content = text.encode()
    headers = {**ALWAYS, **headers, "Content-Length": str(len(content))}
    if settings.SECURE_HSTS_SECONDS:
        headers["Strict-Transport-Security"] = f"max-age={settings.SECURE_HSTS_SECONDS}"
    start_response(f"{status} {HTTPStatus(status).phrase}", list(headers.items()))
    return [content]
