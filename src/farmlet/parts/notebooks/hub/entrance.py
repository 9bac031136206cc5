"""Log-in at the Hub, as a client of the facility's issuer; who they are here, the roster says."""

from __future__ import annotations

import asyncio
from typing import Any

from oauthenticator.generic import GenericOAuthenticator
from tornado.web import HTTPError

from farmlet.parts.notebooks.roster import NOT_HERE, Roster

PATIENCE = 10  # seconds


class Entrance(GenericOAuthenticator):  # type: ignore[misc]
    """The issuer says who comes (`sub`); the name, and whether they may, is the roster's. After the log-in nobody is asked: a
    session ends when the roster says no, and not while somebody is silent.
    """

    roster: Roster  # set by `configuration`

    async def token_to_user(self, token_info: dict[str, Any]) -> dict[str, Any]:
        """What the issuer says of who comes. Who was approved a moment ago is not on the roster yet: that takes seconds."""
        told: dict[str, Any] = await super().token_to_user(token_info)
        for _ in range(2 * PATIENCE):
            if self.roster.identify(str(told.get("sub", ""))):
                break
            await asyncio.sleep(0.5)
        return told

    def user_info_to_username(self, user_info: dict[str, Any]) -> str:
        member = self.roster.identify(str(user_info.get("sub", "")))
        if member is None:
            raise HTTPError(403, NOT_HERE)
        return member.name

    async def check_allowed(self, username: str, auth_model: dict[str, Any] | None) -> bool:
        return self.roster.find(username) is not None

    async def refresh_user(self, user: Any, handler: Any = None, **words: Any) -> bool:
        return self.roster.find(user.name) is not None
