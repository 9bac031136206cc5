"""What a Grafana is to have of ours: folder, data source, dashboards. Each knows how it is read, compared and written.

Ours is what has our `uid`: nothing else there is touched, and nothing is ever removed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any

from farmlet.parts.monitoring.grafana.api import Grafana, Refused
from farmlet.parts.monitoring.panels import PAGE

# where a difference changes what people see; a Grafana may add and spell other things as it likes
WEIGHTY = ("title", "expr", "uid", "folderUid", "url", "type", "panels", "targets", "httpHeaderName1", "httpHeaderValue1")
Found = Mapping[str, Any]


class Thing:
    """`name`: for people. `ours`: what must be there. `secret`: what cannot be read back."""

    path = ""  # of its kind below the API

    def __init__(self, name: str, ours: Found, secret: Mapping[str, str] | None = None) -> None:
        self.name, self.ours, self.secret = name, ours, secret or {}

    @property
    def uid(self) -> str:
        return str(self.ours["uid"])

    @property
    def key(self) -> str:
        return f"{self.path}/{self.uid}"

    @property
    def digest(self) -> str:
        return hashlib.sha256(json.dumps([self.ours, self.secret], sort_keys=True).encode()).hexdigest()

    def read(self, grafana: Grafana) -> Found | None:
        found: Found | None = grafana.find(self.key)
        return found

    def write(self, grafana: Grafana, there: Found | None) -> None:
        raise NotImplementedError


class Folder(Thing):
    path = "/api/folders"

    def write(self, grafana: Grafana, there: Found | None) -> None:
        if there is None:
            grafana.ask("POST", self.path, self.ours)
        else:
            grafana.ask("PUT", self.key, {"title": self.ours["title"], "version": there.get("version")})


class Source(Thing):
    path = "/api/datasources/uid"

    def write(self, grafana: Grafana, there: Found | None) -> None:
        body = {**self.ours, "secureJsonData": self.secret}
        del body["secureJsonFields"]
        if there is None:
            grafana.ask("POST", "/api/datasources", body)
        elif there.get("readOnly"):
            raise Refused(self.name, "is provisioned by a file of Grafana's", "take it out of there")
        else:
            grafana.ask("PUT", self.key, {**body, "version": there.get("version")})


class Board(Thing):
    path = "/api/dashboards/uid"

    def read(self, grafana: Grafana) -> Found | None:
        found = super().read(grafana)
        if found is None:
            return None
        meta = found["meta"]
        return {**found["dashboard"], "folderUid": meta.get("folderUid", ""), "provisioned": meta.get("provisioned", False)}

    def write(self, grafana: Grafana, there: Found | None) -> None:
        if there and there["provisioned"]:
            raise Refused(self.name, "is provisioned by a file of Grafana's", "take it out of there")
        board = {key: value for key, value in self.ours.items() if key != "folderUid"}
        # whoever saves at the same moment is not overwritten: the next run looks anew
        board |= {"id": there.get("id"), "version": there.get("version")} if there else {"id": None}
        saved = {"dashboard": board, "folderUid": self.ours["folderUid"], "message": "by Farmlet", "overwrite": False}
        grafana.ask("POST", "/api/dashboards/db", saved)


def list_things(config: Mapping[str, Any], reader: str) -> Iterator[Thing]:
    """In the order in which they need each other. `config`: see `deploy.describe`; `reader`: the token for our store."""
    uid = f"farmlet-{config['facility']}"
    yield Folder("the folder", {"uid": uid, "title": config["title"]})
    secret = {"httpHeaderValue1": f"Bearer {reader}", "tlsCACert": config["ca"]}
    ours = {"uid": uid, "name": f"Farmlet {config['facility']}", "type": "prometheus", "access": "proxy", "url": config["store"]}
    more = {"httpHeaderName1": "Authorization", "httpMethod": "POST", "tlsAuthWithCACert": True}
    more["timeInterval"] = f"{config['seconds']}s"
    yield Source("the data source", {**ours, "jsonData": more, "secureJsonFields": dict.fromkeys(secret, True)}, secret)
    for path in sorted((files("farmlet.parts.monitoring") / "dashboards").iterdir(), key=lambda path: path.name):
        board = make_board(path.read_text(), uid, config["store"].removesuffix("/prometheus"))
        yield Board(f"the dashboard {board['title']}", {**board, "folderUid": uid})


def make_board(text: str, uid: str, page: str) -> dict[str, Any]:
    """A dashboard as it is imported by hand, for the data source `uid` instead of one to be chosen; several facilities may have
    theirs in one Grafana. `page`: the address of our own."""
    board: dict[str, Any] = json.loads(text.replace("${source}", uid).replace(PAGE, page))
    board["templating"] = {"list": [one for one in board["templating"]["list"] if one["type"] != "datasource"]}
    return {**board, "uid": f"{uid}-{board['uid'].removeprefix('farmlet-')}"}


def differ(ours: Any, theirs: Any, at: str = "") -> Iterator[str]:
    """Where `theirs` lacks something of `ours` or has it otherwise, as paths; what it has besides is its own."""
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        for key, value in ours.items():
            below = f"{at}.{key}" if at else key
            if key not in theirs and value is not None:
                yield below
            else:
                yield from differ(value, theirs.get(key), below)
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for number, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            yield from differ(one, other, f"{at}[{number}]")
    elif ours != theirs:
        yield at


def weighs(path: str) -> bool:
    return path.rpartition(".")[2].partition("[")[0] in WEIGHTY
