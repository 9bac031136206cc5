"""A year in which nobody runs `up`: agents renew their certificates, over TLS, at the authority beside the control API.

The clock is moved, which OpenSSL's handshakes do not know: they are told not to look at times, and each certificate is verified
for the moment apart (`openssl verify -attime`), with its purpose and all that stands behind it.
"""

from __future__ import annotations

import json
import os
import socketserver
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import pytest
from relay import Relay

from farmlet.engine.authority import Authority
from farmlet.parts.base.authority import Renewal
from farmlet.parts.base.client import Client, Parcel, Unreachable
from farmlet.parts.base.control import Control
from farmlet.parts.base.ledger import Ledger
from farmlet.parts.base.renewal import DAY, Renewable, Renewer, find_end
from farmlet.parts.resources import Certificate
from farmlet.runtime import certificates
from farmlet.runtime.checks import Failed, check_certificate

pytestmark = pytest.mark.service
NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME
NODES = {"head.localhost": ["head.localhost", "desk.localhost"], "service.localhost": ["service.localhost", "localhost"]}
STEP = 6  # days


def openssl(*words: object) -> str:
    return subprocess.run(["openssl", *map(str, words)], capture_output=True, text=True, check=True).stdout


class Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True


class Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


class House:
    """What `up` made at the beginning, and the control node's services; `now` is what everybody's clock shows."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.now, self.nodes = folder, time.time(), dict(NODES)
        self.authority = Authority(folder, "ca", "localhost", "Test authority")
        self.authority.ensure()
        self.ca = folder / "ca.crt"
        own = self.make("renewal", "service.localhost", signs=True)
        names = {name: name.split(".")[0] for name in NODES}
        data = folder / "control"
        for path in ("outbox/all", "results", *(f"inbox/{node}" for node in names.values())):
            (data / path).mkdir(parents=True)

        def app(environ: Any, start: Any) -> Iterable[bytes]:
            """Both services, with the list of nodes that `up` gave them last."""
            if environ["PATH_INFO"].startswith(("/renewal", "/authority")):
                published = {"facility.pem": str(self.ca), "facility.crl": str(folder / "ca.crl")}
                return Renewal(own.path, own.key, self.nodes, lambda: self.now, published)(environ, start)
            return Control(data, {name: names[name] for name in self.nodes})(environ, start)

        self.server = make_server("127.0.0.1", 0, app, Server, Quiet)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.door = self.make("door", "localhost", reload=("sh", "-c", f"echo told >> {folder}/told"))
        self.relay = Relay(self.server.server_port, folder)
        self.context: ssl.SSLContext = self.relay._server.socket.context  # type: ignore[attr-defined]
        self.context.verify_flags |= NO_CHECK_TIME
        self.told = 0

    def make(self, stem: str, *names: str, client: bool = False, signs: bool = False, reload: tuple[str, ...] = ()) -> Renewable:
        path, key = self.folder / f"{stem}.crt", self.folder / f"{stem}.key"
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key)
        request = openssl("req", "-new", "-key", key, "-subj", "/CN=x")
        wanted = Certificate(str(path), str(key), names, client=client, signs=signs)
        path.write_text(self.authority.answer(request, wanted))
        return Renewable(path, key, names, client, reload)

    def client(self, one: Renewable) -> Client:
        return Client(f"https://localhost:{self.relay.port}", str(self.ca), str(one.path), str(one.key))

    def renewer(self, own: Renewable) -> Renewer:
        ledger = Ledger(self.folder / f"{own.path.stem}.json")
        return Renewer(self.client(own), str(self.ca), ledger, lambda: self.now)

    def reload(self) -> None:
        """The reverse proxy goes on with the certificate it has read, until it is told."""
        told = (self.folder / "told").read_text().count("told") if (self.folder / "told").exists() else 0
        if told > self.told:
            self.told = told
            self.context.load_cert_chain(self.door.path, self.door.key)

    def shows(self) -> float:
        """When the certificate ends that the reverse proxy shows."""
        return find_end(ssl.get_server_certificate(("localhost", self.relay.port)).encode())

    def verify(self, one: Renewable) -> None:
        purpose = "sslclient" if one.client else "sslserver"
        strict = ["-x509_strict", "-no-CApath", "-purpose", purpose, "-attime", int(self.now)]
        openssl("verify", *strict, "-CAfile", self.ca, "-untrusted", one.path, one.path)
        # and so does who wants a list of each authority
        lists = self.folder / "lists.pem"
        lists.write_text("".join(self.read(f"{name}.crl") for name in ("facility", "renewal")))
        openssl("verify", *strict, "-crl_check_all", "-CRLfile", lists, "-CAfile", self.ca, "-untrusted", one.path, one.path)

    def read(self, name: str) -> str:
        """What is published for everybody."""
        context = ssl.create_default_context(cafile=str(self.ca))
        with urllib.request.urlopen(f"https://localhost:{self.relay.port}/authority/{name}", context=context) as answer:
            return str(answer.read().decode())

    def close(self) -> None:
        self.relay.close()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    made = ssl.create_default_context

    def create(**options: Any) -> ssl.SSLContext:
        context = made(**options)
        context.verify_flags |= NO_CHECK_TIME
        return context

    monkeypatch.setattr(ssl, "create_default_context", create)
    house = House(tmp_path)
    yield house
    house.close()


def fetch(house: House, own: Renewable) -> bool:
    """Whether the control API takes the node for one of the facility's."""
    try:
        return house.client(own).fetch(Parcel("", {}), 0).items == {}
    except Unreachable as error:
        assert "answers 403" in str(error)
        return False


