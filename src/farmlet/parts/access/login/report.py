"""What is there of each log-in, and until when. Nothing is asked of the network."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from farmlet.parts.access.login import snippet, state
from farmlet.parts.access.login.places import Place
from farmlet.parts.access.login.state import Span


def describe(places: Iterable[Place], now: float | None = None) -> list[dict[str, Any]]:
    """One row a facility: {"facility", "url", "user", "renews", "certificate", "token", "bearer", "ssh_config"}.

    `certificate` and `token` are {"ok", "expires" (ISO 8601 or None), "path"}; `renews`: whether it does so by itself;
    `bearer`: whether programs find its token; `ssh_config`: whether ssh reads what belongs to it.
    """
    moment = time.time() if now is None else now
    return [_describe(place, moment) for place in places]


def _describe(place: Place, now: float) -> dict[str, Any]:
    known = state.load(place)
    token = state.read_own(place.token)

    def tell(span: Span, path: object) -> dict[str, Any]:
        expires = datetime.fromtimestamp(span.end, UTC).isoformat(timespec="seconds") if span.end else None
        return {"ok": now < span.end, "expires": expires, "path": str(path)}

    return {
        "facility": place.name,
        "title": known.title,
        "url": known.url,
        "user": known.user,
        "renews": known.refresh_token != "",
        "certificate": tell(known.certificate, place.certificate),
        "token": tell(known.token, known.bearer) if known.data else None,
        "bearer": bool(token) and state.read_own(Path(known.bearer)) == token,
        "ssh_config": snippet.is_included(),
    }
