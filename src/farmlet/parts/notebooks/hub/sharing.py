"""Who else may enter a member's server: JupyterHub's shares, given and taken back on the member's page.

Whoever is let in works in the server as its member. By the Hub's API the same is done by codes only: it takes no names, so that
shares by name are for members alone.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from jupyterhub import orm
from jupyterhub.handlers import BaseHandler
from tornado.httputil import url_concat
from tornado.web import HTTPError, authenticated

from farmlet.parts.notebooks.roster import Roster

SHARE = "/share"  # the Hub's page


def forget(database: Path) -> None:
    """Take all shares back, where servers have no origins of their own any more; before the Hub runs."""
    if database.exists():
        with closing(sqlite3.connect(database)) as connection, connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            for table in {"shares", "share_codes"} & tables:
                connection.execute(f"DELETE FROM {table}")


class Sharing(BaseHandler):  # type: ignore[misc]
    """`/hub/share`: the forms of the home page. Each may be sent again."""

    roster: Roster  # set by `configuration`

    @authenticated
    async def post(self) -> None:
        spawner = self.current_user.orm_user.orm_spawners.get(self.get_body_argument("server", ""))
        if spawner is None:
            raise HTTPError(404, "You have no such server.")
        match self.get_body_argument("do", ""):
            case "give":
                self.give(spawner, self.get_body_argument("member", ""))
            case "code":
                await self.show(spawner)
                return
            case "withdraw":
                self.withdraw(spawner, self.get_body_argument("share", ""))
            case _:
                raise HTTPError(400)
        self.redirect(f"{self.hub.base_url}home")

    def give(self, spawner: orm.Spawner, name: str) -> None:
        if name == self.current_user.name or self.roster.find(name) is None:
            raise HTTPError(400, "There is no colleague of that user name who may have a notebook here.")
        orm.Share.grant(self.db, spawner, self.user_from_username(name).orm_user)

    async def show(self, spawner: orm.Spawner) -> None:
        """A link, on the only page that ever has it."""
        scope = f"access:servers!server={spawner.user.name}/{spawner.name}"
        made, code = orm.ShareCode.new(self.db, spawner, scopes=[scope])
        link = url_concat(f"{self.settings['public_url'].geturl()}hub/accept-share", {"code": code})
        self.set_header("Cache-Control", "no-store")
        self.finish(await self.render_template("share.html", link=link, until=made.expires_at, server=spawner.name))

    def withdraw(self, spawner: orm.Spawner, share: str) -> None:
        """`share`: as the page has it, `code 3`; one that is gone is well."""
        kind, _, number = share.partition(" ")
        rows = spawner.share_codes if kind == "code" else spawner.shares
        for row in [row for row in rows if str(row.id) == number]:
            self.db.delete(row)
        self.db.commit()
