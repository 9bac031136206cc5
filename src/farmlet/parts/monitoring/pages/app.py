"""The web service of monitoring; what gunicorn is told to call."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from farmlet.parts.monitoring.pages import readers, status, writers
from farmlet.parts.monitoring.pages.board import Board, Content
from farmlet.parts.monitoring.pages.copies import Copies
from farmlet.parts.monitoring.pages.intake import PATH, Intake
from farmlet.parts.monitoring.pages.readers import Readers
from farmlet.parts.monitoring.pages.status import Status
from farmlet.parts.monitoring.pages.store import Store
from farmlet.parts.monitoring.pages.writers import Writers
from farmlet.web.guard import Application, Environ, Guard, Start, answer
from farmlet.web.login import Login

WAIT = b"The page is not there yet: its node waits for the secret of its client at the issuer.\n"


class App:
    """What nodes and writers hand in, the line for everybody, the pages for members, at one socket.

    The reverse proxy tells who is a node.
    """

    def __init__(self, open_to_all: Mapping[str, Application], pages: Guard | None) -> None:
        self._open, self._pages = dict(open_to_all), pages

    def __call__(self, environ: Environ, start: Start) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        # of a name that ends with a slash all that is below
        if app := self._open.get(path) or self._open.get(f"/{path[1:].partition('/')[0]}/"):
            return app(environ, start)
        if self._pages is None:
            return answer(start, 503, WAIT, {"Content-Type": "text/plain; charset=utf-8"})
        return self._pages(environ, start)


def load(path: str) -> App:
    """The service from its JSON file: {"store", "also", "writers", "readers", "nodes", "content": as `board.Content`,
    "login": {…}}."""
    config: dict[str, Any] = json.loads(Path(path).read_text())
    store, content = Store(config["store"]), Content(**config["content"])
    login = find_login(**config["login"])
    pages = Guard(Board(store, content), login, content.title) if login else None
    copies = Copies(Store(config["also"])) if config["also"] else None
    own: dict[str, Application] = dict.fromkeys(status.PATHS, Status(store, content.title))
    own[PATH] = Intake(store, config["nodes"], copies)
    if tokens := load_tokens(config["writers"]):
        own |= dict.fromkeys(writers.PATHS, Writers(store, tokens))
    if tokens := load_tokens(config["readers"]):
        own[readers.ROOT] = Readers(store, tokens)
    return App(own, pages)


def load_tokens(files: Mapping[str, str]) -> dict[str, str]:
    return {name: Path(file).read_text().strip() for name, file in files.items()}


def find_login(issuer: str, client: str, origin: str, secret: str, key: str) -> Login | None:
    """The log-in, once the issuer's secret for `client` has come; `secret` and `key` are files."""
    if not Path(secret).is_file():
        return None
    return Login(issuer, client, Path(secret).read_text().strip(), origin, Path(key).read_bytes())
