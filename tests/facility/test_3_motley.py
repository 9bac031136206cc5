"""The paper's path into the log-in node: `mccli` as it is on PyPI, motley-cue and the PAM step, on real nodes."""

from __future__ import annotations

import base64
import json
import os
import shlex
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from person import Person
from sandbox import Sandbox, until
from test_3_leaving import BOUND

from farmlet.facility.places import ANY
from farmlet.runtime.oauth import DEVICE_CODE, OAuthError, refresh, send_json

pytestmark = [pytest.mark.facility, pytest.mark.usefixtures("running"), pytest.mark.timeout(600)]
VERSION = "0.7.6"
SSH = "-o UserKnownHostsFile={known} -o GlobalKnownHostsFile=none -o StrictHostKeyChecking=yes -o IdentityAgent=none"
# what is running, as root on the node sees it, until it is told to stop; the search would find itself
WATCH = "rm -f /run/stop; while [ ! -e /run/stop ]; do cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ; done"
# motley-cue's own environment and modules, as its own user, with another configuration
LOAD = """
cd /etc/farmlet/motley && export MOTLEY_CUE_CONFIG=$PWD/motley_cue.conf FEUDAL_ADAPTER_CONFIG=$PWD/feudal_adapter.conf
export REQUESTS_CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt FLAAT_CONFIG={flaat}
cd / && runuser -u farmlet-motley -- /opt/farmlet/motley/bin/python -c '
from farmlet.parts.access.motley_cue import load
load("{issuer}", "{audience}", "/etc/farmlet/ca.pem")' 2>&1 || true
"""
# one-time passwords that nobody has used
WAITING = """
import sqlite3
print(sqlite3.connect("/run/farmlet-motley/sqlite_tokens.db").execute("select count(*) from otpmap").fetchone()[0])"""
CONNECT = """
/opt/farmlet/motley/bin/python -c '
from farmlet.parts.access.motley_cue import check_directory
check_directory("{ca}")
from ldap3 import Connection, Server
print(Connection(Server("ldaps://{host}:636", get_info=None), auto_bind=True).bound)' 2>&1 || true
"""


@dataclass
class Client:
    """A person with `mccli` on a machine of their own; the ports are those of motley-cue and of sshd."""

    person: Person
    program: Path
    web: int = 443
    port: int = 22

    @property
    def host(self) -> str:
        return f"head.{self.person.sandbox.domain}"

    @property
    def audience(self) -> str:
        return f"ssh_{self.host}"

    @property
    def endpoint(self) -> str:
        return f"https://{self.host}:{self.web}"

    def token(self, audience: str = "", scope: str = "openid") -> str:
        return self.person.authorise(scope, audience or self.audience).access_token

    def start(self, token: str, script: str) -> subprocess.Popen[str]:
        options = shlex.split(SSH.format(known=self.person.folder / "known_hosts"))
        # mccli answers the first prompt alone, and waits half a minute at a second
        options += ["-p", str(self.port), "-o", "NumberOfPasswordPrompts=1"]
        command = [str(self.program), "ssh", "--mc-endpoint", self.endpoint, *options, self.host, script]
        trust = {"REQUESTS_CA_BUNDLE": self.person.ca, "SSL_CERT_FILE": self.person.ca}
        # in the environment, as its manual has it: an argument could be read by everybody on this machine
        environment = os.environ | trust | {"ACCESS_TOKEN": token, "HOME": str(self.person.folder)}
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.Popen(command, env=environment, **pipes)  # type: ignore[call-overload,no-any-return]

    def run(self, token: str, script: str) -> str:
        """What it says. Its exit status is 0 whatever the script's was, and often when there was no log-in."""
        return str(self.start(token, script).communicate(timeout=120)[0])

    def enters(self, token: str) -> bool:
        return "six times seven is 42" in self.run(token, "echo six times seven is $((6 * 7))")

    def ask(self, path: str, token: str) -> int:
        request = urllib.request.Request(f"{self.endpoint}{path}", headers={"Authorization": f"Bearer {token}"})
        try:
            with urllib.request.urlopen(request, context=ssl.create_default_context(cafile=self.person.ca), timeout=60) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code


def read_claims(token: str) -> dict[str, object]:
    body = token.split(".")[1]
    return dict(json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))))


