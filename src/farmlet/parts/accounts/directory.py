"""The LDAP directory as the daemon sees it: over the unix socket, known by its user id. Needs python-ldap (Debian's)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ldap
from ldap.ldapobject import LDAPObject

from farmlet.errors import FarmletError
from farmlet.parts.accounts.state import Change

LDAPI = "ldapi:///"
TIMEOUT = 10


class Directory:
    """The entries below `base`. Connects at each call: the server may have been restarted since the last."""

    def __init__(self, base: str, uri: str = LDAPI) -> None:
        self._base, self._uri = base, uri

    def load(self) -> dict[str, dict[str, tuple[str, ...]]]:
        """Every entry by distinguished name; none while the suffix itself is not there. Raises FarmletError."""
        try:
            with _Connection(self._uri) as connection:
                rows = connection.search_s(self._base, ldap.SCOPE_SUBTREE)
        except ldap.NO_SUCH_OBJECT:
            return {}
        except ldap.LDAPError as error:
            raise FarmletError(self._uri, f"cannot be read: {_told(error)}") from error
        return {dn: {name: tuple(map(_text, values)) for name, values in attributes.items()} for dn, attributes in rows}

    def apply(self, changes: Sequence[Change]) -> None:
        """Make the changes, in order. Raises FarmletError at the first that fails; the next run goes on from there."""
        if not changes:
            return
        with _Connection(self._uri) as connection:
            for change in changes:
                try:
                    _apply(connection, change)
                except ldap.LDAPError as error:
                    raise FarmletError(f"{change.kind} {change.dn}", _told(error)) from error


def _apply(connection: LDAPObject, change: Change) -> None:
    values = {name: [value.encode() for value in found] for name, found in change.attributes.items()}
    if change.kind == "add":
        connection.add_s(change.dn, list(values.items()))
    elif change.kind == "delete":
        connection.delete_s(change.dn)
    else:
        # an empty list takes the attribute away (RFC 4511 §4.6)
        connection.modify_s(change.dn, [(ldap.MOD_REPLACE, name, found or None) for name, found in values.items()])


class _Connection:
    def __init__(self, uri: str) -> None:
        self._uri = uri

    def __enter__(self) -> LDAPObject:
        try:
            self._connection = ldap.initialize(self._uri)
            self._connection.set_option(ldap.OPT_NETWORK_TIMEOUT, TIMEOUT)
            self._connection.set_option(ldap.OPT_TIMEOUT, TIMEOUT)
            self._connection.sasl_external_bind_s()
        except ldap.LDAPError as error:
            raise FarmletError(self._uri, f"cannot be reached: {_told(error)}") from error
        return self._connection

    def __exit__(self, *_: object) -> None:
        self._connection.unbind_s()


def _text(value: bytes) -> str:
    return value.decode(errors="replace")


def _told(error: ldap.LDAPError) -> str:
    detail: Any = error.args[0] if error.args else {}
    return " ".join(str(detail[key]) for key in ("desc", "info") if key in detail) if isinstance(detail, dict) else str(error)
