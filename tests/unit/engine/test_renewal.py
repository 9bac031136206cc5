"""Certificates as nodes ask for them, put them in place and look at them again (`place.py`, `probe.py`)."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from farmlet.engine.authority import Authority
from farmlet.parts.resources import Certificate
from farmlet.runtime import certificates

if TYPE_CHECKING:
    from conftest import Node

root = pytest.mark.skipif(os.geteuid() != 0, reason="owners are given by root only")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    return Certificate(
        f"{tmp_path}/tls/own.crt", f"{tmp_path}/tls/own.key", ("head.tiny.test", "also.tiny.test"), group="daemon", mode=0o640
    )


@root
def test_a_certificate(node: Node, certificate: Certificate) -> None:
    assert node.look(certificate) == {certificate.label: "not there"}
    node.put(certificate)
    assert node.look(certificate) == {}
    assert mode(Path(certificate.key)) == 0o640 and Path(certificate.key).group() == "daemon"
    key = Path(certificate.key).read_bytes()
    node.put(certificate)
    assert Path(certificate.key).read_bytes() == key, "renewed for the key it has"
    assert "other names" in node.look(replace(certificate, names=("head.tiny.test",)))[certificate.label]
    Path(certificate.key).chmod(0o644)
    assert "0644" in node.look(certificate)[certificate.label]


@root
def test_a_certificate_of_another_authority_is_seen(node: Node, certificate: Certificate, tmp_path: Path) -> None:
    node.put(certificate)
    node.authority = Authority(tmp_path, "other", "tiny.test", "Test authority")
    assert node.look(certificate) == {certificate.label: "is of another authority"}


@root
def test_a_certificate_that_ends_soon_is_seen(node: Node, certificate: Certificate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("farmlet.engine.authority.LEAF_DAYS", 8)
    node.put(certificate)
    assert re.fullmatch(r"ends in [78] days", node.look(certificate)[certificate.label])


@root
def test_a_certificate_for_another_key_is_seen(node: Node, certificate: Certificate) -> None:
    """A kill between a new key and its certificate leaves two that do not belong together; no server starts with them."""
    node.put(certificate)
    Path(certificate.key).unlink()
    node.sign(certificate)  # makes a key and asks; the answer never arrives
    Path(certificate.key).chmod(certificate.mode)
    subprocess.run(["chgrp", certificate.group, certificate.key], check=True)
    assert certificate.label in node.look(certificate)


@root
def test_a_certificate_that_becomes_a_clients_is_seen(node: Node, certificate: Certificate) -> None:
    node.put(certificate)
    assert certificate.label in node.look(replace(certificate, client=True))


@root
def test_a_request_has_the_key_of_the_node(node: Node, certificate: Certificate, tmp_path: Path) -> None:
    (tmp_path / "one.crt").write_text(node.sign(certificate))
    mine = subprocess.run(["openssl", "pkey", "-in", certificate.key, "-pubout"], capture_output=True, check=True).stdout
    theirs = subprocess.run(
        ["openssl", "x509", "-in", tmp_path / "one.crt", "-noout", "-pubkey"], capture_output=True, check=True
    ).stdout
    assert mine == theirs and mode(Path(certificate.key)) == 0o600


@root
def test_the_systems_trust_does_not_count(
    node: Node, certificate: Certificate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a change of authority the old one is still in the node's trust store: what it signed is renewed all the same."""
    node.put(certificate)
    store = tmp_path / "trusted"
    store.mkdir()
    (store / "old.pem").write_text(node.authority.ensure())
    subprocess.run(["openssl", "rehash", str(store)], check=True)
    monkeypatch.setenv("SSL_CERT_DIR", str(store))
    node.authority = Authority(tmp_path, "new", "tiny.test", "Another authority")
    assert node.look(certificate) == {certificate.label: "is of another authority"}


@root
def test_the_renewal_authority_lasts_a_year_after_each_up(node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Certificate(
        f"{tmp_path}/inner.crt", f"{tmp_path}/inner.key", ("tiny.test",), owner="daemon", group="daemon", signs=True
    )
    node.put(own)
    assert node.look(own) == {} and mode(Path(own.key)) == 0o600 and Path(own.key).owner() == "daemon"
    assert "another use" in node.look(replace(own, signs=False))[own.label]
    assert "other names" in node.look(replace(own, names=("other.test",)))[own.label]
    monkeypatch.setattr("farmlet.engine.authority.RENEWAL_DAYS", 399)
    node.put(own)
    assert re.fullmatch(r"ends in 39\d days", node.look(own)[own.label])


@root
def test_what_the_node_renewed_itself_is_as_wanted(node: Node, certificate: Certificate, tmp_path: Path) -> None:
    """`up` leaves it alone: it is of the intermediate authority, which stands behind it in the file."""
    own = Certificate(f"{tmp_path}/inner.crt", f"{tmp_path}/inner.key", ("tiny.test",), signs=True)
    node.put(own, certificate)
    public = certificates.read_request(node.request(certificate))
    chain = Path(own.path).read_text()
    key = certificates.load_key(Path(own.key).read_bytes())
    leaf = certificates.sign(chain.encode(), key, public, certificate.names, False, 30)
    Path(certificate.path).write_text(leaf + chain)
    assert node.look(certificate) == {}
    Path(certificate.path).write_text(leaf)
    assert "another authority" in node.look(certificate)[certificate.label], "clients would not believe it either"
    Path(certificate.path).write_text(leaf + chain)
    node.authority.replace()
    assert "another authority" in node.look(certificate)[certificate.label]
    assert "another authority" in node.look(own)[own.label]
