"""The peer: canaille, a light identity provider in Python, in an environment of its own, with SQLite.

A client's own access tokens are opaque and stored. Refreshing is not compared: it answers the second refresh for one
person within a second with an error, since two tokens of one second are equal and their column is unique.
"""

from __future__ import annotations

import secrets
import subprocess
import sys
from pathlib import Path

from issuers.server import Server

VERSION = "0.3.6"
CONFIG = """\
SECRET_KEY = "{key}"
[CANAILLE]
DATABASE = "sql"
[CANAILLE_SQL]
DATABASE_URI = "sqlite:///{folder}/canaille.sqlite"
[CANAILLE_OIDC]
"""


def build(folder: Path) -> Server:
    """A server ready to start: one client."""
    folder.mkdir()
    python = folder / "venv" / "bin" / "python"
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, folder / "venv"], check=True)
    wanted = [f"canaille[front,oidc,sqlite]=={VERSION}", "gunicorn"]
    subprocess.run([uv, "pip", "install", "-q", "--python", python, *wanted], check=True)
    (folder / "canaille.toml").write_text(CONFIG.format(key=secrets.token_hex(32), folder=folder))
    secret = secrets.token_hex(32)
    environment = {"CANAILLE_CONFIG": str(folder / "canaille.toml")}
    server = Server("canaille", folder, str(python), "canaille:create_app()", "/oauth/token", f"bench:{secret}", environment)
    _fill(server, secret)
    return server


def _fill(server: Server, secret: str) -> None:
    command = (str(server.folder / "venv" / "bin" / "canaille"),)
    server.run(*command, "install")
    method = ("--token-endpoint-auth-method", "client_secret_basic", "--grant-types", "client_credentials")
    client = ("--client-id", "bench", "--client-secret", secret, "--client-name", "bench")
    server.run(*command, "create", "client", *client, *method, "--scope", "openid", "--scope", "profile")
