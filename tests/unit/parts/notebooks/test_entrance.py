"""Log-in at the Hub when many come at once. The way of one member is in tests/service and tests/facility."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tornado.web import HTTPError

from farmlet.parts.notebooks.hub.entrance import BESIDE, Entrance


def test_a_class_that_begins_does_not_ask_for_the_issuer_each(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    away = True

    async def fetch(self: Entrance, url: str, *words: Any) -> None:
        asked.append(url)
        if away:
            raise HTTPError(503)

    monkeypatch.setattr(Entrance, "httpfetch", fetch)
    Entrance.issuer = "https://issuer.test"

    async def come() -> Entrance:
        nonlocal away
        entrance = Entrance()
        for _ in range(2):
            with pytest.raises(HTTPError):
                await entrance.reach()
        away = False
        await asyncio.gather(*(entrance.reach() for _ in range(3)))
        await entrance.reach()
        return entrance

    entrance = asyncio.run(come())
    assert len(asked) == 3, "while it is away each time, and once when it is there"
    assert entrance.http_client.max_clients == BESIDE
