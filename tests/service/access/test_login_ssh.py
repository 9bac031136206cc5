"""After `farmlet login` the ssh programs work as they are."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest
from browser import Browser
from door import NODE, Authority, Sshd
from machine import Machine

from waiting import find_port

pytestmark = pytest.mark.service


@pytest.fixture(scope="module")
def inside(ada: Browser, authority: Authority, sshd: Sshd, tmp_path_factory: pytest.TempPathFactory) -> Machine:
    machine = Machine(tmp_path_factory.mktemp("member") / "home", authority)
    done = machine.log_in(ada, "--ssh-config")
    assert done.returncode == 0, done.stderr
    assert f"you are ada at Example facility; next: ssh {NODE}\n" in done.stderr
    machine.aim(sshd)
    return machine


def test_ssh(inside: Machine, sshd: Sshd) -> None:
    done = inside.ssh(f"{sshd.user}@{NODE}", "echo in")
    assert (done.returncode, done.stdout) == (0, "in\n"), done.stderr + sshd.log
    assert re.search(r"Accepted publickey .* ED25519-CERT \S+ ID \S+/\S+ .* CA ED25519", sshd.log)


def test_short_name_and_who_logs_in(inside: Machine) -> None:
    text = inside.ssh("-G", "head").stdout
    # `user` of the snippet comes first; the tests' own configuration names another only for want of an account ada
    assert "hostname 127.0.0.1\n" in text or f"hostname {NODE}\n" in text
    assert "user ada\n" in text and str(inside.folder / "known_hosts") in text
    assert "user ada\n" not in inside.ssh("-G", "elsewhere.example.org").stdout


def test_scp_and_sftp(inside: Machine, sshd: Sshd, tmp_path: Path) -> None:
    there = f"{sshd.user}@{NODE}"
    (tmp_path / "a").write_text("data")
    done = inside.ssh(str(tmp_path / "a"), f"{there}:{tmp_path}/b", program="scp")
    assert done.returncode == 0 and (tmp_path / "b").read_text() == "data", done.stderr
    done = inside.ssh("-b", "-", there, program="sftp", given=f"get {tmp_path}/b {tmp_path}/c\n")
    assert done.returncode == 0 and (tmp_path / "c").read_text() == "data", done.stderr


def test_rsync(inside: Machine, sshd: Sshd, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("data")
    if (rsync := shutil.which("rsync")) is None:
        pytest.skip("rsync is not installed")
    command = [
        rsync,
        "--rsync-path",
        rsync,
        "-e",
        f"ssh -F {inside.config}",
        str(tmp_path / "a"),
        f"{sshd.user}@{NODE}:{tmp_path}/d",
    ]
    done = subprocess.run(command, env=inside.environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and (tmp_path / "d").read_text() == "data", done.stderr


def test_jump_through_itself(inside: Machine, sshd: Sshd) -> None:
    there = f"{sshd.user}@{NODE}"
    done = inside.ssh("-J", there, there, "echo $SSH_CONNECTION")
    assert done.returncode == 0 and done.stdout.startswith("127.0.0.1 "), done.stderr


def test_forwarding(inside: Machine, sshd: Sshd) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = find_port()
        tunnel = ("-L", f"127.0.0.1:{port}:127.0.0.1:{server.getsockname()[1]}", "-o", "ExitOnForwardFailure=yes")
        command = ["ssh", "-F", str(inside.config), "-N", *tunnel, f"{sshd.user}@{NODE}"]
        process = subprocess.Popen(command, env=inside.environment)
        try:
            deadline = time.monotonic() + 20
            while True:
                with socket.socket() as client:
                    if client.connect_ex(("127.0.0.1", port)) == 0:
                        client.sendall(b"hello")
                        taken = server.accept()[0]
                        assert taken.recv(5) == b"hello"
                        taken.close()
                        break
                assert time.monotonic() < deadline and process.poll() is None
                time.sleep(0.1)
        finally:
            process.terminate()
            process.wait(20)


SERVER = """
cd "$1" && exec python3 -u -c '
import http.server, sys
server = http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
print("listening on", server.server_port, flush=True)
server.timeout = 30
server.handle_request()'
"""


def test_as_editors_do(inside: Machine, sshd: Sshd, tmp_path: Path) -> None:
    """VS Code Remote-SSH: a shell without a terminal that starts a server there, reached through a SOCKS port (`-T -D`)."""
    (tmp_path / "thesis").write_text("remote")
    port = find_port()
    command = ["ssh", "-F", str(inside.config), "-T", "-D", f"127.0.0.1:{port}", f"{sshd.user}@{NODE}", f"sh -s {tmp_path}"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen(command, env=inside.environment, text=True, **pipes)  # type: ignore[call-overload]
    try:
        process.stdin.write(SERVER)
        process.stdin.close()
        remote = int(process.stdout.readline().rpartition(" ")[2])
        asked = ["curl", "-sS", "--fail", "--socks5-hostname", f"127.0.0.1:{port}", f"http://127.0.0.1:{remote}/thesis"]
        assert subprocess.run(asked, capture_output=True, text=True, timeout=30, check=True).stdout == "remote"
    finally:
        process.terminate()
        process.wait(20)


def test_an_ended_certificate_is_renewed_by_ssh(inside: Machine, sshd: Sshd) -> None:
    before = inside.load()
    (inside.folder / "id_ed25519-cert.pub").write_text("ended\n")
    inside.age("certificate")
    done = inside.ssh(f"{sshd.user}@{NODE}", "true")
    assert done.returncode == 0 and done.stderr == "", done.stderr
    after = inside.load()
    assert after["refresh_token"] != before["refresh_token"] and after["certificate"]["end"] > time.time() + 40000


def test_what_must_be_done_is_said_at_ssh(inside: Machine, sshd: Sshd, authority: Authority) -> None:
    """The last test here: its log-in ends."""
    token = inside.load()["refresh_token"]
    assert authority.service.request("/revoke", {"token": token, "client_id": "farmlet"}).status == 200
    inside.age("certificate", end=3600)
    done = inside.ssh(f"{sshd.user}@{NODE}", "echo in")
    assert done.stdout == "in\n", "the certificate is good still"
    assert done.stderr == "farmlet: lab: the log-in has ended; log in anew: farmlet login lab\n"
