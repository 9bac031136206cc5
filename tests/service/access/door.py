"""What stands at the facility's door: the authority as its unit runs it, and an sshd that trusts it."""

from __future__ import annotations

import getpass
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

import pytest
from issuer import Service

from farmlet.parts.access import certificates
from waiting import find_port

NODE = "head.localhost"
SSHD = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")


def make_key(path: Path) -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path


class Authority:
    """`url` speaks TLS with the certificate of the identity service beside it. Facility `lab`, domain `localhost`."""

    def __init__(self, service: Service, folder: Path, **about: object) -> None:
        self.service, self.folder = service, folder
        self.url = f"https://localhost:{find_port()}"
        self.key, self.host_key = make_key(folder / "user_ca"), make_key(folder / "host_ca")
        self.config = {
            "issuer": service.issuer,
            "members": "",
            "key": str(self.key),
            "host_key": str(self.host_key),
            "domain": "localhost",
            "hours": 12,
            "clients": ["farmlet"],
            "about": {
                "name": "lab",
                "title": "Example facility",
                "issuer": service.issuer,
                "client": "farmlet",
                "scope": "storage.read:/ storage.create:/ storage.modify:/ storage.stage:/",
                "nodes": [NODE],
                **about,
            },
        }

    def __enter__(self) -> Self:
        path, service = self.folder / "ssh.json", self.service
        path.write_text(json.dumps(self.config))
        command = [sys.executable, "-m", "gunicorn", "--threads", "4", "--no-control-socket", "-b", self.url[8:]]
        command += ["--certfile", service.cafile, "--keyfile", str(service.folder / "tls.key")]
        command += [f'farmlet.parts.access.authority:load("{path}")']
        self.log = (self.folder / "log").open("ab")
        environment = os.environ | {"SSL_CERT_FILE": service.cafile}
        self.process = subprocess.Popen(command, env=environment, stdout=self.log, stderr=self.log)
        await_port(int(self.url.rpartition(":")[2]), self.process, self.folder / "log")
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(20)
        self.log.close()


class Sshd:
    """An sshd of this user's own on a loopback port: who runs the tests logs in, as member `ada`, by her certificate."""

    def __init__(self, authority: Authority, folder: Path) -> None:
        if SSHD is None:
            pytest.skip("sshd is not installed")
        self.folder, self.port, self.user = folder, find_port(), getpass.getuser()
        key = make_key(folder / "host")
        public = certificates.parse((folder / "host.pub").read_text())
        request = certificates.Request(public, "host/head", (NODE,), "-5m:+1d", host=True)
        (folder / "host-cert.pub").write_text(certificates.sign(authority.host_key, request) + "\n")
        (folder / "principals").write_text("ada\n")
        (folder / "config").write_text(
            f"ListenAddress 127.0.0.1:{self.port}\nHostKey {key}\nHostCertificate {key}-cert.pub\nPidFile none\n"
            f"TrustedUserCAKeys {authority.key}.pub\nAuthorizedPrincipalsFile {folder}/principals\nStrictModes no\n"
            "AuthorizedKeysFile none\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nUsePAM no\n"
            "PermitRootLogin prohibit-password\nSubsystem sftp internal-sftp\nLogLevel VERBOSE\n"
        )

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def __enter__(self) -> Self:
        assert SSHD
        command = [SSHD, "-D", "-f", str(self.folder / "config"), "-E", str(self.folder / "log")]
        if os.getuid() == 0:  # then it wants /run/sshd, which Debian's unit makes: here in a view of its own
            command = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs none /run && mkdir /run/sshd && exec "$@"', "sh", *command]
        self.process = subprocess.Popen(command)
        await_port(self.port, self.process, self.folder / "log")
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(20)


def await_port(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 30
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert process.poll() is None and time.monotonic() < deadline, log.read_text() if log.exists() else "it ended"
        time.sleep(0.1)
