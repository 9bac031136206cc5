from __future__ import annotations

import ssl
import stat
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from farmlet.engine.authority import Authority
from farmlet.errors import FarmletError
from farmlet.parts.resources import RENEWAL_DAYS
from farmlet.runtime import certificates

DOMAIN = "farmlet.test"
KEY = ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    made = Authority(tmp_path, "ca", DOMAIN, "Test authority")
    made.ensure()
    return made


def request(subject: str = "node", names: tuple[str, ...] = (), key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey = KEY) -> str:
    builder = x509.CertificateSigningRequestBuilder()
    builder = builder.subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def names(certificate: x509.Certificate) -> list[str]:
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return found.get_values_for_type(x509.DNSName)


def openssl_accepts(authority: Authority, pem: str, folder: Path, *options: str) -> bool:
    leaf = folder / "leaf.crt"
    leaf.write_text(pem)
    command = ["openssl", "verify", "-x509_strict", "-no-CApath", "-CAfile", str(authority.path), *options, str(leaf)]
    return subprocess.run(command, capture_output=True).returncode == 0


def shake(authority: Authority, pem: str, folder: Path, host: str, strict: bool = True) -> str:
    """A TLS handshake with a server that shows this certificate: "" when the client accepts it, else why not."""
    (folder / "leaf.crt").write_text(pem)
    plain = KEY.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "leaf.key").write_bytes(plain)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "leaf.crt", folder / "leaf.key")
    client = ssl.create_default_context(cafile=str(authority.path))
    if strict:  # what Python 3.13 does by default
        client.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    here = client.wrap_bio(incoming, outgoing, server_hostname=host)
    there = server.wrap_bio(outgoing, incoming, server_side=True)
    for _ in range(4):
        for side in (here, there):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLCertVerificationError as error:
                return error.verify_message
    return "" if here.version() else "no handshake"


def test_it_is_made_once_and_its_key_is_private(authority: Authority, tmp_path: Path) -> None:
    first = authority.path.read_text()
    assert authority.ensure() == first
    assert Authority(tmp_path, "ca", DOMAIN, "Test authority").ensure() == first
    assert stat.S_IMODE((tmp_path / "ca.key").stat().st_mode) == 0o600
    assert "PRIVATE" not in first


@pytest.mark.parametrize(
    "title",
    [
        "Test authority",
        "x" * 200,
        "Größe, O=Other + CN=x",
    ],
)
def test_any_title_will_do(tmp_path: Path, title: str) -> None:
    """A title is the facility file's, of any length; a certificate's common name has 64 characters (RFC 5280)."""
    assert "BEGIN CERTIFICATE" in Authority(tmp_path, "ca", DOMAIN, title).ensure()


def test_a_long_host_name_will_do(authority: Authority, tmp_path: Path) -> None:
    long = f"{'a' * 60}.{'b' * 20}.{DOMAIN}"
    assert openssl_accepts(authority, authority.sign(request(), [long]), tmp_path, "-verify_hostname", long)


def test_what_an_authority_must_say(authority: Authority) -> None:
    own = x509.load_pem_x509_certificate(authority.path.read_bytes())
    basic = own.extensions.get_extension_for_class(x509.BasicConstraints)
    assert basic.critical and basic.value.ca and basic.value.path_length == 1
    usage = own.extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical and usage.value.key_cert_sign and not usage.value.digital_signature
    constraints = own.extensions.get_extension_for_class(x509.NameConstraints)
    assert constraints.critical and constraints.value.permitted_subtrees == [x509.DNSName(DOMAIN)]


def test_names_are_constrained(authority: Authority, tmp_path: Path) -> None:
    """Even whoever holds the key cannot vouch for a name outside the domain."""
    for name in (DOMAIN, f"head.{DOMAIN}", f"a.b.{DOMAIN}"):
        assert shake(authority, authority.sign(request(), [name]), tmp_path, name) == ""
        assert openssl_accepts(authority, authority.sign(request(), [name]), tmp_path)
    for name in ("example.org", f"not{DOMAIN}", f"{DOMAIN}.example.org"):
        assert "permitted subtree" in shake(authority, authority.sign(request(), [name]), tmp_path, name)
        assert not openssl_accepts(authority, authority.sign(request(), [name]), tmp_path)
    assert not openssl_accepts(authority, authority.sign(request(), [f"head.{DOMAIN}", "example.org"]), tmp_path)


