"""Run on a node by root: what a storage element must not be led to. Prints a line for each connection that it gets.

    python3 -c "$(cat lure.py)" CERTIFICATE KEY

On the port TLS it answers over HTTPS with a redirect to http:// on the port PLAIN, where nobody should ever come; at /short and
/slow with a file of which half comes, and then the end of the connection, or nothing more; at /vague with one whose size is not
told. Ends with its standard input. Standard library only.
"""

from __future__ import annotations

import http.server
import socketserver
import ssl
import sys
import threading

PLAIN, TLS = 9445, 9444
HALF = 8 << 20  # bytes


class Lure(http.server.BaseHTTPRequestHandler):
    def answer(self) -> None:
        print(f"tls {self.command} {self.path}", flush=True)
        if self.path in ("/short", "/slow", "/vague"):
            self.begin()
        else:
            self.send_response(302)
            self.send_header("Location", f"http://localhost:{PLAIN}{self.path}")
            self.send_header("Content-Length", "0")
            self.end_headers()

    def begin(self) -> None:
        vague = self.path == "/vague"
        self.send_response(200)
        self.send_header(*("Transfer-Encoding", "chunked") if vague else ("Content-Length", str(2 * HALF)))
        self.end_headers()
        if self.command == "GET" and vague:
            self.wfile.write(b"%x\r\n%b\r\n0\r\n\r\n" % (2 * HALF, bytes(2 * HALF)))
        elif self.command == "GET":
            self.wfile.write(bytes(HALF))
            self.close_connection = True
            over.wait(0 if self.path == "/short" else None)

    protocol_version = "HTTP/1.1"
    do_GET = do_HEAD = do_PUT = answer

    def log_message(self, *_: object) -> None:
        pass


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True


class Plain(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        print(f"plain {self.request.recv(1000)!r}", flush=True)


over = threading.Event()


def main() -> None:
    secure = http.server.ThreadingHTTPServer(("", TLS), Lure)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*sys.argv[1:3])
    secure.socket = context.wrap_socket(secure.socket, server_side=True)
    for server in (secure, Server(("localhost", PLAIN), Plain)):
        threading.Thread(target=server.serve_forever, daemon=True).start()
    print("ready", flush=True)
    sys.stdin.read()
    over.set()


if __name__ == "__main__":
    main()
