"""SSH certificates with the real ssh-keygen: what is signed, what is refused, when hosts are signed again."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from farmlet.errors import FarmletError, InputError
from farmlet.parts.access import certificates, hostcerts
from farmlet.parts.access.certificates import Request


def make_key(path: Path, kind: str = "ed25519") -> str:
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "me@home", "-f", str(path)], check=True)
    return Path(f"{path}.pub").read_text()


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    make_key(tmp_path / "ca")
    return tmp_path / "ca"


def test_what_is_known_of_a_certificate_is_not_asked_again(
    authority: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checks ask each few seconds, and each question is a process."""
    key = certificates.parse(make_key(tmp_path / "k"))
    line = certificates.sign(authority, Request(key, "sub/jti", ("alice",), "-1m:+12h"))
    known = certificates.describe(line), certificates.fingerprint(key)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert (certificates.describe(line), certificates.fingerprint(key)) == known


def test_a_members_certificate_says_what_was_asked(authority: Path, tmp_path: Path) -> None:
    key = certificates.parse(make_key(tmp_path / "k"))
    line = certificates.sign(authority, Request(key, "sub/jti", ("alice",), "-1m:+12h"))
    assert len(line.split()) == 2
    found = certificates.describe(line)
    assert found.principals == ("alice",)
    assert found.key == certificates.fingerprint(key)
    assert found.signer == certificates.fingerprint(Path(f"{authority}.pub").read_text())
    assert abs(found.end - datetime.now(UTC) - timedelta(hours=12)) < timedelta(minutes=1)
    text = subprocess.run(["ssh-keygen", "-L", "-f", "-"], input=line, capture_output=True, text=True, check=True).stdout
    assert 'Key ID: "sub/jti"' in text
    assert "user certificate" in text
    assert {word.strip() for word in text.split("Extensions:")[1].split()} == set(certificates.PERMITS)


@pytest.mark.parametrize(
    "text",
    ["", "\n\n", "hello", "ssh-ed25519", "ssh-ed25519 !!!", "ssh-rsa AAAAB3NzaC1yc2E=", 'command="id" ssh-ed25519 AAAA',
     "ssh-ed25519 AAAAB3NzaC1yc2EAAAADAQAB", "ssh-ed25519-cert-v01@openssh.com AAAA", "x" * 5000],
)  # fmt: skip
def test_what_is_no_plain_public_key_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        certificates.parse(text)


def test_two_keys_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        certificates.parse(make_key(tmp_path / "a") + make_key(tmp_path / "b"))


@pytest.mark.parametrize("name", ["-h", "a,root", "a b", "", "a\nb"])
def test_names_that_would_say_more_are_refused(authority: Path, tmp_path: Path, name: str) -> None:
    key = certificates.parse(make_key(tmp_path / "k"))
    with pytest.raises(InputError):
        certificates.sign(authority, Request(key, "id", (name,), "+1h"))


def test_a_truncated_key_is_an_error_not_a_certificate(authority: Path, tmp_path: Path) -> None:
    kind, blob = certificates.parse(make_key(tmp_path / "k")).split()
    with pytest.raises(FarmletError):
        certificates.sign(authority, Request(f"{kind} {blob[:24]}", "id", ("alice",), "+1h"))


@pytest.fixture
def control(tmp_path: Path) -> Path:
    for path in ("inbox/head", "outbox/head", "inbox/service", "outbox/service"):
        (tmp_path / "control" / path).mkdir(parents=True)
    return tmp_path / "control"


def test_hosts_are_signed_once_and_again_when_it_is_time(authority: Path, control: Path, tmp_path: Path) -> None:
    nodes = {"head": ["head.farmlet.test", "head"], "service": ["service.farmlet.test", "service"]}
    signer = hostcerts.Signer(control, authority, nodes)
    assert signer.ensure() == []  # no key yet is no fault
    make_key(tmp_path / "host")
    (control / "inbox/head/ssh-host-key").write_text(Path(f"{tmp_path}/host.pub").read_text())
    assert signer.ensure() == []
    target = control / "outbox/head/ssh-host-cert"
    first = target.read_text()
    assert certificates.describe(first).principals == ("head.farmlet.test", "head")
    assert not (control / "outbox/service/ssh-host-cert").exists()

    signer.ensure()
    assert target.read_text() == first

    key = certificates.parse(Path(f"{tmp_path}/host.pub").read_text())
    old = Request(key, "host/head", ("head.farmlet.test", "head"), f"-5m:+{hostcerts.RENEW_DAYS - 1}d", host=True)
    target.write_text(certificates.sign(authority, old))
    signer.ensure()
    assert (certificates.describe(target.read_text()).end - datetime.now(UTC)).days >= hostcerts.DAYS - 1

    make_key(tmp_path / "other")
    (control / "inbox/head/ssh-host-key").write_text(Path(f"{tmp_path}/other.pub").read_text())
    signer.ensure()
    assert certificates.describe(target.read_text()).key != certificates.describe(first).key


def test_a_bad_host_key_is_told_and_the_others_are_signed(authority: Path, control: Path, tmp_path: Path) -> None:
    make_key(tmp_path / "host")
    (control / "inbox/head/ssh-host-key").write_text("rubbish")
    (control / "inbox/service/ssh-host-key").write_text(Path(f"{tmp_path}/host.pub").read_text())
    faults = hostcerts.Signer(control, authority, {"head": ["head.x"], "service": ["service.x"]}).ensure()
    assert len(faults) == 1
    assert faults[0].startswith("node head")
    assert (control / "outbox/service/ssh-host-cert").exists()