def test_python_313_accepts_them(authority: Authority, tmp_path: Path) -> None:
    pem = authority.sign(request(), [f"head.{DOMAIN}"])
    assert shake(authority, pem, tmp_path, f"head.{DOMAIN}", strict=True) == ""
    assert "match" in shake(authority, pem, tmp_path, f"service.{DOMAIN}")
    other = Authority(tmp_path, "other", DOMAIN, "Test authority")
    other.ensure()
    assert shake(other, pem, tmp_path, f"head.{DOMAIN}") != ""


def test_a_request_names_nothing(authority: Authority, tmp_path: Path) -> None:
    """Subject, names and extensions are ours; of a request only the key is taken."""
    leaf = x509.load_pem_x509_certificate(
        authority.sign(request("admin", ("admin.example.org", f"service.{DOMAIN}")), [f"head.{DOMAIN}"]).encode()
    )
    assert leaf.subject.rfc4514_string() == f"CN=head.{DOMAIN}"
    assert names(leaf) == [f"head.{DOMAIN}"]
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert leaf.public_key() == KEY.public_key()


def test_thirty_days(authority: Authority) -> None:
    leaf = x509.load_pem_x509_certificate(authority.sign(request(), [f"head.{DOMAIN}"]).encode())
    now = datetime.now(UTC)
    assert now - timedelta(minutes=10) < leaf.not_valid_before_utc <= now
    assert timedelta(days=29, hours=23) < leaf.not_valid_after_utc - now <= timedelta(days=30)


@pytest.mark.parametrize("client", [False, True])
def test_a_client_only_when_asked(authority: Authority, client: bool, tmp_path: Path) -> None:
    pem = authority.sign(request(), [f"head.{DOMAIN}"], client)
    usage = x509.load_pem_x509_certificate(pem.encode()).extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert (ExtendedKeyUsageOID.CLIENT_AUTH in usage) is client
    assert openssl_accepts(authority, pem, tmp_path, "-purpose", "sslclient") is client
    assert openssl_accepts(authority, pem, tmp_path, "-purpose", "sslserver")


def test_serial_numbers_differ(authority: Authority) -> None:
    made = {
        x509.load_pem_x509_certificate(authority.sign(request(), ["a.farmlet.test"]).encode()).serial_number for _ in range(5)
    }
    assert len(made) == 5


def test_requests_that_are_refused(authority: Authority) -> None:
    with pytest.raises(FarmletError, match="elliptic"):
        authority.sign(request(key=rsa.generate_private_key(65537, 2048)), [DOMAIN])
    der = bytearray(x509.load_pem_x509_csr(request().encode()).public_bytes(serialization.Encoding.DER))
    at = der.index(b"node")
    der[at : at + 4] = b"nodf"
    forged = x509.load_der_x509_csr(bytes(der)).public_bytes(serialization.Encoding.PEM).decode()
    with pytest.raises(FarmletError, match="signature"):
        authority.sign(forged, [DOMAIN])


def test_issue(authority: Authority, tmp_path: Path) -> None:
    pem, key = authority.issue([f"se.{DOMAIN}"])
    loaded = serialization.load_pem_private_key(key.encode(), None)
    assert x509.load_pem_x509_certificate(pem.encode()).public_key() == loaded.public_key()
    assert openssl_accepts(authority, pem, tmp_path, "-verify_hostname", f"se.{DOMAIN}")


def test_half_an_authority_is_made_anew(authority: Authority, tmp_path: Path) -> None:
    """A kill between the two files leaves a key that does not belong to the certificate: what it signs nobody believes."""
    other = Authority(tmp_path, "other", DOMAIN, "Other")
    other.ensure()
    (tmp_path / "ca.key").write_bytes((tmp_path / "other.key").read_bytes())
    authority.ensure()
    assert shake(authority, authority.sign(request(), [DOMAIN]), tmp_path, DOMAIN) == ""


def test_another_domain_is_not_signed_for_in_silence(authority: Authority, tmp_path: Path) -> None:
    """The facility's domain changed in the file: certificates of the old authority would be refused by everyone."""
    moved = Authority(tmp_path, "ca", "other.test", "Test authority")
    try:
        moved.ensure()
    except FarmletError as error:
        assert error.hint
        return
    assert openssl_accepts(moved, moved.sign(request(), ["head.other.test"]), tmp_path)


