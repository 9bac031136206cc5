"""The LDAP directory as a sink: ours, over the unix socket, or an existing one. Needs python-ldap (Debian's)."""

from __future__ import annotations

import re
import time
from collections.abc import Container, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet

import ldap
from ldap.ldapobject import LDAPObject

from farmlet.errors import FarmletError
from farmlet.parts.accounts.sink import state
from farmlet.parts.accounts.sink.connection import READ_TIMEOUT, SCHEMA_TIMEOUT, Server, tell
from farmlet.parts.accounts.sink.difference import MEMBERS, Change, Difference, diff, find_name, is_ours, normalise
from farmlet.parts.accounts.sink.sink import Held, Outcome
from farmlet.parts.accounts.sink.state import Account, Attributes, Fault

FULL_SECONDS = 300.0  # how often everything is compared, though only something changed
FEW = 100  # members and groups that are looked for by name; for more the whole directory is read
NEEDED = ("objectClass", "description", "uid", "cn", "gecos", "uidNumber", "gidNumber", "homeDirectory", "loginShell",
          "shadowExpire", MEMBERS, "dc", "o", "ou", "sn", "labeledURI")  # fmt: skip
PLAIN = re.compile(r"[a-z0-9_-]+")
# the connection is gone or the server in no state to go on: the same would come of every further change
LOST = (ldap.SERVER_DOWN, ldap.CONNECT_ERROR, ldap.TIMEOUT, ldap.UNAVAILABLE, ldap.BUSY)


class Directory:
    """An `AccountSink`: the entries that `layout` places.

    What it brought in order it remembers, and looks only at what changed since; at everything every five minutes, and after
    anything went wrong.
    """

    name = "directory"

    def __init__(self, server: Server, layout: state.Layout, seconds: float = FULL_SECONDS) -> None:
        self._server, self._layout, self._seconds = server, layout, seconds
        self._known: dict[str, Account] | None = None  # in order there; None: who knows
        self._again = frozenset[str]()  # names that were not in order at the last look
        self._due = 0.0

    def look(self) -> Held:
        accounts, groups = list[Account](), dict[str, int]()
        with self._server.connect() as connection:
            try:
                for dn, found in self._load(connection, {}, None):
                    if not is_ours(found, self._layout.mark):
                        continue
                    if dn.startswith("uid="):
                        accounts.append(_rebuild(find_name(dn), found))
                    elif gid := found.get("gidNumber"):
                        groups[find_name(dn)] = int(gid[0])
            except (ldap.LDAPError, ValueError, LookupError) as error:
                raise FarmletError(self._server.uri, f"cannot be read: {error!r}") from error
        for account in accounts:
            groups.pop(account.name, None)
        return Held(accounts, groups)

    def plan(self, accounts: Sequence[Account], held: AbstractSet[str] = frozenset()) -> Outcome:
        with self._server.connect() as connection:
            difference = self._compare(connection, accounts, held, None)
        return Outcome(tuple(map(str, difference.changes)), difference.faults)

    def sync(self, accounts: Sequence[Account], held: AbstractSet[str] = frozenset()) -> Outcome:
        names = self._choose(accounts, held)
        self._known = None  # until it is done
        with self._server.connect() as connection:
            difference = self._compare(connection, accounts, held, names)
            done, refused = self._apply(connection, difference.changes)
        outcome = Outcome(tuple(map(str, done)), (*difference.faults, *refused))
        self._known, self._again = {account.name: account for account in accounts}, outcome.held | held
        if names is None:
            self._due = time.monotonic() + self._seconds
        return outcome

    def _choose(self, accounts: Sequence[Account], held: AbstractSet[str]) -> frozenset[str] | None:
        """The names of members and groups that may not be in order; None for all."""
        if self._known is None or time.monotonic() >= self._due:
            return None
        changed = [one for one in accounts if self._known.get(one.name) != one]
        gone = [self._known[name] for name in self._known.keys() - {one.name for one in accounts}]
        before = [self._known[one.name] for one in changed if one.name in self._known]
        names = {name for one in (*changed, *gone, *before) for name in (one.name, *one.groups)} | self._again | held
        return frozenset(names) if len(names) <= FEW else None

    def _compare(
        self, connection: LDAPObject, accounts: Sequence[Account], held: AbstractSet[str], names: frozenset[str] | None
    ) -> Difference:
        wanted = state.entries(accounts, self._layout, names)
        stay = held - {account.name for account in accounts if not account.active}
        try:
            self._check_schema(connection)
            return diff(self._load(connection, wanted, names), wanted, self._layout.mark, stay)
        except ldap.SIZELIMIT_EXCEEDED as error:
            hint = f"let {self._server.bind} read without limit (slapd: olcLimits)"
            raise FarmletError(self._server.uri, "does not tell all its entries", hint) from error
        except ldap.LDAPError as error:
            raise FarmletError(self._server.uri, f"cannot be read: {tell(error)}") from error

    def _load(
        self, connection: LDAPObject, wanted: state.Entries, names: frozenset[str] | None
    ) -> Iterator[tuple[str, Attributes]]:
        """The entries that count, by distinguished name; none while our own suffix is not there."""
        layout = self._layout
        if names is not None:
            bases, query = [layout.people, layout.groups], select(names, wanted)
        elif layout.base:
            bases, query = [layout.base], "(objectClass=*)"
        else:  # whoever else is there has names and numbers too
            bases, query = [layout.people, layout.groups], "(|(uid=*)(objectClass=posixGroup))"
        for base in dict.fromkeys(bases):
            try:
                yield from self._search(connection, base, query, names)
            except ldap.NO_SUCH_OBJECT as error:
                if not layout.base:
                    hint = "the people who keep the directory make it; Farmlet writes below it only"
                    raise FarmletError(self._server.uri, f"{base} is not there", hint) from error

    def _search(
        self, connection: LDAPObject, base: str, query: str, names: Container[str] | None
    ) -> Iterator[tuple[str, Attributes]]:
        number = connection.search_ext(base, ldap.SCOPE_SUBTREE, query, list(NEEDED), timeout=READ_TIMEOUT)
        kind = ldap.RES_SEARCH_ENTRY
        while kind != ldap.RES_SEARCH_RESULT:  # one by one: a list of all would be the daemon's largest
            kind, rows = connection.result(number, all=0, timeout=READ_TIMEOUT)
            for dn, attributes in rows or ():
                if dn is not None:  # a referral has none
                    found = {name: tuple(map(_text, values)) for name, values in attributes.items()}
                    yield from self._keep(normalise(dn), found, names)

    def _keep(self, dn: str, found: Attributes, names: Container[str] | None) -> Iterator[tuple[str, Attributes]]:
        """The entry, but for one of ours that only shares a word with what was looked for."""
        if names is None or find_name(dn) in names or not is_ours(found, self._layout.mark):
            yield dn, found

    def _check_schema(self, connection: LDAPObject) -> None:
        """Groups by RFC 2307 name their members by `memberUid`. Raises FarmletError for a server of RFC 2307bis."""
        if self._layout.base:
            return
        place = connection.search_subschemasubentry_s()
        rows = connection.search_ext_s(
            place, ldap.SCOPE_BASE, "(objectClass=subschema)", ["objectClasses"], timeout=SCHEMA_TIMEOUT
        )
        classes = [text for _, attributes in rows for value in attributes.get("objectClasses", ()) for text in [_text(value)]]
        if any("'posixGroup'" in text and "AUXILIARY" in text for text in classes):
            what = "has groups by RFC 2307bis (posixGroup is auxiliary, members are distinguished names); Farmlet writes RFC 2307"
            raise FarmletError(self._server.uri, what, "use Farmlet's own directory, or a subtree of a server with nis.schema")

    def _apply(self, connection: LDAPObject, changes: Iterable[Change]) -> tuple[list[Change], list[Fault]]:
        """Make the changes in their order; one that is refused is told. Raises FarmletError when none can be made any more."""
        done, faults = [], []
        for change in changes:
            try:
                make(connection, change)
                done.append(change)
            except LOST as error:
                raise FarmletError(f"{self._server.uri} {change.dn}", f"{change.kind}: {tell(error)}") from error
            except (ldap.LDAPError, UnicodeError) as error:
                said = tell(error) if isinstance(error, ldap.LDAPError) else str(error)
                faults.append(Fault(f"{change.kind} {change.dn}", said, frozenset({change.name} - {""})))
        return done, faults


