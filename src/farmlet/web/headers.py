"""What browsers are told to keep from our pages."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256
from typing import Any

POLICY = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"


def allow(source: str = "", script: str = "") -> str:
    """The content security policy of a page whose form may lead on to `source`, and that runs this one script."""
    policy = POLICY.replace("form-action 'self'", f"form-action 'self' {source}") if source else POLICY
    if script:
        policy += f"; script-src 'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'"
    return policy


def protect(get_response: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Middleware of Django: pages run no scripts, load nothing from elsewhere, cannot be framed and are not kept."""

    def respond(request: Any) -> Any:
        response = get_response(request)
        response.headers.setdefault("Content-Security-Policy", POLICY)
        response.headers.setdefault("Cache-Control", "no-store")
        return response

    return respond
