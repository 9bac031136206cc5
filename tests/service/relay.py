"""A TLS door before a plain HTTP server: lets in who has a certificate of the authority, and says who that is.

It stands in for Caddy, which this machine need not have; Caddy itself is tested with the whole facility.
"""

from __future__ import annotations

import http.client
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HEADER = "X-Farmlet-Node"


class Relay:
    """Serves `https://localhost:PORT` until `close`, before `http://127.0.0.1:<behind>`."""

    def __init__(self, behind: int, folder: Path, port: int = 0) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "door.crt", folder / "door.key")
        context.load_verify_locations(folder / "ca.crt")
        context.verify_mode = ssl.CERT_OPTIONAL

        class Handler(BaseHTTPRequestHandler):
            def relay(self) -> None:
                assert isinstance(self.connection, ssl.SSLSocket)
                shown = self.connection.getpeercert() or {}
                names = [pair[1] for group in shown.get("subject", ()) for pair in group if pair[0] == "commonName"]
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                connection = http.client.HTTPConnection("127.0.0.1", behind, timeout=70)
                connection.request(self.command, self.path, body, {HEADER: f"CN={names[0]}"} if names else {})
                answer = connection.getresponse()
                data = answer.read()
                self.send_response(answer.status)
                if answer.status != 204:
                    self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_PUT = do_POST = relay

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            allow_reuse_address = True

            def handle_error(self, *_: object) -> None:
                pass  # clients that leave in the middle are part of the tests

        self._server = Server(("127.0.0.1", port), Handler)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
