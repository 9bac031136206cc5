"""motley-cue on the log-in nodes: what is wanted there, and what the PAM step's program makes of its answers."""

from __future__ import annotations

import configparser
import json
import socketserver
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from farmlet.errors import Errors
from farmlet.parts.access import motley, motley_cue, pam, sshd
from farmlet.parts.access.deploy import PART
from farmlet.parts.access.motley_cue import hold_to
from farmlet.parts.part import Context
from farmlet.parts.resources import File, Unit

MakeContext = Callable[..., Context]
TOKEN = "eyJh.eyJz.c2ln"
ONCE = "0123456789abcdef" * 8
THEIRS = "accounts: {ldap: {url: 'URL', people: 'ou=p,dc=x', groups: 'ou=g,dc=x', bind: 'cn=f,dc=x'}}\n"


def files(context: Context, role: str) -> dict[str, str]:
    return {item.path: str(item.content) for item in PART.role(role).configure(context) if isinstance(item, File)}


def parse(text: str) -> configparser.ConfigParser:
    """As upstream reads it."""
    parser = configparser.ConfigParser()
    parser.read_string(text)
    return parser


def test_the_audience_is_the_nodes_own_and_flaat_can_read_who_is_asked_for_it(make_context: MakeContext) -> None:
    found = files(make_context("head"), "motley")
    issuer = "https://service.farmlet.test"
    section = parse(found["/etc/farmlet/motley/motley_cue.conf"])["authorisation.facility"]
    assert (section["op_url"], section["audience"]) == (issuer, "ssh_head.farmlet.test")
    assert json.loads(parse(found["/etc/farmlet/motley/flaat.conf"])["ops"]["ops_that_support_audience"]) == [issuer]
    unit = found["/etc/systemd/system/farmlet-motley.service"]
    assert f'load("{issuer}", "ssh_head.farmlet.test", "/etc/farmlet/ca.pem")' in unit


def test_with_an_external_issuer_only_tokens_of_the_client_in_the_file_count(make_context: MakeContext) -> None:
    outside = "identity: {issuer: 'https://iam.example.org/'}\n"
    for more, clients in (
        ("access: {client: 1d5f-members}\n", ["1d5f-members"]),
        ("access: {client: 1d5f-members, login_clients: [oidc-agent, 1d5f-members]}\n", ["1d5f-members", "oidc-agent"]),
        ("access: {client: 1d5f-members, login_clients: [any]}\n", ["any"]),
        ("", []),
    ):
        found = files(make_context("head", outside + more), "motley")
        assert json.loads(found[motley.CLIENTS]) == clients
        assert (
            json.loads(files(make_context("service", outside + more), "authority")["/etc/farmlet/ssh.json"])["clients"] == clients
        )
        assert f'"/etc/farmlet/ca.pem", "{motley.CLIENTS}")' in found["/etc/systemd/system/farmlet-motley.service"]
    assert motley.CLIENTS not in files(make_context("head"), "motley"), (
        "our own issuer asks the member, and gives it to nobody else"
    )
    assert json.loads(files(make_context("service"), "authority")["/etc/farmlet/ssh.json"])["clients"] == ["farmlet"]


def test_any_client_is_taken_alone_and_told_and_never_with_our_own_issuer(make_context: MakeContext) -> None:
    outside = "identity: {issuer: 'https://iam.example.org/'}\n"
    facility = make_context("head", outside + "access: {login_clients: [any]}\n").facility
    assert ["any client of https://iam.example.org/ opens a log-in" in note for note in PART.note(facility)] == [True]
    assert not [*PART.note(make_context("head", outside).facility)]
    for more in (outside + "access: {login_clients: [any, mine]}\n", "access: {login_clients: [mine]}\n"):
        with pytest.raises(Errors, match="login_clients"):
            make_context("head", more)


