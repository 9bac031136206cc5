"""A sandbox comes up, says so, and a second look finds nothing to do."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import sys
import urllib.request
from contextlib import ExitStack
from pathlib import Path

import pytest
from sandbox import FARMLET, Sandbox, until

from host import docker

pytestmark = [pytest.mark.facility, pytest.mark.lane("up"), pytest.mark.timeout(1800)]


def test_up(running: Sandbox) -> None:
    assert running.report["facility"] == "test"
    assert running.report["operations"] > 50
    assert running.report["endpoints"]["issuer"] == "https://service.facility.test"


def test_second_up_changes_nothing(sandbox: Sandbox) -> None:
    answer = sandbox.json("up")
    assert answer["operations"] == 0
    assert "nothing would change" in sandbox.run("plan").stdout


def test_nothing_unauthenticated_on_loopback(sandbox: Sandbox) -> None:
    """Members run code on head: nobody listens there but the declared ports, HTCondor and the Hub, which authenticate."""
    rows = sandbox.exec("head", "ss -Hltnp").splitlines()
    ports = {(int(row.split()[3].rsplit(":", 1)[1]), row.split('"')[1]) for row in rows if '"' in row}
    others = {(port, program) for port, program in ports if port not in (22, 1094, 8443, 9618)}
    assert {program for _, program in others} <= {
        "condor_shared_p",
        "condor_schedd",
        "condor_startd",
        "condor_master",
        "condor_credd",
        "jupyterhub",
    }


def test_status_tells_every_part(sandbox: Sandbox) -> None:
    # agents report every 15 s; the first report may be older than the last change
    until(lambda: sandbox.run("status", code=None).returncode == 0, 90)
    status = sandbox.json("status")
    parts = {row["part"].split(".")[0] for row in status["parts"]}
    assert parts >= {"base", "identity", "accounts", "access", "batch", "overlay", "tokens", "sitetests", "storage", "software"}
    assert Path(status["ca"]).is_file()
    assert {row["state"] for row in status["parts"]} == {"ok"}


def test_endpoints_answer_by_name_from_this_host(sandbox: Sandbox) -> None:
    status = sandbox.json("status")
    context = ssl.create_default_context(cafile=status["ca"])
    url = f"{status['endpoints']['issuer']}/.well-known/openid-configuration"
    with urllib.request.urlopen(url, context=context, timeout=60) as answer:
        assert json.load(answer)["issuer"] == status["endpoints"]["issuer"]


def test_who_sends_slowly_holds_no_thread_of_the_issuer(sandbox: Sandbox) -> None:
    """More forms that never end than the service has threads; the reverse proxy keeps them."""
    host = f"service.{sandbox.domain}"
    context = ssl.create_default_context(cafile=sandbox.ca)
    kind = "Content-Type: application/x-www-form-urlencoded"
    form = f"POST /token HTTP/1.1\r\nHost: {host}\r\n{kind}\r\nContent-Length: 900\r\n\r\na="
    with ExitStack() as stack:
        for _ in range(20):
            plain = stack.enter_context(socket.create_connection((host, 443), timeout=60))
            stack.enter_context(context.wrap_socket(plain, server_hostname=host)).sendall(form.encode())
        with urllib.request.urlopen(f"https://{host}/jwks", context=context, timeout=60) as answer:
            assert answer.status == 200


def test_check_of_one_part(sandbox: Sandbox) -> None:
    rows = sandbox.json("check", "batch")
    assert rows
    assert all(row["ok"] and row["check"].startswith("batch.") for row in rows)
    assert "no such check" in sandbox.run("check", "nonsense", code=2).stderr


def test_no_private_key_in_any_image(sandbox: Sandbox) -> None:
    """Every node image of the sandbox, looked at as a file system: keys, host keys, machine ids, tokens."""
    images = {docker("inspect", "-f", "{{.Config.Image}}", sandbox.container(name)) for name in ("head", "service", "tier1")}
    assert len(images) == 3
    look = r"""
key='-----BEGIN ([A-Z]+ )?PRIVATE KEY-----'
theirs='/((site|dist)-packages|node_modules)/|^/usr/share/doc/'
grep -rlIE -e "$key" /etc /home /opt /root /srv /usr /var 2>/dev/null | grep -vE "$theirs"
ls /etc/ssh/ssh_host_* /etc/condor/passwords.d/* /etc/condor/tokens.d/* /etc/munge/munge.key /root/.ssh/* 2>/dev/null
[ ! -s /etc/machine-id ] || echo machine-id
true
"""
    for image in sorted(images):
        assert docker("run", "--rm", "--network=none", image, "sh", "-c", look) == "", image


def test_same_name_from_another_folder_is_refused_in_words(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "facility.yaml").write_text((sandbox.folder / "facility.yaml").read_text())
    done = subprocess.run([*FARMLET, "up"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert "from another folder" in done.stderr
    assert "hint: " in done.stderr
    assert not (tmp_path / ".farmlet" / "test" / "deploy").exists()


def test_same_domain_under_another_name_is_refused_in_words(sandbox: Sandbox, tmp_path: Path) -> None:
    text = (sandbox.folder / "facility.yaml").read_text().replace("name: test ", "name: other ")
    (tmp_path / "facility.yaml").write_text(text)
    done = subprocess.run([*FARMLET, "up"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert "is taken" in done.stderr
    assert docker("ps", "-aq", "--filter", "label=farmlet.facility=other") == ""


def test_taken_container_name_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    image = docker("images", "-q", "farmlet/node").split()[0]
    docker("rm", "--force", "farmlet-taken-head")  # of a run that was killed
    held = docker("create", "--name", "farmlet-taken-head", image, "true")
    try:
        from farmlet.facility.load import default_text

        text = default_text().replace("name: lab ", "name: taken ").replace("domain: farmlet.test", "domain: taken.test")
        (tmp_path / "facility.yaml").write_text(text)
        done = subprocess.run([*FARMLET, "up"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert done.returncode == 2
        assert "farmlet-taken-head" in done.stderr
        assert docker("network", "ls", "-q", "--filter", "name=farmlet-taken") == ""
    finally:
        docker("rm", held)


def test_no_docker_is_said(tmp_path: Path, sandbox: Sandbox) -> None:
    import os

    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    environment = os.environ | {"DOCKER_HOST": "unix:///nonexistent/docker.sock", "PATH": path}
    done = subprocess.run([*FARMLET, "up"], cwd=tmp_path, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 2
    assert "Docker" in done.stderr
