"""A stand-in for Grafana, by its documentation (HTTP API: health, folder, data source, dashboard, organization, SSO settings).

It was never compared with a real one. `moods` make it unkind.
"""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from typing import Any

from waiting import Silent, serve

TOKEN = "glsa_a-token-of-a-service-account"
PASSWORD = "a-password-of-its-own-admin"
KNOWN = (f"Bearer {TOKEN}", "Basic " + base64.b64encode(f"admin:{PASSWORD}".encode()).decode())
ADMIN = {"orgId": 1, "userId": 1, "login": "admin", "email": "admin@localhost", "role": "Admin"}


class Answer(Exception):
    def __init__(self, status: int, body: Any, **headers: str) -> None:
        super().__init__(status)
        self.status, self.body, self.headers = status, body, headers


class StandIn:
    """`saved`: what was written, in order."""

    def __init__(self) -> None:
        self.version, self.users = "11.6.0", [dict(ADMIN)]
        self.folders, self.sources, self.boards = dict[str, Any](), dict[str, Any](), dict[str, Any]()
        self.secrets = dict[str, dict[str, str]]()
        self.login: dict[str, Any] | None = None
        self.moods, self.saved, self.url = set[str](), list[str](), ""

    def answer(self, method: str, path: str, body: Any, token: str) -> Any:
        self.turn_away(method, path)
        if path == "/api/health":
            return {"commit": "0", "database": "ok", "version": self.version}
        if token not in KNOWN:
            raise Answer(401, {"message": "Invalid API key"})
        if method != "GET":
            if "viewer" in self.moods:
                raise Answer(403, {"message": "You'll need additional permissions to perform this action."})
            self.saved.append(f"{method} {path}")
        words = path.strip("/").split("/")[1:]
        return getattr(self, f"answer_{words[0]}")(method, words[1:], body)

    def turn_away(self, method: str, path: str) -> None:
        if "broken" in self.moods:
            raise Answer(502, b"<html>Bad Gateway</html>")
        if "moved" in self.moods:
            raise Answer(302, {}, Location="https://elsewhere.example.org/")
        if "other" in self.moods:
            raise Answer(200, ["no", "Grafana"])

    def answer_folders(self, method: str, words: list[str], body: Any) -> Any:
        if method == "POST":
            if body["uid"] in self.folders:
                raise Answer(409, {"message": "folder already exists"})
            self.folders[body["uid"]] = {**body, "id": 1, "version": 1, "hasAcl": False}
            return self.folders[body["uid"]]
        there = look_up(self.folders, words[0], "folder not found")
        if method == "PUT":
            if body.get("version") != there["version"]:
                raise mismatch("folder")
            there |= {"title": body["title"], "version": there["version"] + 1}
        return there

    def answer_datasources(self, method: str, words: list[str], body: Any) -> Any:
        if method == "POST":
            if any(one["name"] == body["name"] for one in self.sources.values()):
                raise Answer(409, {"message": "data source with the same name already exists"})
            return self.keep_source(body, 1)
        there = look_up(self.sources, words[1], "Data source not found")
        if words[2:] == ["health"]:
            return self.try_source(words[1])
        if method == "PUT":
            if there["readOnly"]:
                raise Answer(403, {"message": "Cannot update read-only data source"})
            if body.get("version") != there["version"]:
                raise Answer(409, {"message": "Datasource has already been updated by someone else. Please reload and try again"})
            return self.keep_source(body, there["version"] + 1)
        return there

    def keep_source(self, body: Any, version: int) -> Any:
        """Secrets are never shown again."""
        secrets = body.pop("secureJsonData", {})
        self.secrets[body["uid"]] = secrets
        own = {"id": 3, "orgId": 1, "basicAuth": False, "readOnly": False, "version": version}
        self.sources[body["uid"]] = {**body, **own, "secureJsonFields": dict.fromkeys(secrets, True)}
        return {"datasource": self.sources[body["uid"]], "id": 3, "message": "Datasource added", "name": body["name"]}

    def try_source(self, uid: str) -> Any:
        """Asks as a data source of type Prometheus does."""
        source = self.sources[uid]
        header = source["jsonData"].get("httpHeaderName1", "X")
        url = f"{source['url']}/api/v1/query?query=1%2B1"
        request = urllib.request.Request(url, headers={header: self.secrets[uid].get("httpHeaderValue1", "")})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                assert json.load(answer)["status"] == "success"
        except urllib.error.HTTPError as error:
            raise Answer(400, {"message": f"{error.code} {error.reason}", "status": "ERROR"}) from error
        except OSError as error:
            raise Answer(400, {"message": str(error), "status": "ERROR"}) from error
        return {"message": "Successfully queried the Prometheus API.", "status": "OK"}

    def answer_dashboards(self, method: str, words: list[str], body: Any) -> Any:
        if words == ["db"]:
            return self.save(body)
        return look_up(self.boards, words[1], "Dashboard not found")

    def save(self, body: Any) -> Any:
        board = body["dashboard"]
        there = self.boards.get(board["uid"])
        if there and there["meta"].get("provisioned"):
            raise Answer(400, {"message": "Cannot save provisioned dashboard"})
        if "plugin" in self.moods:
            raise Answer(412, {"message": "The dashboard belongs to plugin X", "status": "plugin-dashboard"})
        if there and not body["overwrite"] and (board.get("version") != there["dashboard"]["version"] or "race" in self.moods):
            raise mismatch("dashboard")
        if body["folderUid"] not in self.folders:
            raise Answer(400, {"message": "folder not found"})
        version = there["dashboard"]["version"] + 1 if there else 1
        kept = {**board, "id": 7, "version": version}
        if "forgets" in self.moods:
            kept["panels"] = kept["panels"][1:]
        if "rewrites" in self.moods:
            kept |= {"schemaVersion": 41, "links": []}
        meta = {"folderUid": body["folderUid"], "url": f"/d/{board['uid']}/x", "provisioned": False}
        self.boards[board["uid"]] = {"dashboard": kept, "meta": meta}
        return {"id": 7, "uid": board["uid"], "status": "success", "version": version, "slug": "x"}

    def answer_org(self, method: str, words: list[str], body: Any) -> Any:
        return self.users

    def answer_v1(self, method: str, words: list[str], body: Any) -> Any:
        if self.login is None:
            raise Answer(403, {"message": "You'll need additional permissions: settings:read"})
        return self.login


def look_up(things: dict[str, Any], uid: str, message: str) -> Any:
    if uid not in things:
        raise Answer(404, {"message": message, "status": "not-found"})
    return things[uid]


def mismatch(what: str) -> Answer:
    return Answer(412, {"message": f"The {what} has been changed by someone else", "status": "version-mismatch"})


@contextmanager
def grafana() -> Iterator[StandIn]:
    standin = StandIn()

    class Handler(Silent):
        def do_GET(self) -> None:
            size = int(self.headers.get("Content-Length", 0))
            body = json.loads(self.rfile.read(size)) if size else None
            try:
                status, said, more = 200, standin.answer(self.command, self.path, body, self.headers["Authorization"]), {}
            except Answer as answer:
                status, said, more = answer.status, answer.body, answer.headers
            data = said if isinstance(said, bytes) else json.dumps(said).encode()
            self.send_response(status)
            for name, value in more.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_PUT = do_DELETE = do_GET

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    standin.url = f"http://127.0.0.1:{server.server_port}"
    with serve(server):
        yield standin