class Authorisation:
    """As flaat's: what a token says, once it was verified; an opaque one says nothing, and nobody is None."""

    def get_user_infos_from_access_token(self, access_token: str, issuer_hint: str = "") -> Any:
        if access_token == "bad":
            return None
        body = None if access_token == "opaque" else SimpleNamespace(body=json.loads(access_token))
        return SimpleNamespace(access_token_info=body)

    def get_user_infos_from_request(self, token: str) -> Any:
        return self.get_user_infos_from_access_token(token)


@pytest.mark.parametrize("clients", [["members"], ["agents", "members"]])
def test_who_comes_by_another_clients_token_is_nobody_and_told_which(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, clients: list[str]
) -> None:
    told: list[str] = []
    monkeypatch.setattr(motley_cue, "refuse", told.append)  # flaat, whose error it raises, is on log-in nodes only
    found = Authorisation()
    hold_to(found, clients)
    assert found.get_user_infos_from_request('{"client_id": "members"}').access_token_info.body == {"client_id": "members"}
    exchanged = '{"client_id": "members", "act": {"sub": "plots"}}'
    for token in ('{"client_id": "plots"}', '{"client_id": ["members"]}', exchanged, "{}", "opaque", "bad"):
        assert found.get_user_infos_from_request(token) is None
    assert len(told) == 5 and "client plots;" in told[0] and "client plots;" in caplog.text
    hold_to(found, [])
    assert found.get_user_infos_from_request('{"client_id": "members"}') is None


@pytest.mark.parametrize("held", [True, False])
def test_as_it_is_started_it_is_held_to_the_clients_of_its_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, held: bool
) -> None:
    """Its own packages, which are on log-in nodes only, are stood in for."""
    mapper = SimpleNamespace(authorisation=Authorisation())
    mapper.authorisation.set_request_timeout = lambda seconds: None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "motley_cue.api", SimpleNamespace(api="the application"))
    monkeypatch.setitem(sys.modules, "motley_cue.dependencies", SimpleNamespace(mapper=mapper))
    for name in ("check_directory", "check_audience", "refuse"):
        monkeypatch.setattr(motley_cue, name, lambda *_: None)
    (tmp_path / "clients.json").write_text('["members"]')
    assert motley_cue.load("i", "a", "ca", str(tmp_path / "clients.json") if held else "") == "the application"
    known = mapper.authorisation.get_user_infos_from_request
    assert known('{"client_id": "members"}') and bool(known('{"client_id": "plots"}')) is not held


def test_a_facility_may_take_any_client_but_no_exchanged_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(motley_cue, "refuse", lambda fault: None)
    found = Authorisation()
    hold_to(found, ["any"])
    assert found.get_user_infos_from_request('{"client_id": "plots"}')
    assert found.get_user_infos_from_request('{"client_id": "plots", "act": {"sub": "x"}}') is None


def test_it_reads_the_directory_over_tls_and_never_writes(make_context: MakeContext) -> None:
    found = parse(files(make_context("head"), "motley")["/etc/farmlet/motley/feudal_adapter.conf"])["backend.ldap"]
    assert (found["mode"], found["tls"], found["port"]) == ("read_only", "True", "636")
    assert (found["host"], found["user_base"]) == ("service.farmlet.test", "ou=people,dc=farmlet,dc=test")
    assert "admin_user" not in found


@pytest.mark.parametrize(
    "section", ["access: {motley: false}\n", THEIRS.replace("URL", "ldap://ldap.example.org"), ""], ids=["off", "StartTLS", "on"]
)
def test_where_it_is_off_nobody_is_asked_for_a_token(make_context: MakeContext, section: str) -> None:
    context = make_context("head", section)
    running = [item.running for item in PART.role("motley").configure(context) if isinstance(item, Unit)]
    found = files(context, "login")
    on = not section
    assert running == [on, on]
    assert ("KbdInteractiveAuthentication yes" in found[sshd.WANTED]) is on
    assert (motley.MODULE.path in found["/etc/pam.d/sshd"]) is on
    assert ("@include common-auth" in found["/etc/pam.d/sshd"]) is not on
    assert bool(PART.role("motley").checks(context)) is on


