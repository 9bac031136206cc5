"""Run inside an image by its own Python, as `handshake.py VERSION`, and nothing of ours: that the server which it starts for a
member, `jupyterhub-singleuser`, goes together with a Hub of that version. The Hub is here, and knows one member.
"""

import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

SECONDS = 90
PREFIX = "/user/probe/"
OWN, THEIRS = "of-the-server", "of-the-member"
MEMBER = {"kind": "user", "name": "probe", "admin": False, "groups": [], "scopes": ["access:servers!user=probe"]}
asked: set[str] = set()


class Hub(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        asked.add(self.path)
        known = self.headers.get("Authorization", "").endswith((OWN, THEIRS))
        said = MEMBER if known and self.path.startswith("/hub/api/user") else {"version": sys.argv[1]}
        self.send_response(200 if known or self.path == "/hub/api" else 403)
        self.send_header("X-JupyterHub-Version", sys.argv[1])
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(said).encode())

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *words: object) -> None:
        pass


def ask(port: int, path: str, token: str = "") -> tuple[int, str]:
    """Status of an answer, and the version of JupyterHub that it has."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", PREFIX + path, headers={"Authorization": "token " + token} if token else {})
    answer = connection.getresponse()
    answer.read()
    return answer.status, answer.headers.get("X-JupyterHub-Version", "")


def shake(port: int, process: subprocess.Popen[bytes]) -> str:
    """What is wrong, in words; "" if nothing."""
    end = time.monotonic() + SECONDS
    while True:
        try:
            status, version = ask(port, "api")
            break
        except (OSError, http.client.HTTPException):
            if process.poll() is not None:
                return f"ended with {process.returncode}"
            if time.monotonic() > end:
                return f"does not answer within {SECONDS} s"
            time.sleep(0.2)
    if status != 200 or version.partition(".")[0] != sys.argv[1].partition(".")[0]:
        return f"answers with {status}, and as JupyterHub {version or 'of no version'}, to one of {sys.argv[1]}"
    if (one := ask(port, "api/status")[0]) != 403:
        return f"answers somebody whom the Hub does not know with {one}"
    if (one := ask(port, "api/status", THEIRS)[0]) != 200:
        return f"answers its member with {one}"
    return "" if any(path.startswith("/hub/api/user") for path in asked) else "did not ask the Hub who that is"


hub = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
threading.Thread(target=hub.serve_forever, daemon=True).start()
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    place = free.getsockname()[1]
given = {
    "API_TOKEN": OWN,
    "API_URL": f"http://127.0.0.1:{hub.server_address[1]}/hub/api",
    "BASE_URL": "/",
    "CLIENT_ID": "jupyterhub-user-probe",
    "OAUTH_CALLBACK_URL": PREFIX + "oauth_callback",
    "OAUTH_ACCESS_SCOPES": '["access:servers!user=probe"]',
    "OAUTH_SCOPES": '["access:servers!user=probe"]',
    "SERVICE_PREFIX": PREFIX,
    "SERVICE_URL": f"http://127.0.0.1:{place}{PREFIX}",
    "USER": "probe",
}
os.environ.update({"JUPYTERHUB_" + name: value for name, value in given.items()})
with Path("/tmp/handshake.log").open("w+") as said:
    try:
        server = subprocess.Popen(["jupyterhub-singleuser"], stdin=subprocess.DEVNULL, stdout=said, stderr=said)
    except OSError as error:
        raise SystemExit(f"jupyterhub-singleuser does not start: {error}") from None
    try:
        fault = shake(place, server)
    except (OSError, http.client.HTTPException) as error:
        fault = f"breaks off: {error}"
    finally:
        server.kill()
    said.seek(0)
    last = said.read().strip().splitlines()[-6:]
if fault:
    raise SystemExit("\n".join([*last, f"jupyterhub-singleuser {fault}"]))
