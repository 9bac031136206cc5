"""The WSGI application: Django, but for the request that programs make all the time, which goes straight to the protocol.

A token needs no session, cookie, form protection or page, and Django's way to a view takes a third of its time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.db import close_old_connections

LOG = logging.getLogger(__name__)
TOKEN = ("/token/", "/token")
ALWAYS = {"Content-Type": "application/json", "X-Content-Type-Options": "nosniff"}


class Front:
    """Chooses by path and method."""

    def __init__(self) -> None:
        self.django: Callable[..., Iterable[bytes]] = WSGIHandler()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ.get("PATH_INFO") in TOKEN and environ.get("REQUEST_METHOD") == "POST":
            return issue(environ, start_response)
        return self.django(environ, start_response)


def issue(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer at the token endpoint (RFC 6749 §3.2)."""
    from farmlet.parts.identity.service.views import token

    try:
        close_old_connections()  # the database may have been restarted
        body = environ["wsgi.input"].read(settings.DATA_UPLOAD_MAX_MEMORY_SIZE + 1)
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
