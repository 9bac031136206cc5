"""How the daemon reaches a directory. Needs python-ldap (Debian's)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ldap
from ldap.ldapobject import LDAPObject

from farmlet.errors import FarmletError

LDAPI = "ldapi:///"
TIMEOUT = 10  # seconds to connect, and for one change
READ_TIMEOUT = 60  # seconds for a whole directory
SCHEMA_TIMEOUT = 10


@dataclass(frozen=True)
class Server:
    """A directory at `uri`. Without `bind` the unix socket, where the server knows us by our user id.

    `bind`: the distinguished name we are there, by the password in the file `password`, read at each use. Then TLS is asked
    for at `ldap://` (StartTLS), and the certificate checked against `ca` (PEM file; the system's authorities if empty).
    """

    uri: str = LDAPI
    bind: str = ""
    password: str = ""
    ca: str = ""

    @contextmanager
    def connect(self) -> Iterator[LDAPObject]:
        """A connection for one use: the server may have been restarted since the last. Raises FarmletError."""
        connection = self._open()
        try:
            yield connection
        finally:
            with suppress(ldap.LDAPError):
                connection.unbind_s()

    def _open(self) -> LDAPObject:
        secret = _load(self.password, self.bind) if self.bind else ""
        try:
            connection = ldap.initialize(self.uri)
            connection.set_option(ldap.OPT_NETWORK_TIMEOUT, TIMEOUT)
            connection.set_option(ldap.OPT_TIMEOUT, TIMEOUT)
            connection.set_option(ldap.OPT_REFERRALS, 0)  # our password goes to nobody else
            if self.bind:
                self._secure(connection)
                connection.simple_bind_s(self.bind, secret)
            else:
                connection.sasl_external_bind_s()
        except ldap.INVALID_CREDENTIALS as error:
            hint = f"put the right one into {self.password}" if self.bind else ""
            raise FarmletError(self.uri, f"refuses the password of {self.bind}", hint) from error
        except ldap.LDAPError as error:
            raise FarmletError(self.uri, f"cannot be reached: {tell(error)}") from error
        return connection

    def _secure(self, connection: LDAPObject) -> None:
        connection.set_option(ldap.OPT_X_TLS_REQUIRE_CERT, ldap.OPT_X_TLS_DEMAND)
        if self.ca:
            connection.set_option(ldap.OPT_X_TLS_CACERTFILE, self.ca)
        connection.set_option(ldap.OPT_X_TLS_NEWCTX, 0)
        if not self.uri.startswith("ldaps:"):
            connection.start_tls_s()


def _load(path: str, bind: str) -> str:
    try:
        secret = Path(path).read_text().strip()
    except OSError as error:
        raise FarmletError(path, f"the password of {bind}: {error.strerror}") from error
    if not secret:  # a bind without password is nobody's, and would succeed (RFC 4513 §5.1.2)
        raise FarmletError(path, "is empty", f"put the password of {bind} there")
    return secret


def tell(error: ldap.LDAPError) -> str:
    """What a server said, on one line."""
    detail: Any = error.args[0] if error.args else {}
    return " ".join(str(detail[key]) for key in ("desc", "info") if key in detail) if isinstance(detail, dict) else str(error)
