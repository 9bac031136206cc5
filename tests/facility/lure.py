"""Run on a node by root: what a storage element must not be led to. Prints a line for each connection that it gets.

    python3 -c "$(cat lure.py)" PLAIN TLS CERTIFICATE KEY

On the port TLS it answers over HTTPS with a redirect to http:// on the port PLAIN, where nobody should ever come. Ends with
its standard input. Standard library only.
"""

from __future__ import annotations

import http.server
import socketserver
import ssl
import sys
import threading


class Redirect(http.server.BaseHTTPRequestHandler):
    def answer(self) -> None:
        print(f"tls {self.command} {self.path}", flush=True)
        self.send_response(302)
        self.send_header("Location", f"http://localhost:{sys.argv[1]}{self.path}")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_HEAD = do_PUT = answer

    def log_message(self, *_: object) -> None:
        pass


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True


class Plain(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        print(f"plain {self.request.recv(1000)!r}", flush=True)


def main() -> None:
    plain, tls = int(sys.argv[1]), int(sys.argv[2])
    secure = http.server.ThreadingHTTPServer(("", tls), Redirect)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*sys.argv[3:5])
    secure.socket = context.wrap_socket(secure.socket, server_side=True)
    for server in (secure, Server(("localhost", plain), Plain)):
        threading.Thread(target=server.serve_forever, daemon=True).start()
    print("ready", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