def test_a_year_passes_and_nobody_touches_the_facility(house: House) -> None:
    head, service = (house.make(stem, f"{stem}.localhost", client=True) for stem in ("head", "service"))
    desk = house.make("desk", "head.localhost", "desk.localhost")
    own = {head: [head, desk], service: [service, house.door]}
    renewers = {node: house.renewer(node) for node in own}
    begun, ends, gone = house.now, set(), False
    while house.now < begun + 366 * DAY:
        if not gone and house.now > begun + 180 * DAY:
            gone = bool(house.nodes.pop("head.localhost"))  # `farmlet node remove head`
            assert not fetch(house, head)
        for node, found in own.items():
            faults = renewers[node].work(found)
            assert faults == [] or (node == head and gone)
        house.reload()
        for one in (service, house.door, *(() if gone else (head, desk))):
            house.verify(one)
        assert house.shows() == find_end(house.door.path.read_bytes()) > house.now + 10 * DAY
        assert fetch(house, service)
        ends.add(find_end(service.path.read_bytes()))
        house.now += STEP * DAY
    assert len(ends) >= 20 and house.told >= 20
    assert find_end(head.path.read_bytes()) < begun + 215 * DAY, "who was removed got no further one"


def test_authorities_and_their_lists_are_there_for_everybody_and_no_more(house: House) -> None:
    assert house.read("facility.pem") == house.ca.read_text() != house.read("renewal.pem")
    for name in ("renewal.key", "ca.key", "../ca.key", "", "facility.crl/x"):
        with pytest.raises(HTTPError, match="404"):
            house.read(name)


def ask(house: House, own: Renewable, *names: str, client: bool = False, key: Path | None = None) -> bytes:
    request = openssl("req", "-new", "-key", key or own.key, "-subj", "/CN=service.localhost")
    return house.client(own).renew(request, names, client)


def test_a_node_gets_its_own_names_only(house: House) -> None:
    head = house.make("head", "head.localhost", client=True)
    assert b"BEGIN CERTIFICATE" in ask(house, head, "desk.localhost")
    for names in (
        ("service.localhost",),
        ("head.localhost", "service.localhost"),
        ("localhost",),
        ("*.localhost",),
        ("example.org",),
    ):
        with pytest.raises(Unreachable, match="its own names"):
            ask(house, head, *names)
    for names in (("desk.localhost",), ("head.localhost", "desk.localhost")):
        with pytest.raises(Unreachable, match="its own names"):
            ask(house, head, *names, client=True)
    broken: list[Any] = [{}, [], {"request": "x", "names": ["head.localhost"], "client": False}, {"request": "", "names": []}]
    for body in broken:
        with pytest.raises(Unreachable, match="answers 400"):
            house.client(head)._call("POST", "/renewal/certificate", json.dumps(body).encode(), 10)


def test_who_is_no_node_gets_nothing(house: House) -> None:
    stranger = house.make("stranger", "stranger.localhost", client=True)
    with pytest.raises(Unreachable, match="answers 403"):
        ask(house, stranger, "head.localhost")
    server = house.make("server", "head.localhost")  # a service's certificate opens nothing
    with pytest.raises(Unreachable):
        ask(house, server, "head.localhost")
    head = house.make("head", "head.localhost", client=True)
    assert ask(house, head, "head.localhost")
    house.nodes.pop("head.localhost")  # it was removed
    with pytest.raises(Unreachable, match="answers 403"):
        ask(house, head, "head.localhost")


