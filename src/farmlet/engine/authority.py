"""The facility's certificate authority, constrained to its domain (RFC 5280 §4.2.1.10), and the stand-in sites' own.

This module is the files of one; what is in them is `certificates`, which is imported only where something is signed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from farmlet.parts.resources import LEAF_DAYS, RENEWAL_DAYS, Certificate
from farmlet.runtime.files import write

CA_DAYS = 3650
LIST_LEFT = 400  # days; with fewer `up` makes the list anew, as it does the renewal authority's certificate


class Authority:
    """A certificate authority in one folder: `<stem>.crt`, `<stem>.key` (0600) and `<stem>.crl`, the list of what it revoked. It
    signs for `domain` only."""

    def __init__(self, folder: Path, stem: str, domain: str, title: str) -> None:
        self._crt, self._key, self._crl = (folder / f"{stem}.{ending}" for ending in ("crt", "key", "crl"))
        self._domain, self._title = domain, title

    @property
    def path(self) -> Path:
        return self._crt

    def read(self) -> str:
        """The authority's certificate (PEM) as it is; "" before it is made. Changes nothing."""
        return self._crt.read_text() if self._crt.exists() else ""

    def read_list(self) -> str:
        """The list of what it has revoked (PEM) as it is; "" before it is made."""
        return self._crl.read_text() if self._crl.exists() else ""

    def ensure(self) -> str:
        """The authority's certificate (PEM), made at first use, and anew when the facility has got another domain: nobody
        would believe what the old one signs."""
        from farmlet.runtime import certificates

        there = self._crt.exists() and self._key.exists()
        if not (there and certificates.fits(self._crt.read_bytes(), self._key.read_bytes(), self._domain)):
            self.replace()
        self._ensure_list()
        return self._crt.read_text()

    def _ensure_list(self) -> None:
        """Good for as long as the facility can be left alone."""
        from farmlet.runtime import certificates

        authority = self._crt.read_bytes()
        if not certificates.lasts(self.read_list().encode(), authority, LIST_LEFT):
            key = certificates.load_key(self._key.read_bytes())
            write(self._crl, certificates.make_list(authority, key, RENEWAL_DAYS), 0o644)

    def answer(self, csr_pem: str, wanted: Certificate) -> str:
        """The certificate (PEM) that a node asks for."""
        return self.delegate(csr_pem) if wanted.signs else self.sign(csr_pem, wanted.names, wanted.client)

    def delegate(self, csr_pem: str) -> str:
        """An intermediate authority (PEM) for the key of `csr_pem`, for our own domain."""
        from farmlet.runtime import certificates

        public = certificates.read_request(csr_pem)
        key = certificates.load_key(self._key.read_bytes())
        return certificates.delegate(self._crt.read_bytes(), key, public, self._domain, RENEWAL_DAYS)

    def replace(self) -> None:
        """A new key and certificate, of which nobody knows yet: what the old ones signed is worth nothing to who knows these."""
        from farmlet.runtime import certificates

        key = certificates.make_key()
        write(self._key, certificates.write_key(key), 0o600)
        write(self._crt, certificates.make_authority(key, self._domain, self._title, CA_DAYS), 0o644)

    def sign(self, csr_pem: str, names: Sequence[str], client: bool = False) -> str:
        """A certificate (PEM) for the key of `csr_pem`; subject and names come from us, never from the request."""
        from farmlet.runtime import certificates

        public = certificates.read_request(csr_pem)
        key = certificates.load_key(self._key.read_bytes())
        return certificates.sign(self._crt.read_bytes(), key, public, names, client, LEAF_DAYS)

    def issue(self, names: Sequence[str]) -> tuple[str, str]:
        """A certificate and its fresh key (PEM both): for stand-in sites, which have no agent to ask."""
        from farmlet.runtime import certificates

        fresh, key = certificates.make_key(), certificates.load_key(self._key.read_bytes())
        leaf = certificates.sign(self._crt.read_bytes(), key, fresh.public_key(), names, False, LEAF_DAYS)
        return leaf, certificates.write_key(fresh).decode()