@pytest.fixture(scope="module")
def mccli(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mccli")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    subprocess.run([str(folder / "bin/pip"), "install", "--quiet", f"mccli=={VERSION}"], check=True, timeout=300)
    return folder / "bin" / "mccli"


@pytest.fixture(scope="module")
def cora(sandbox: Sandbox, running: Sandbox, mccli: Path) -> Iterator[Client]:
    yield Client(Person.join(sandbox, "cora", "lab"), mccli)


def test_who_was_approved_a_moment_ago_logs_in_by_token_as_by_certificate(cora: Client) -> None:
    token = cora.token()
    assert read_claims(token)["aud"] == cora.audience
    until(lambda: cora.enters(token), 60)
    assert cora.person.ssh("id") in cora.run(token, "id")
    # its home, and a session of its own in its slice
    assert "/home/cora" in cora.run(token, "test -w . && pwd")
    assert f"user-{cora.person.ssh('id -u')}.slice" in cora.run(token, "cat /proc/self/cgroup")


def test_a_token_for_anybody_or_for_another_service_is_refused(cora: Client) -> None:
    assert cora.ask("/user/get_status", cora.token()) == 200
    other = cora.person.authorise_elsewhere("openid", f"ssh_service.{cora.person.sandbox.domain}").access_token
    for token in (cora.token("ssh"), cora.token(ANY), other):
        assert [cora.ask(path, token) for path in ("/user/get_status", "/user/deploy", "/api/user/get_status")] == [403] * 3
        assert not cora.enters(token)


def test_oidc_agent_gets_in_by_the_client_that_is_registered_for_it(cora: Client) -> None:
    """It names no audience before the member is asked (see docs/howto/user/login.md), and one at each refresh."""
    given = cora.person.authorise("openid offline_access", client="mccli")
    token = refresh(cora.person.issuer, "mccli", given.refresh_token, cora.person.ca, scope="openid", audience=cora.audience)
    assert cora.enters(token.access_token)
    with pytest.raises(OAuthError, match="invalid_target"):
        refresh(cora.person.issuer, "mccli", token.refresh_token, cora.person.ca, audience="ssh")


def test_a_program_that_a_member_signs_in_to_cannot_log_in_as_them(cora: Client) -> None:
    """Anybody may register one; the page says that it will know who one is, and that is all it does."""
    person, wanted = cora.person, {"client_name": "plots", "scope": "openid offline_access", "token_endpoint_auth_method": "none"}
    made = send_json(f"{person.issuer}/register/", wanted | {"grant_types": [DEVICE_CODE, "refresh_token"]}, "", person.ca)
    name = str(made["client_id"])
    given = person.authorise("openid offline_access", client=name)
    with pytest.raises(OAuthError, match="invalid_client_metadata"):
        send_json(f"{person.issuer}/register/", wanted | {"grant_types": [DEVICE_CODE], "audience": ["ssh"]}, "", person.ca)
    for audience in ("ssh", cora.audience, f"{ANY} ssh"):
        with pytest.raises(OAuthError, match="invalid_target"):
            person.authorise("openid", audience, name)
        with pytest.raises(OAuthError, match="invalid_target"):
            refresh(person.issuer, name, given.refresh_token, person.ca, audience=audience)
    assert cora.ask("/user/deploy", given.access_token) == 403


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("flaat", "ops_that_support_audience"),  # one of upstream's own shape, which it takes for no issuer
        ("audience", "does not ask for the audience"),
    ],
)
def test_what_would_check_less_does_not_start(cora: Client, what: str, words: str) -> None:
    sandbox = cora.person.sandbox
    broken = f'[ops]\nops_that_support_audience = [\n"{cora.person.issuer}"\n]\n'
    sandbox.exec("head", f"printf %s {shlex.quote(broken)} > /run/flaat.conf")
    values = {"flaat": "/etc/farmlet/motley/flaat.conf", "audience": cora.audience}
    assert "Error" not in sandbox.exec("head", LOAD.format(issuer=cora.person.issuer, **values))
    values |= {what: {"flaat": "/run/flaat.conf", "audience": "ssh_other"}[what]}
    assert words in sandbox.exec("head", LOAD.format(issuer=cora.person.issuer, **values))


def test_a_directory_without_the_facilitys_certificate_is_not_asked(cora: Client) -> None:
    sandbox, host = cora.person.sandbox, f"service.{cora.person.sandbox.domain}"
    sandbox.exec(
        "head", "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=other -keyout /dev/null -out /run/other.pem 2>/dev/null"
    )
    assert sandbox.exec("head", CONNECT.format(ca="/etc/farmlet/ca.pem", host=host)) == "True"
    assert "CERTIFICATE_VERIFY_FAILED" in sandbox.exec("head", CONNECT.format(ca="/run/other.pem", host=host))


def test_only_what_clients_need_is_open_to_others(cora: Client) -> None:
    token = cora.token()
    assert [cora.ask(path, token) for path in ("/", "/info", "/info/authorisation", "/api/")] == [200] * 4
    for path in (f"/verify_user?username={cora.person.name}", "/user/suspend", "/admin/suspend", "/openapi.json", "/api/admin"):
        assert cora.ask(path, token) == 404
    found = cora.person.sandbox.exec(
        "head", "stat -c '%U %G %a' /run/farmlet-proxy/motley.sock; ss -Hltnp | grep -c gunicorn || true"
    )
    assert found.split("\n") == ["root caddy 660", "0"]


