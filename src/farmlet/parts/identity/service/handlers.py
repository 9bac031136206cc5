"""Django's WSGI handler twice: with all of its middleware for people, with hardly any where programs ask for tokens."""

# mypy: allow-subclassing-any

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler

TOKEN = "/token/"


class Bare(WSGIHandler):
    """No sessions, cookies and forgery checks, which a client with its own credentials has no use for."""

    def load_middleware(self, is_async: bool = False) -> None:
        usual, settings.MIDDLEWARE = settings.MIDDLEWARE, ["django.middleware.security.SecurityMiddleware"]
        try:
            super().load_middleware(is_async)
        finally:
            settings.MIDDLEWARE = usual


class Front:
    """Chooses the handler by the path."""

    def __init__(self) -> None:
        self.usual, self.bare = WSGIHandler(), Bare()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        chosen: Callable[..., Iterable[bytes]] = self.bare if environ.get("PATH_INFO") == TOKEN else self.usual
        return chosen(environ, start_response)
