"""Run on a node by root: who is told by monitoring, as if they were outside. Prints a line of JSON for each thing that comes,
[what, text]: a mail (RFC 5321, as far as Alertmanager speaks it), or the body of a POST, by its path.

Another store that takes remote write listens beside. Ends with its standard input. Standard library only.
"""

from __future__ import annotations

import http.server
import json
import socketserver
import subprocess
import sys
import tempfile
import threading

MAIL, HOOKS, STORE = 2525, 8431, 8430  # ports


def tell(what: str, text: bytes) -> None:
    print(json.dumps([what, text.decode(errors="replace")]), flush=True)


class Relay(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        self.wfile.write(b"220 outside\r\n")
        while line := self.rfile.readline():
            word = line[:4].upper()
            if word == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                tell("mail", b"".join(iter(self.rfile.readline, b".\r\n")))
            self.wfile.write(b"221 bye\r\n" if word == b"QUIT" else b"250 ok\r\n")
            if word == b"QUIT":
                return


class Hooks(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        tell(self.path, self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True


if __name__ == "__main__":
    for server in (Server(("", MAIL), Relay), Server(("", HOOKS), Hooks)):
        threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        words = ["victoria-metrics", f"-httpListenAddr=:{STORE}", f"-storageDataPath={folder}", "-search.latencyOffset=1s"]
        with subprocess.Popen(words, stderr=subprocess.DEVNULL) as store:
            tell("ready", b"")
            sys.stdin.read()
            store.terminate()
