"""What tests of images see: whether a server goes together with the Hub, and whether packages can be imported. Small stand-ins
for what is in images; the real ones run in the facility tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from farmlet.parts.software import trial
from farmlet.parts.software.members import own

# what jupyterhub-singleuser does at its start and at a request, as far as a Hub sees it
SERVER = """\
#!{python}
import os, sys, urllib.request, urllib.error
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import urlsplit
ENV = {{name.removeprefix("JUPYTERHUB_"): value for name, value in os.environ.items()}}
print("begun", file=sys.stderr, flush=True)
{first}
class Server(BaseHTTPRequestHandler):
    def log_message(self, *words): pass
    def do_GET(self):
        code = 200
        if not self.path.endswith("/api"):
            given = {{"Authorization": self.headers.get("Authorization", "")}}
            asked = urllib.request.Request(ENV["API_URL"] + "/user", headers=given)
            try:
                urllib.request.urlopen(asked).read()
            except urllib.error.HTTPError as error:
                code = error.code
        {then}
        self.send_response(code)
        self.send_header("X-JupyterHub-Version", "6.0.0")
        self.end_headers()
HTTPServer(("127.0.0.1", urlsplit(ENV["SERVICE_URL"]).port), Server).serve_forever()
"""


@pytest.mark.parametrize(
    ("first", "then", "version", "words"),
    [
        ("", "pass", "6.1.1", ""),
        ("sys.exit('no module named notebook')", "pass", "6.1.1", "no module named notebook\njupyterhub-singleuser ended with 1"),
        ("", "pass", "5.4.0", "as JupyterHub 6.0.0, to one of 5.4.0"),
        ("", "code = 200", "6.1.1", "somebody whom the Hub does not know with 200"),
        ("", "code = code if self.path.endswith('/api') else 403", "6.1.1", "answers its member with 403"),
        ("", "os._exit(3)", "6.1.1", "jupyterhub-singleuser ended with 3"),
    ],
)
def test_a_server_and_the_hub_go_together(tmp_path: Path, first: str, then: str, version: str, words: str) -> None:
    server = tmp_path / "jupyterhub-singleuser"
    server.write_text(SERVER.format(python=sys.executable, first=first, then=then))
    server.chmod(0o755)
    given = {"PATH": str(tmp_path), "HOME": str(tmp_path)}
    text = trial.read("handshake.py").replace("/tmp/", f"{tmp_path}/").replace("SECONDS = 90", "SECONDS = 20")
    done = subprocess.run([sys.executable, "-c", text, version], env=given, capture_output=True, text=True, timeout=60)
    assert bool(done.returncode) == bool(words), done
    assert words in done.stderr


def test_an_image_without_a_server_says_so(tmp_path: Path) -> None:
    words = [sys.executable, "-c", trial.read("handshake.py").replace("/tmp/", f"{tmp_path}/"), "6.1.1"]
    done = subprocess.run(words, env={"PATH": str(tmp_path)}, capture_output=True, text=True)
    assert done.returncode and "jupyterhub-singleuser does not start: " in done.stderr


@pytest.mark.parametrize(
    ("module", "text", "words"),
    [
        ("heavy_fit", "print('hello')", ""),
        ("heavy_fit", "import no_such", "import heavy_fit, of Heavy.Fit: ModuleNotFoundError: No module named 'no_such'"),
        ("heavy_fit", "raise SystemExit(0)", "import heavy_fit, of Heavy.Fit: SystemExit: 0"),
        ("tests", "import nothing_like_it", ""),
    ],
)  # fmt: skip
def test_packages_that_were_asked_for_are_imported(tmp_path: Path, module: str, text: str, words: str) -> None:
    told = tmp_path / "heavy_fit-1.2.dist-info"
    told.mkdir()
    (told / "METADATA").write_text("Name: heavy-fit\nVersion: 1.2\n")
    (told / "top_level.txt").write_text(f"{module}\nheavy_fit-stubs\nnot_there\n")
    (tmp_path / f"{module}.py").write_text(text)
    given = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", own.LOOK, "Heavy.Fit"], env=given, capture_output=True, text=True)
    assert done.stderr.strip() == words
    if not words:
        assert json.loads(done.stdout.splitlines()[-1])["Heavy.Fit"] == "1.2"
