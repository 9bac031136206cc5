#!/usr/bin/env python3
"""Run a notebook in a Jupyter server that is up, as the server's own page does: cell by cell, in a kernel of its folder.

    python3 kernel.py SERVER PATH < TOKEN

SERVER is the server's URL, PATH the notebook as the server knows it. What the cells print goes to standard output; the notebook
is saved with its outputs. Exit code 1 when a cell fails. Source: Jupyter's messaging protocol 5.3, in JSON over a WebSocket.
"""

from __future__ import annotations

import json
import ssl
import sys
import urllib.request
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import websocket

SECONDS = 120  # of silence


class Server:
    """A Jupyter server at `url`, opened by `token`."""

    def __init__(self, url: str, token: str) -> None:
        self.url, self.headers = url.rstrip("/"), {"Authorization": f"token {token}", "Content-Type": "application/json"}
        self.trust = ssl.create_default_context()

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/api/{path}", data, self.headers, method=method)
        with urllib.request.urlopen(request, timeout=SECONDS, context=self.trust) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def connect(self, kernel: str) -> Any:
        address = f"wss{self.url.removeprefix('https')}/api/kernels/{kernel}/channels"
        header = [f"Authorization: {self.headers['Authorization']}"]
        return websocket.create_connection(address, timeout=SECONDS, header=header, sslopt={"context": self.trust})


def execute(channel: Any, code: str) -> Iterator[dict[str, Any]]:
    """The outputs of one cell, in the notebook's format (nbformat 4)."""
    number = uuid.uuid4().hex
    header = {"msg_id": number, "msg_type": "execute_request", "username": "", "session": number, "version": "5.3"}
    content = {"code": code, "silent": False, "store_history": True, "allow_stdin": False, "stop_on_error": True}
    channel.send(json.dumps({"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}))
    while True:
        said = json.loads(channel.recv())
        kind, content = said["msg_type"], said["content"]
        if said["parent_header"].get("msg_id") != number:
            continue
        if kind == "status" and content["execution_state"] == "idle":
            return
        if kind in ("stream", "display_data", "execute_result", "error"):
            content.pop("transient", None)
            yield {"output_type": kind, **content}


def run(server: Server, path: str) -> bool:
    """Whether all cells of the notebook went well."""
    place = f"contents/{quote(path)}"
    document = server.ask("GET", place)
    wish = {"path": path, "name": path, "type": "notebook", "kernel": {"name": "python3"}}
    session = server.ask("POST", "sessions", wish)
    channel = server.connect(session["kernel"]["id"])
    well = True
    for cell in document["content"]["cells"]:
        if cell["cell_type"] != "code" or not well:
            continue
        cell["outputs"] = list(execute(channel, "".join(cell["source"])))
        for output in cell["outputs"]:
            if output["output_type"] == "stream":
                print(output["text"], end="", file=sys.stdout if output["name"] == "stdout" else sys.stderr)
            elif output["output_type"] == "error":
                print(f"{output['ename']}: {output['evalue']}", file=sys.stderr)
                well = False
    channel.close()
    server.ask("PUT", place, {"type": "notebook", "format": "json", "content": document["content"]})
    server.ask("DELETE", f"sessions/{session['id']}")
    return well


if __name__ == "__main__":
    sys.exit(0 if run(Server(sys.argv[1], sys.stdin.readline().strip()), sys.argv[2]) else 1)
