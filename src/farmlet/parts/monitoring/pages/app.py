"""The web service of monitoring; what gunicorn is told to call."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from farmlet.parts.monitoring.pages.board import Board
from farmlet.parts.monitoring.pages.intake import PATH, Intake
from farmlet.parts.monitoring.pages.store import Store
from farmlet.web.guard import Environ, Guard, Start, answer
from farmlet.web.login import Login

WAIT = b"The page is not there yet: its node waits for the secret of its client at the issuer.\n"


class App:
    """What nodes hand in, and the page for members, at one socket; the reverse proxy tells who is a node."""

    def __init__(self, intake: Intake, pages: Guard | None) -> None:
        self._intake, self._pages = intake, pages

    def __call__(self, environ: Environ, start: Start) -> Iterable[bytes]:
        if environ.get("PATH_INFO") == PATH:
            return self._intake(environ, start)
        if self._pages is None:
            return answer(start, 503, WAIT, {"Content-Type": "text/plain; charset=utf-8"})
        return self._pages(environ, start)


def load(path: str) -> App:
    """The service from its JSON file: {"store", "nodes", "title", "panels", "alarms", "seconds", "login": {…}}."""
    config: dict[str, Any] = json.loads(Path(path).read_text())
    store, title, nodes = Store(config["store"]), config["title"], config["nodes"]
    board = Board(store, title, config["panels"], config["alarms"], sorted(nodes.values()), config["seconds"])
    login = find_login(**config["login"])
    return App(Intake(store, nodes), Guard(board, login, title) if login else None)


def find_login(issuer: str, client: str, origin: str, secret: str, key: str) -> Login | None:
    """The log-in, once the issuer's secret for `client` has come; `secret` and `key` are files."""
    if not Path(secret).is_file():
        return None
    return Login(issuer, client, Path(secret).read_text().strip(), origin, Path(key).read_bytes())