def test_the_helper_sees_a_refusal(authority: Authority, tmp_path: Path) -> None:
    """The other tests trust `shake`: it must say no to a certificate nobody signed."""
    other = Authority(tmp_path, "other", DOMAIN, "Other")
    other.ensure()
    assert shake(authority, other.sign(request(), [DOMAIN]), tmp_path, DOMAIN) != ""


INNER = ec.generate_private_key(ec.SECP256R1())


def sign_inside(chain: str, name: str, now: datetime | None = None) -> str:
    """What the intermediate authority signs, with its own certificate behind it."""
    return certificates.sign(chain.encode(), INNER, KEY.public_key(), [name], False, 30, now) + chain


def test_the_intermediate_authority_is_constrained_likewise(authority: Authority, tmp_path: Path) -> None:
    chain = authority.delegate(request(key=INNER))
    own = x509.load_pem_x509_certificate(chain.encode())
    assert own.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0
    assert timedelta(days=729) < own.not_valid_after_utc - datetime.now(UTC) <= timedelta(days=730)
    for name in (DOMAIN, f"head.{DOMAIN}"):
        assert shake(authority, sign_inside(chain, name), tmp_path, name) == ""
    assert "permitted subtree" in shake(authority, sign_inside(chain, "example.org"), tmp_path, "example.org")
    # it makes no further authority
    deeper = certificates.delegate(chain.encode(), INNER, KEY.public_key(), f"a.{DOMAIN}", 10)
    leaf = certificates.sign(deeper.encode(), KEY, KEY.public_key(), [f"a.{DOMAIN}"], False, 5)
    assert "path length" in shake(authority, leaf + deeper + chain, tmp_path, f"a.{DOMAIN}")


def test_what_it_signs_ends_with_it(authority: Authority) -> None:
    chain = authority.delegate(request(key=INNER))
    end = x509.load_pem_x509_certificate(chain.encode()).not_valid_after_utc
    leaf = x509.load_pem_x509_certificate(sign_inside(chain, DOMAIN, end - timedelta(days=3)).encode())
    assert leaf.not_valid_after_utc == end
    with pytest.raises(FarmletError, match="ended"):
        sign_inside(chain, DOMAIN, end)


def test_it_says_that_it_has_revoked_nothing(authority: Authority, tmp_path: Path) -> None:
    """With lists of both, who wants one for each authority believes what either signs."""
    key = certificates.make_key()
    own, key_pem = authority.delegate(request(key=key)), certificates.write_key(key)
    leaf = certificates.sign(own.encode(), certificates.load_key(key_pem), KEY.public_key(), ["head.farmlet.test"], False, 30)
    (tmp_path / "own.pem").write_text(own)
    (tmp_path / "lists.pem").write_bytes(authority.read_list().encode() + certificates.make_list(own.encode(), key, 30))
    asked = ("-crl_check_all", "-untrusted", str(tmp_path / "own.pem"))
    assert not openssl_accepts(authority, leaf, tmp_path, *asked)
    assert openssl_accepts(authority, leaf, tmp_path, *asked, "-CRLfile", str(tmp_path / "lists.pem"))
    direct = authority.sign(request(), ["head.farmlet.test"])
    assert openssl_accepts(authority, direct, tmp_path, "-crl_check_all", "-CRLfile", str(tmp_path / "ca.crl"))


def test_the_list_is_made_anew_in_time_and_with_a_new_key(authority: Authority) -> None:
    first = authority.read_list()
    authority.ensure()
    assert authority.read_list() == first, "a second `up` changes nothing"
    soon = datetime.now(UTC) + timedelta(days=RENEWAL_DAYS - 400 + 1)
    assert certificates.lasts(first.encode(), authority.path.read_bytes(), 400)
    assert not certificates.lasts(first.encode(), authority.path.read_bytes(), 400, soon)
    authority.replace()
    authority.ensure()
    assert authority.read_list() != first and certificates.lasts(authority.read_list().encode(), authority.path.read_bytes(), 400)
    assert not certificates.lasts(b"", authority.path.read_bytes(), 400)