def test_a_token_longer_than_ssh_takes_is_stood_for_by_a_one_time_password(cora: Client) -> None:
    scopes = [f"storage.read:/data/{number:02}{'x' * 40}" for number in range(20)]
    token = cora.token(scope=" ".join(["openid", *scopes]))
    assert len(token) > 1024
    assert cora.enters(token)
    left = cora.person.sandbox.exec("head", f"python3 -c '{WAITING}'")
    assert left == "0"


def test_the_token_is_in_no_argument_variable_or_log(cora: Client) -> None:
    token, sandbox = cora.token(), cora.person.sandbox
    sandbox.exec("head", f"setsid sh -c '{WATCH}' > /run/watched 2>/dev/null < /dev/null &")
    # on a busy machine a round of it takes longer than the helper lives: until it has seen one
    seen = "grep -acF farmlet.parts.access.pam /run/watched || true"
    until(lambda: cora.enters(token) and sandbox.exec("head", seen) != "0", 120)
    sandbox.exec("head", "touch /run/stop")
    until(lambda: sandbox.exec("head", "pgrep -f 'e /run/sto[p]' || true") == "", 30)
    secret = token.split(".")[2][:-4]
    assert sandbox.exec("head", f"grep -acF {secret} /run/watched || true; rm /run/watched") == "0"
    assert sandbox.exec("head", f"journalctl -b --no-pager | grep -cF {secret} || true") == "0"
    assert sandbox.exec("head", f"grep -rlF {secret} /var/log /run/farmlet-motley /tmp /etc/farmlet || true") == ""


def test_no_password_is_asked_for_or_guessed_and_administrators_are_not_asked(cora: Client) -> None:
    sandbox, known = cora.person.sandbox, cora.person.folder / "known_hosts"
    # a member who got at a local password all the same
    sandbox.exec("head", "useradd -m -g $(getent group lab | cut -d: -f3) -p $(openssl passwd -6 hunter2hunter2) guessed")
    try:
        for user, methods in (
            ("guessed", "publickey,keyboard-interactive"),
            ("cora", "publickey,keyboard-interactive"),
            ("root", "publickey"),
        ):
            words = [*shlex.split(SSH.format(known=known)), "-o", "BatchMode=yes", "-o", "PreferredAuthentications=none"]
            done = subprocess.run(["ssh", *words, f"{user}@{cora.host}", "true"], capture_output=True, text=True, timeout=60)
            assert f"Permission denied ({methods})" in done.stderr
        asked = answer(cora, "guessed", "hunter2hunter2")
        assert "Access Token:" in asked and "uid=" not in asked
    finally:
        sandbox.exec("head", "userdel -r guessed 2>/dev/null")


def answer(client: Client, user: str, word: str) -> str:
    """What ssh says to somebody who types `word` at each prompt."""
    script = client.person.folder / "type.sh"
    script.write_text(f'#!/bin/sh\necho "$1" >> {script}.seen\necho {shlex.quote(word)}\n')
    script.chmod(0o700)
    options = [*shlex.split(SSH.format(known=client.person.folder / "known_hosts")), "-o", "PubkeyAuthentication=no"]
    environment = os.environ | {"SSH_ASKPASS": str(script), "SSH_ASKPASS_REQUIRE": "force"}
    command = ["ssh", *options, f"{user}@{client.host}", "id"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120)
    return Path(f"{script}.seen").read_text() + done.stdout


def test_a_token_opens_no_other_account(cora: Client) -> None:
    sandbox, token = cora.person.sandbox, cora.token()
    assert "uid=" in answer(cora, "cora", token)
    sandbox.run("user", "add", "otto", "--group", "lab")
    until(lambda: "otto" in sandbox.exec("head", "id otto 2>&1 || true"), 30)
    assert "uid=" not in answer(cora, "otto", token)


def test_a_class_behind_one_address_logs_in_at_once(cora: Client) -> None:
    token = cora.token()
    class_ = [cora.start(token, "echo six times seven is $((6 * 7))") for _ in range(10)]
    said = [process.communicate(timeout=120)[0] for process in class_]
    assert [one for one in said if "six times seven is 42" not in one] == []


def test_suspended_and_removed_members_are_refused(cora: Client, sandbox: Sandbox) -> None:
    token = cora.token()
    assert cora.enters(token)
    sandbox.run("user", "suspend", "cora")
    until(lambda: not cora.enters(token), BOUND)
    assert cora.ask("/user/deploy", token) in (401, 403)
    sandbox.run("user", "resume", "cora")
    until(lambda: cora.enters(token), 30)
    sandbox.run("user", "remove", "cora")
    until(lambda: not cora.enters(token), BOUND)
    assert cora.ask("/user/deploy", token) in (401, 403)
