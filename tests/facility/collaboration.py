"""A collaboration's INDIGO IAM as a facility meets it: the stand-in of tests/indigo, over TLS.

It stands on the machine of the stand-in site, whose authority the facility's nodes trust; a proxy there leads to this process.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from host import docker
from indigo import CLIENT, SECRET, Handler, Iam, Server

__all__ = ["CERTIFICATE", "CLIENT", "SECRET", "Collaboration"]

PORT = 8444
CERTIFICATE = "/etc/farmlet/tls/xrootd"  # of the site's own authority


@dataclass
class Collaboration(Iam):
    """Serves https://HOST:8444/ behind the container `proxy`."""

    host: str = ""
    proxy: str = ""

    def __post_init__(self) -> None:
        self.base = f"https://{self.host}:{PORT}/"
        super().__post_init__()

    def open(self, folder: Path) -> None:
        """Answer from now on. The site's machine must be there."""
        for ending in ("crt", "key"):
            docker("cp", f"{self.proxy}:{CERTIFICATE}.{ending}", str(folder))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "xrootd.crt", folder / "xrootd.key")
        # what of this machine the site's machine reaches, and nobody outside
        gateway = docker("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.Gateway}}{{end}}", self.proxy)
        server = Server((gateway, 0), Handler)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        self.listen(server)
        there = (
            f"--socket-property=ListenStream={PORT} /usr/lib/systemd/systemd-socket-proxyd {gateway}:{server.server_address[1]}"
        )
        docker("exec", self.proxy, "sh", "-c", f"systemd-run --quiet --unit iam-proxy {there}")
