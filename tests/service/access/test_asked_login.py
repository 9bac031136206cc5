"""Whoever logs in is asked for before they are in: a real sshd with the PAM stack as part access writes it, and an INDIGO IAM's
stand-in behind the service that is asked. Only the proxy between the two is missing."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any, Self
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import pytest
from door import SSHD, await_port, make_key

from farmlet.facility.rights import GroupRights, Table
from farmlet.parts.access import certificates
from farmlet.parts.accounts.asking import Asking
from farmlet.parts.accounts.source.scim import Reader
from farmlet.parts.render import render
from farmlet.runtime import rows
from indigo import CLIENT, SECRET, Iam
from waiting import find_port

pytestmark = [
    pytest.mark.service,
    pytest.mark.skipif(SSHD is None or os.getuid() != 0, reason="wants sshd, and root for PAM"),
]
NODE, NAME, HOST = "head.lab.test", "farmlettest", "operator1"  # a member, and an account of the host's own
FIRST_UID = 20000
PACKAGE = "farmlet.parts.access"


class Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class Door:
    """An sshd in a view of its own of /etc and /run. `iam`: whom the control node asks; `url`: where that is asked."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port, self.iam = folder, find_port(), Iam()
        self.sub = self.iam.add("Farmlet.Test", "lab")["id"]
        (folder / "secret").write_text(SECRET)
        (folder / "accounts").write_bytes(rows.dump([{"name": NAME, "sub": self.sub}]))
        table = Table({"lab": GroupRights(login=True)})
        reader = Reader(self.iam.issuer, CLIENT, folder / "secret")
        app = Asking(reader, folder / "accounts", table, "", [NODE], folder / "logins")

        def proxied(environ: Mapping[str, Any], start: Any) -> Any:
            return app(dict(environ) | {"HTTP_X_FARMLET_NODE": f"CN={NODE}"}, start)

        self.server = make_server("127.0.0.1", 0, proxied, Server, Quiet)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.write(f"http://127.0.0.1:{self.server.server_port}")

    def write(self, url: str) -> None:
        folder, authority, mine = self.folder, make_key(self.folder / "ca"), make_key(self.folder / "id")
        host = make_key(folder / "host")
        request = certificates.Request(certificates.parse((folder / "id.pub").read_text()), "x", (NAME, HOST), "-5m:+1h")
        Path(f"{mine}-cert.pub").write_text(certificates.sign(authority, request) + "\n")
        (folder / "asker").write_text(render(PACKAGE, "asker.sh", url=url))
        (folder / "asker").chmod(0o755)
        values = {"tokens": False, "module": "", "program": "", "asker": folder / "asker", "first_uid": FIRST_UID}
        (folder / "pam").write_text(render(PACKAGE, "sshd.pam", **values))
        members = f"{NAME}:*:{FIRST_UID + 7}:65534::/:/bin/sh\n{HOST}:*:1999:65534::/:/bin/sh\n"
        (folder / "passwd").write_text(Path("/etc/passwd").read_text() + members)
        (folder / "config").write_text(
            f"ListenAddress 127.0.0.1:{self.port}\nHostKey {host}\nPidFile none\nTrustedUserCAKeys {authority}.pub\n"
            "AuthorizedKeysFile none\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nUsePAM yes\nStrictModes no\n"
        )

    def __enter__(self) -> Self:
        mounts = "".join(f"mount --bind {self.folder}/{name} {at} && " for name, at in
                         (("pam", "/etc/pam.d/sshd"), ("passwd", "/etc/passwd")))  # fmt: skip
        script = f'mount -t tmpfs none /run && mkdir /run/sshd && {mounts}exec "$@"'
        command = [str(SSHD), "-D", "-f", str(self.folder / "config"), "-E", str(self.folder / "log")]
        self.process = subprocess.Popen(["unshare", "-m", "sh", "-c", script, "sh", *command])
        await_port(self.port, self.process, self.folder / "log")
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(20)
        self.server.shutdown()
        self.server.server_close()
        self.iam.close()

    def log_in(self, name: str = NAME) -> subprocess.CompletedProcess[str]:
        options = ("-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null")
        command = ["ssh", *options, "-o", "BatchMode=yes", "-i", str(self.folder / "id"), "-p", str(self.port)]
        return subprocess.run([*command, f"{name}@127.0.0.1", "id", "-u"], capture_output=True, text=True, timeout=60)


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    tmp_path.chmod(0o755)
    with Door(tmp_path) as found:
        yield found


def test_who_was_suspended_a_moment_ago_is_not_let_in_and_reads_why(door: Door) -> None:
    done = door.log_in()
    assert (done.returncode, done.stdout) == (0, f"{FIRST_UID + 7}\n"), done.stderr + (door.folder / "log").read_text()
    door.iam.find("Farmlet.Test")["active"] = False
    done = door.log_in()
    assert done.returncode == 255 and done.stdout == ""
    assert f"You cannot log in: {door.iam.issuer} says that you are suspended." in done.stderr
    door.iam.find("Farmlet.Test")["active"] = True
    assert door.log_in().returncode == 0


def test_an_issuer_or_a_control_node_that_is_away_keeps_nobody_out(door: Door) -> None:
    door.iam.find("Farmlet.Test")["active"] = False
    door.iam.close()
    assert door.log_in().returncode == 0, (door.folder / "log").read_text()
    door.server.shutdown()
    door.server.server_close()
    assert door.log_in().returncode == 0


def test_an_account_of_the_host_is_nobody_elses_business(door: Door) -> None:
    (door.folder / "asker").write_text("#!/bin/sh\nexit 1\n")
    assert door.log_in(HOST).returncode == 0
    assert door.log_in().returncode == 255