def test_nobody_is_asked_for_a_password_and_administrators_for_nothing(make_context: MakeContext) -> None:
    found = files(make_context("head"), "login")
    members, admins = found[sshd.WANTED].split("Match User ")
    assert "PasswordAuthentication no\n" in members and "KbdInteractiveAuthentication no\n" in admins
    asked = [line for line in found["/etc/pam.d/sshd"].splitlines() if line.startswith(("auth", "@include common-auth"))]
    assert asked == [f"auth [success=done default=die] {motley.MODULE.path} {motley.PROGRAM} 20000"]


def test_an_existing_directory_is_asked_with_its_own_authority(make_context: MakeContext) -> None:
    context = make_context("head", THEIRS.replace("URL", "ldaps://ldap.example.org:1636"))
    found = files(context, "motley")
    section = parse(found["/etc/farmlet/motley/feudal_adapter.conf"])["backend.ldap"]
    assert (section["host"], section["port"], section["user_base"]) == ("ldap.example.org", "1636", "ou=p,dc=x")
    assert motley.SYSTEM_CA in found["/etc/systemd/system/farmlet-motley.service"]


class Answer(BaseHTTPRequestHandler):
    """A motley-cue that knows one token of one account, and says else what `Answer.other` is."""

    other = (200, '{"state": "deployed", "verified": false}')
    seen: list[str] = []  # noqa: RUF012

    def do_GET(self) -> None:
        self.seen.append(self.path)
        known = self.path == "/verify_user?username=ada" and self.headers["Authorization"] == f"Bearer {TOKEN}"
        status, text = (200, '{"state": "deployed", "verified": true}') if known else self.other
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())

    def address_string(self) -> str:
        return "unix"

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def path() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder, socketserver.UnixStreamServer(f"{folder}/s", Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        Answer.seen.clear()
        yield f"{folder}/s"
        server.shutdown()


def test_a_token_opens_its_own_account_only(path: str) -> None:
    assert pam.verify("ada", TOKEN, path) == ""
    assert pam.verify("ben", TOKEN, path)
    assert pam.verify("ada", ONCE, path)
    assert len(Answer.seen) == 3


@pytest.mark.parametrize(
    "other",
    [
        (403, "{}"),
        (200, "[]"),
        (200, "what"),
        (200, '{"verified": true}'),
        (200, '{"state": "suspended", "verified": true}'),
        (200, '{"state": "deployed", "verified": "yes"}'),
    ],
)
def test_any_other_answer_opens_nothing(path: str, monkeypatch: pytest.MonkeyPatch, other: tuple[int, str]) -> None:
    monkeypatch.setattr(Answer, "other", other)
    told = pam.verify("ada", "a.b.c", path)
    assert told and "a.b.c" not in told


@pytest.mark.parametrize("token", ["", "hunter2", "a.b.c\r\nX: y", "A" * 128, f"{TOKEN} {TOKEN}", "\b\n\r\177INCORRECT"])
def test_what_is_no_token_is_asked_of_nobody(path: str, token: str) -> None:
    assert pam.verify("ada", token, path) and pam.verify("../ada", TOKEN, path) and not Answer.seen


def test_nobody_there_opens_nothing(tmp_path: Path) -> None:
    assert "motley-cue" in pam.verify("ada", TOKEN, str(tmp_path / "none"))


@pytest.mark.parametrize("words", [[], ["ada"], ["20000", "ada"], ["20000", "ada", "ben"]])
def test_the_program_exits_otherwise_than_0(words: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", "farmlet.parts.access.pam", *words], input="no token\n", text=True)
    assert done.returncode in (1, 2)


def test_accounts_of_the_host_are_no_members() -> None:
    assert not pam.is_member("root", 20000) and not pam.is_member("daemon", 20000) and not pam.is_member("nobody-here", 20000)
    assert pam.is_member("nobody", 20000)  # whose uid is above
