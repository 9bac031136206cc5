"""Log-in at the Hub, as a client of the facility's issuer; who they are here, the roster says."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from jupyterhub import roles
from oauthenticator.generic import GenericOAuthenticator
from oauthenticator.oauth2 import OAuthCallbackHandler, OAuthLoginHandler
from tornado.httpclient import AsyncHTTPClient, HTTPClientError
from tornado.web import HTTPError
from traitlets import default

from farmlet.parts.notebooks.roster import NOT_HERE, Member, Roster

PATIENCE = 10  # seconds
ANSWER_SECONDS = 5
REACHED_SECONDS = 5  # for which an issuer that answered counts as there: a class that begins comes within a minute
BESIDE = 100  # questions to the issuer at a time
# what who administers has at the Hub. JupyterHub's own admins enter all servers, and make tokens of everybody's
ADMINISTRATOR = {
    "name": "administrator",
    "description": "Sees the servers of all, and stops them",
    "scopes": ["admin-ui", "list:users", "read:users:activity", "read:servers", "delete:servers"],
}
AWAY = "The facility's log-in does not answer just now. Try again in a minute. Servers that run go on, and so do your jobs."


def appoint(user: Any, member: Member | None) -> None:
    """Give this user of the Hub the role of who administers, or take it, as the roster says."""
    name, right = ADMINISTRATOR["name"], member is not None and member.administer
    if right != any(role.name == name for role in user.orm_user.roles):
        (roles.grant_role if right else roles.strip_role)(user.db, entity=user.orm_user, rolename=name)


class Login(OAuthLoginHandler):  # type: ignore[misc]
    """The way to the issuer. A browser that it leads to one who is away says little, so that is looked at first."""

    async def get(self) -> None:
        await self.authenticator.reach()
        super().get()


class Arrival(OAuthCallbackHandler):  # type: ignore[misc]
    """The way back from there."""

    async def login_user(self, data: Any = None) -> Any:
        user = await super().login_user(data)
        if user:
            appoint(user, self.authenticator.roster.find(user.name))
        return user


class Entrance(GenericOAuthenticator):  # type: ignore[misc]
    """The issuer says who comes (`sub`); the name, and whether they may, is the roster's. After the log-in nobody is asked: a
    session ends when the roster says no, and not while somebody is silent.
    """

    login_handler = Login
    callback_handler = Arrival
    roster: Roster  # both set by `configuration`
    issuer: str
    _looking: asyncio.Task[None] | None = None
    _reached = -1.0 * REACHED_SECONDS  # when the issuer answered last (seconds, monotonic)

    @default("http_client")
    def _http_client(self) -> AsyncHTTPClient:
        """One of its own: the Hub's asks ten at a time, servers and proxy among them, and the time in its queue counts."""
        return AsyncHTTPClient(force_instance=True, max_clients=BESIDE)

    async def reach(self) -> None:
        """Raise HTTPError, with words, while the issuer does not answer."""
        if time.monotonic() - self._reached > REACHED_SECONDS:
            # who comes meanwhile waits for the same answer
            self._looking = self._looking or asyncio.create_task(self._look())
            await asyncio.shield(self._looking)

    async def _look(self) -> None:
        try:
            await self.httpfetch(f"{self.issuer}/.well-known/openid-configuration", "looking for the issuer")
            self._reached = time.monotonic()
        finally:
            self._looking = None

    async def fetch(self, req: Any, *words: Any, **more: Any) -> Any:
        """One question to the issuer."""
        req.connect_timeout = req.request_timeout = ANSWER_SECONDS
        try:
            return await super().fetch(req, *words, **more)
        except OSError as error:
            raise HTTPError(503, AWAY) from error
        except HTTPClientError as error:
            if error.code >= 500:  # 599: too late (tornado), 502: its own proxy
                raise HTTPError(503, AWAY) from error
            raise

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
        member = self.roster.find(user.name)
        appoint(user, member)
        return member is not None
