"""What stands for a member's server: it answers as one, or ends with a word where its member is called so."""

import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

if os.environ["USER"] == "brigitte":
    sys.exit(print("SyntaxError: <b>your</b> configuration") or 3)
if os.environ["USER"] == "konrad":
    sys.exit(137)


class Server(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("X-JupyterHub-Version", "6.1.1")
        self.end_headers()


time.sleep(0.5)
ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Server).serve_forever()
