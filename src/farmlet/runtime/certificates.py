"""X.509 as the facility uses it (RFC 5280): authorities constrained to one domain, and what they sign. No files.

An authority signs leaves, and one intermediate authority, which signs leaves only and is constrained like itself. `now` is for
tests, which move the clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from farmlet.errors import FarmletError

COMMON_NAME = 64  # characters (RFC 5280, ub-common-name)
Key = ec.EllipticCurvePrivateKey
Validity = tuple[datetime, datetime]


def make_key() -> Key:
    return ec.generate_private_key(ec.SECP256R1())


def load_key(pem: bytes) -> Key:
    key = serialization.load_pem_private_key(pem, None)
    if not isinstance(key, Key):
        raise FarmletError("key", "is not an elliptic-curve key")
    return key


def write_key(key: Key) -> bytes:
    """The private key as PEM (PKCS 8)."""
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def make_authority(key: Key, domain: str, title: str, days: int, now: datetime | None = None) -> bytes:
    """A self-signed authority (PEM) that can vouch for `domain` and what is below it, and for no address (§4.2.1.10)."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, title[:COMMON_NAME])])
    builder = _constrain(_builder(name, name, key.public_key(), _last(days, now)), domain, path_length=1)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def delegate(
    authority: bytes, key: Key, public: ec.EllipticCurvePublicKey, domain: str, days: int, now: datetime | None = None
) -> str:
    """An intermediate authority (PEM) for `public`: it signs leaves for `domain`, and no further authority."""
    own = x509.load_pem_x509_certificate(authority)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"renewal authority of {domain}"[:COMMON_NAME])])
    validity = _last(days, now, own.not_valid_after_utc)
    builder = _constrain(_builder(name, own.subject, public, validity), domain, path_length=0)
    made = builder.add_extension(_identify(own), critical=False).sign(key, hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM).decode()


def _constrain(builder: x509.CertificateBuilder, domain: str, path_length: int) -> x509.CertificateBuilder:
    nothing = [x509.IPAddress(ip_network("0.0.0.0/0")), x509.IPAddress(ip_network("::/0"))]
    constraints = x509.NameConstraints(permitted_subtrees=[x509.DNSName(domain)], excluded_subtrees=nothing)
    return (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_usage(sign_certificates=True), critical=True)
        .add_extension(constraints, critical=True)
    )


def fits(authority: bytes, key: bytes, domain: str) -> bool:
    """Whether the authority (PEM) signs for `domain`, and the key (PEM) is its own."""
    try:
        own = x509.load_pem_x509_certificate(authority)
        permitted = own.extensions.get_extension_for_class(x509.NameConstraints).value.permitted_subtrees
        return permitted == [x509.DNSName(domain)] and own.public_key() == load_key(key).public_key()
    except (ValueError, x509.ExtensionNotFound):
        return False


def read_request(pem: str) -> ec.EllipticCurvePublicKey:
    """The key of a certificate request; FarmletError unless the request was signed with it."""
    csr = x509.load_pem_x509_csr(pem.encode())
    if not csr.is_signature_valid:
        raise FarmletError("certificate request", "its signature does not match its key")
    public = csr.public_key()
    if not isinstance(public, ec.EllipticCurvePublicKey):
        raise FarmletError("certificate request", "its key is not an elliptic-curve key")
    return public


def sign(
    authority: bytes,
    key: Key,
    public: ec.EllipticCurvePublicKey,
    names: Sequence[str],
    client: bool,
    days: int,
    now: datetime | None = None,
) -> str:
    """A server's certificate (PEM) for `public` and the DNS `names`; with `client`, a client's as well.

    It ends with the authority at the latest. Raises FarmletError where that is over.
    """
    own = x509.load_pem_x509_certificate(authority)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:COMMON_NAME])])
    usages = [ExtendedKeyUsageOID.SERVER_AUTH] + ([ExtendedKeyUsageOID.CLIENT_AUTH] if client else [])
    leaf = (
        _builder(subject, own.subject, public, _last(days, now, own.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(sign_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .add_extension(_identify(own), critical=False)
        .sign(key, hashes.SHA256())
    )
    return leaf.public_bytes(serialization.Encoding.PEM).decode()


def make_list(authority: bytes, key: Key, days: int, now: datetime | None = None) -> bytes:
    """What the authority has revoked (PEM; RFC 5280 §5): nothing, and to say so is what some wait for. Its number is its time."""
    own = x509.load_pem_x509_certificate(authority)
    begin, end = _last(days, now, own.not_valid_after_utc)
    builder = x509.CertificateRevocationListBuilder().issuer_name(own.subject).last_update(begin).next_update(end)
    builder = builder.add_extension(_identify(own), critical=False)
    builder = builder.add_extension(x509.CRLNumber(int(begin.timestamp())), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def lasts(revoked: bytes, authority: bytes, days: int, now: datetime | None = None) -> bool:
    """Whether a list (PEM) is the authority's, and good for so many days more."""
    public = x509.load_pem_x509_certificate(authority).public_key()
    try:
        found = x509.load_pem_x509_crl(revoked)
        end = found.next_update_utc
        sound = isinstance(public, ec.EllipticCurvePublicKey) and found.is_signature_valid(public)
    except ValueError:
        return False
    return sound and end is not None and end - (now or datetime.now(UTC)) > timedelta(days=days)


def _identify(authority: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    identifier = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def _last(days: int, now: datetime | None, end: datetime | None = None) -> Validity:
    """From now on for `days`, but not beyond `end`."""
    begin = now or datetime.now(UTC)
    if end is not None and end <= begin:
        raise FarmletError("authority", f"ended at {end:%F %T}", "farmlet up")
    return begin - timedelta(minutes=5), min(begin + timedelta(days=days), end or datetime.max.replace(tzinfo=UTC))


def _builder(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, validity: Validity
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(validity[0])
        .not_valid_after(validity[1])
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