class Answers(Client):
    """A control node that answers what it likes."""

    def __init__(self, answer: Callable[[str], bytes]) -> None:
        super().__init__("https://localhost", "", "", "")
        self.answer = answer

    def renew(self, request: str, names: Sequence[str], client: bool) -> bytes:
        return self.answer(request)


def test_what_would_be_worse_than_what_is_there_is_not_taken(house: House, tmp_path: Path) -> None:
    head, other = (house.make(stem, "head.localhost", client=True) for stem in ("head", "other"))
    (tmp_path / "strange").mkdir()
    strange = Authority(tmp_path / "strange", "ca", "localhost", "Strange authority")
    strange.ensure()
    house.now += 20 * DAY
    before = head.path.read_bytes()

    def fresh(authority: Authority, request: str, days: int = 60) -> bytes:
        pem, key = authority.path.read_bytes(), certificates.load_key(authority.path.with_suffix(".key").read_bytes())
        return certificates.sign(pem, key, certificates.read_request(request), ["head.localhost"], True, days).encode()

    def renew_by(answer: Callable[[str], bytes]) -> list[str]:
        return Renewer(Answers(answer), str(house.ca), Ledger(tmp_path / "ledger.json"), lambda: house.now).work([head])

    foreign = openssl("req", "-new", "-key", other.key, "-subj", "/CN=x")
    answers: dict[str, Callable[[str], bytes]] = {
        "verify": lambda request: fresh(strange, request),
        "another key": lambda request: fresh(house.authority, foreign),
        "expires soon": lambda request: fresh(house.authority, request, 30),
        "x509": lambda request: b"<html>",
    }
    for fault, answer in answers.items():
        (told,) = renew_by(answer)
        assert fault in told and head.path.read_bytes() == before
    assert renew_by(lambda request: fresh(house.authority, request)) == [] and head.path.read_bytes() != before


def test_a_service_that_could_not_be_told_is_told_later(house: House, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    head = house.make("head", "head.localhost", client=True)
    shown = replace(head, reload=("sh", "-c", f"test -e {flag} && echo told >> {tmp_path}/done"))
    head.path.chmod(0o640)
    os.chown(head.path, 1, 1)
    house.now += 20 * DAY
    assert len(house.renewer(head).work([shown])) == 1
    info = head.path.stat()
    assert (info.st_uid, info.st_mode & 0o777) == (1, 0o640), "it is as readable as before"
    renewed = head.path.read_bytes()
    flag.touch()
    for _ in range(3):
        assert house.renewer(head).work([shown]) == []
    assert (tmp_path / "done").read_text() == "told\n" and head.path.read_bytes() == renewed


def test_the_end_of_the_authority_is_told_long_before(house: House) -> None:
    head = house.make("head", "head.localhost", client=True)
    house.now += 715 * DAY  # its own ends after 730
    (fault,) = house.renewer(head).work([replace(head, path=head.path)]) or [""]
    assert fault == "" and find_end(head.path.read_bytes()) <= find_end((house.folder / "renewal.crt").read_bytes())
    house.now += 5 * DAY
    (fault,) = house.renewer(head).work([head])
    assert "farmlet up" in fault
    path = house.folder / "renewal.crt"
    assert "more days" in check_certificate(str(path), 60)
    with pytest.raises(Failed, match="fewer than 731"):
        check_certificate(str(path), 731)


def test_the_agent_does_it_by_itself(house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("farmlet.engine.authority.LEAF_DAYS", 8)
    head = house.make("head", "head.localhost", client=True)
    assert head.path.read_text().count("BEGIN") == 1
    (tmp_path / "agent.d").mkdir()
    row = {"path": str(head.path), "key": str(head.key), "names": head.names, "client": True, "reload": []}
    (tmp_path / "agent.d" / "certificates.json").write_text(json.dumps({"renew": [row]}))
    config = {"control": f"https://localhost:{house.relay.port}", "ca": str(house.ca), "certificate": str(head.path)}
    config |= {"key": str(head.key), "tasks": str(tmp_path / "agent.d"), "state": str(tmp_path / "state")}
    (tmp_path / "agent.json").write_text(json.dumps(config | {"metrics": str(tmp_path / "metrics"), "every": 600}))
    words = [sys.executable, "-m", "farmlet.parts.base.agent", "--config", str(tmp_path / "agent.json")]
    with subprocess.Popen(words) as agent:
        end = time.monotonic() + 60
        while find_end(head.path.read_bytes()) < time.time() + 29 * DAY:
            assert agent.poll() is None and time.monotonic() < end
            time.sleep(0.1)
        agent.terminate()
    assert head.path.read_text().count("BEGIN") == 2, "with the authority behind it"
    assert fetch(house, head)
