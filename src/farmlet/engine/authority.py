"""The facility's certificate authority, constrained to its domain (RFC 5280 §4.2.1.10), and the stand-in sites' own."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from farmlet.errors import FarmletError
from farmlet.runtime.files import write

CA_DAYS = 3650
LEAF_DAYS = 30  # design §9
Key = ec.EllipticCurvePrivateKey


class Authority:
    """A certificate authority in one folder: `<stem>.crt` and `<stem>.key` (0600). It signs for `domain` only."""

    def __init__(self, folder: Path, stem: str, domain: str, title: str) -> None:
        self._crt, self._key = folder / f"{stem}.crt", folder / f"{stem}.key"
        self._domain, self._title = domain, title

    @property
    def path(self) -> Path:
        return self._crt

    def ensure(self) -> str:
        """The authority's certificate (PEM), made at first use."""
        if not (self._crt.exists() and self._key.exists()):
            key = ec.generate_private_key(ec.SECP256R1())
            write(self._key, _pem(key), 0o600)
            write(self._crt, self._certificate(key).public_bytes(serialization.Encoding.PEM), 0o644)
        return self._crt.read_text()

    def _certificate(self, key: Key) -> x509.Certificate:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self._title)])
        nothing = [x509.IPAddress(ip_network("0.0.0.0/0")), x509.IPAddress(ip_network("::/0"))]
        constraints = x509.NameConstraints(permitted_subtrees=[x509.DNSName(self._domain)], excluded_subtrees=nothing)
        return (
            _builder(name, name, key.public_key(), CA_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(sign_certificates=True), critical=True)
            .add_extension(constraints, critical=True)
            .sign(key, hashes.SHA256())
        )

    def sign(self, csr_pem: str, names: Sequence[str], client: bool = False) -> str:
        """A certificate (PEM) for the key of `csr_pem`; subject and names come from us, never from the request."""
        csr = x509.load_pem_x509_csr(csr_pem.encode())
        if not csr.is_signature_valid:
            raise FarmletError("certificate request", "its signature does not match its key")
        public = csr.public_key()
        if not isinstance(public, ec.EllipticCurvePublicKey):
            raise FarmletError("certificate request", "its key is not an elliptic-curve key")
        return self._leaf(public, names, client).public_bytes(serialization.Encoding.PEM).decode()

    def issue(self, names: Sequence[str]) -> tuple[str, str]:
        """A fresh key and its certificate (PEM both): for stand-in sites, which have no agent to ask."""
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = self._leaf(key.public_key(), names, client=False)
        return leaf.public_bytes(serialization.Encoding.PEM).decode(), _pem(key).decode()

    def _leaf(self, public: ec.EllipticCurvePublicKey, names: Sequence[str], client: bool) -> x509.Certificate:
        own = x509.load_pem_x509_certificate(self._crt.read_bytes())
        key = serialization.load_pem_private_key(self._key.read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        usages = [ExtendedKeyUsageOID.SERVER_AUTH] + ([ExtendedKeyUsageOID.CLIENT_AUTH] if client else [])
        identifier = own.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        return (
            _builder(subject, own.subject, public, LEAF_DAYS)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(sign_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
            .sign(key, hashes.SHA256())
        )


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _usage(sign_certificates: bool) -> x509.KeyUsage:
    """Python 3.13 refuses an authority without key usage, so both kinds of certificate carry it."""
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(key: Key) -> bytes:
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
