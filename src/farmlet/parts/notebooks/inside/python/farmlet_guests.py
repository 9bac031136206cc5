"""Colleagues in this server: who may not enter any more is out within seconds, with all that is open.

A websocket asks who comes when it opens, and the server remembers for minutes what the Hub said. The image's own Python has this
as an extension of Jupyter's server; it costs nothing while nobody but the member is there.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any
from weakref import WeakSet

from tornado.ioloop import PeriodicCallback
from tornado.web import HTTPError
from tornado.websocket import WebSocketHandler

LOOK_SECONDS = 3


class Guests:
    """`auth`: the server's HubOAuth."""

    def __init__(self, auth: Any) -> None:
        self._auth, self._owner = auth, os.environ["JUPYTERHUB_USER"]
        self._open: WeakSet[WebSocketHandler] = WeakSet()

    def watch(self) -> None:
        """From now on, all websockets of this process."""
        get, opened = WebSocketHandler.get, self._open

        async def remember(handler: WebSocketHandler, *words: Any, **more: Any) -> None:
            opened.add(handler)
            await get(handler, *words, **more)

        WebSocketHandler.get = remember  # type: ignore[assignment,method-assign]
        PeriodicCallback(self.look, LOOK_SECONDS * 1000).start()

    async def look(self) -> None:
        cache = self._auth.cache
        for key, user in [*cache.values.items()]:
            if user is None or user["name"] != self._owner:
                del cache[key]
        for handler in [one for one in self._open if one.ws_connection is not None]:
            with suppress(HTTPError):  # the Hub is silent: all stays as it is
                if not await self._may(handler) and handler.ws_connection is not None:
                    handler.ws_connection._abort()  # `close` would wait for the browser's answer

    async def _may(self, handler: WebSocketHandler) -> bool:
        token, session = self._auth.get_token(handler), self._auth.get_session_id(handler)
        user = token and await self._auth.user_for_token(token, session_id=session, sync=False)
        return bool(user and self._auth.check_scopes(self._auth.access_scopes, user))


def _load_jupyter_server_extension(app: Any) -> None:
    Guests(app.identity_provider.hub_auth).watch()


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "farmlet_guests"}]