def _rebuild(name: str, found: Attributes) -> Account:
    """Whose entry it is. Raises ValueError or LookupError for one that was made otherwise."""
    sub = found["description"][0].partition(" ")[2]
    return Account(sub, name, int(found["uidNumber"][0]), int(found["gidNumber"][0]), name, "active", False, {})


def select(names: Iterable[str], wanted: state.Entries) -> str:
    """A filter (RFC 4515) for the entries of these names, and for others that have their numbers. No value needs an escape."""
    numbers = {(key, value) for entry in wanted.values() for key in ("uidNumber", "gidNumber") for value in entry.get(key, ())}
    named = {(key, name) for name in names if PLAIN.fullmatch(name) for key in ("uid", "cn")}
    return f"(|{''.join(f'({key}={value})' for key, value in sorted(named | numbers))})"


def make(connection: LDAPObject, change: Change) -> None:
    """Make one change. Raises ldap.LDAPError."""
    values = {name: [value.encode() for value in found] for name, found in change.attributes.items()}
    if change.kind == "add":
        connection.add_s(change.dn, list(values.items()))
    elif change.kind == "delete":
        connection.delete_s(change.dn)
    else:
        connection.modify_s(change.dn, [step for name in values for step in _step(name, change)])


def _step(name: str, change: Change) -> Iterator[tuple[int, str, list[bytes] | None]]:
    after, before = change.attributes[name], change.before.get(name, ())
    if name != MEMBERS:
        # an empty list takes the attribute away (RFC 4511 §4.6)
        yield ldap.MOD_REPLACE, name, [value.encode() for value in after] or None
        return
    # a group may have thousands: only who comes and goes
    for kind, some in ((ldap.MOD_DELETE, set(before) - set(after)), (ldap.MOD_ADD, set(after) - set(before))):
        if some:
            yield kind, name, [value.encode() for value in sorted(some)]


def _text(value: bytes) -> str:
    return value.decode(errors="replace")
