"""Keeps the accounts equal to the membership: source → directory → nodes. Runs on the control node.

    python -m farmlet.parts.accounts.daemon [--config FILE] [--dry-run]

It waits at the source of membership (our identity's feed of changes; an INDIGO IAM has none and is asked every minute),
and looks at everything anew on each change and every five minutes. Each pass compares and mends, so nothing depends on
having seen every change. The directory is brought in order first, then the nodes are told (see `sink`). What cannot be done
for one member is told in the log and by a check, and everybody else is served.

With --dry-run it prints what a pass would change and changes nothing.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from farmlet.errors import FarmletError
from farmlet.facility.rights import Table
from farmlet.parts.accounts.deprovision.missing import Guard, tell
from farmlet.parts.accounts.deprovision.tombstones import Tombstones
from farmlet.parts.accounts.sink import state
from farmlet.parts.accounts.sink.difference import normalise
from farmlet.parts.accounts.sink.nodes import Nodes
from farmlet.parts.accounts.sink.sink import AccountSink
from farmlet.parts.accounts.source.builtin import Builtin
from farmlet.parts.accounts.source.indigo import Indigo
from farmlet.parts.accounts.source.ledger import Ledger
from farmlet.parts.accounts.source.logins import Logins
from farmlet.parts.accounts.source.membership import Member, MembershipSource
from farmlet.parts.accounts.source.record import Record
from farmlet.parts.accounts.source.scim import Reader
from farmlet.runtime.files import write
from farmlet.runtime.rows import FIRST_UID
from farmlet.runtime.seen import Seen

CONFIG = "/etc/farmlet/accounts.json"
CREDENTIAL = "accounts-secret"
RESYNC_SECONDS = 300
BACKOFF = 5.0
LOGGED = 50  # faults of one pass, at most; the file has them all
log = logging.getLogger("farmlet.accounts")


@dataclass(frozen=True)
class Look:
    """The members, their accounts, and the names of those who stay as they are, since theirs cannot be told."""

    members: Sequence[Member]
    reading: state.Reading
    held: frozenset[str]


@dataclass
class Daemon:
    """`sinks` in their order. `faults`: the file that tells the check what could not be done. `record` is kept of an issuer
    that is not ours. `seen`: the file for those who give names and numbers.
    """

    source: MembershipSource
    sinks: Sequence[AccountSink]
    table: Table
    tombstones: Tombstones
    guard: Guard
    faults: Path
    record: Record | None = None
    first_uid: int = FIRST_UID
    seen: Path | None = None
    going: set[str] = field(default_factory=set)  # who was missing at the last reading, for the first time
    again: bool = False  # whether somebody could not be told, and may be at the next look
    learnt: set[str] = field(default_factory=set)  # the names of sinks that were looked at
    groups: dict[str, int] = field(default_factory=dict)  # what they hold

    def sync(self) -> list[str]:
        """One pass: compare and mend, sink by sink. Returns a line for each change.

        Raises FarmletError when the members are not known, and, after all sinks had their turn, when one could do nothing.
        """
        look = self.read()
        reading, held = look.reading, look.held
        accounts = self.tombstones.complete(reading.accounts, held)
        self.remember(accounts)
        changes, faults, failed = list[str](), list(map(str, reading.faults)), list[FarmletError]()
        for sink in self.sinks:
            try:
                outcome = sink.sync(accounts, held)
            except (FarmletError, OSError) as error:
                failed.append(error if isinstance(error, FarmletError) else FarmletError(sink.name, str(error)))
                held |= {account.name for account in accounts}
                continue
            held |= outcome.held
            faults += map(str, outcome.faults)
            changes += [f"{sink.name}: {line}" for line in outcome.changes]
            for line in outcome.changes:
                log.info("%s: %s", sink.name, line)
        self.tell([*map(str, failed), *faults])
        if self.record:
            self.record.keep(look.members, look.held)
        if failed:
            raise failed[0]
        return changes

    def read(self, keep: bool = True) -> Look:
        """What the source says, as far as it is to be believed. Raises FarmletError or OSError."""
        found = self.source.read()
        self.learn()
        clashes = self.tombstones.find_clashes(found.members)
        rest = [member for member in found.members if member.sub not in clashes]
        reading = state.read(rest, self.table, self.first_uid)
        faults = [*clashes.values(), *reading.faults]
        for one in found.unread:
            name = self.tombstones.find(one.sub)
            faults.append(state.Fault(f"member {one.who or one.sub}", one.what, frozenset({name} if name else ())))
        held = frozenset().union(*(fault.names for fault in faults))
        missing = self.tombstones.find_missing(reading.accounts, found.ended or frozenset()) - held
        others = any(account.state != "removed" for account in reading.accounts)
        if asked := self.guard.hold(missing, found.ended is not None, others, keep):
            faults.insert(0, state.Fault("membership", tell(asked), asked))
        doubted = self.doubt(missing - asked, keep)
        held |= asked | doubted
        self.again = bool(found.unread or asked or doubted)
        accounts = tuple(account for account in reading.accounts if account.name not in held & missing)
        return Look(found.members, state.Reading(accounts, tuple(faults)), held)

    def doubt(self, names: Set[str], keep: bool) -> frozenset[str]:
        """Who of those about to be removed stay for now: whom the source does know when it is asked for them alone, and who were
        there at the last reading. Jobs and credentials do not come back, so those wait for the next, unless an admin let them go.

        Raises FarmletError.
        """
        bearers, gone = self.tombstones.list_members(), set[str]()
        for name in names:
            try:
                if self.source.has(bearers[name].sub):
                    log.warning("member %s was missing in a list, and is there", name)
                else:
                    gone.add(name)
            except FarmletError as error:
                log.warning("member %s: %s", name, error)
        sure = gone & (self.going | self.guard.list_released()) if keep else gone
        if keep:
            self.going = gone - sure
        return frozenset(names - sure)

    def learn(self) -> None:
        """Once, what the sinks hold: it counts as much as what this daemon remembers. Raises FarmletError."""
        for sink in [sink for sink in self.sinks if sink.name not in self.learnt]:
            try:
                found = sink.look()
            except (FarmletError, OSError) as error:  # it has its turn later, and is told then
                log.warning("%s: %s", sink.name, error)
                continue
            self.tombstones.learn(found.accounts)
            self.groups = dict(found.groups) | self.groups
            self.learnt.add(sink.name)

    def remember(self, accounts: Sequence[state.Account]) -> None:
        """For those who give names and numbers: all that ever were. Raises FarmletError or OSError."""
        if self.seen is None:
            return
        before = Seen.load(self.seen)
        groups = {name: gid for account in accounts for name, gid in account.groups.items()} | self.groups | dict(before.groups)
        now = Seen(self.tombstones.list_members(), groups)
        if now != before:
            now.save(self.seen)

    def plan(self) -> Iterator[str]:
        """What a pass would do, line by line. Raises FarmletError or OSError."""
        self.source.wait(-1)  # what its feed tells of ends
        look = self.read(keep=False)
        reading, held = look.reading, look.held
        yield from (f"fault: {fault}" for fault in reading.faults)
        accounts = self.tombstones.complete(reading.accounts, held, keep=False)
        for sink in self.sinks:
            outcome = sink.plan(accounts, held)
            held |= outcome.held
            yield from (f"{sink.name}: {line}" for line in outcome.changes)
            yield from (f"{sink.name}: fault: {fault}" for fault in outcome.faults)

    def tell(self, faults: Sequence[str]) -> None:
        """Leave word of what cannot be done, for the check; in the log once."""
        try:
            before = json.loads(self.faults.read_text())
        except (OSError, ValueError):
            before = None
        if before != list(faults):
            for fault in [fault for fault in faults if fault not in (before or ())][:LOGGED]:
                log.warning("%s", fault)
            write(self.faults, json.dumps(list(faults), indent=1).encode(), 0o600)
        os.utime(self.faults)  # needs no space: a full disk shows as passes that do not end

    def run(self) -> None:
        """For ever."""
        cursor, due, delay = -1, 0.0, 0.0
        while True:
            try:
                # the mark is read before the members: a change in between is seen twice rather than never
                found = self.source.wait(cursor)
                if found != cursor or time.monotonic() > due:
                    self.sync()
                    cursor, due = found, time.monotonic() + (0 if self.again else RESYNC_SECONDS)
                if delay:
                    log.info("works again")
                delay = 0.0
            except Exception as error:  # whatever it is: a daemon that ended keeps nobody's account
                if not delay:
                    log.warning("%s", error if isinstance(error, FarmletError | OSError) else repr(error))
                delay = min(max(2 * delay, 0.5), BACKOFF)
                time.sleep(delay)


def load(path: Path, scratch: Path | None = None) -> Daemon:
    """The daemon of a JSON file {"base", "homes", "shell", "rights", "outbox", "tombstones", "faults", "seen", "source",
    "first_uid"}. Raises FarmletError.

    Of an existing directory there are also "server" (see connection.Server), "people", "groups" and "mark", and "base" is "".

    "source" is {"issuer", "client"}, and for an INDIGO IAM also {"folder", "prefix", "poll", "first_gid", "told", "secret"}: the
    file with the client's secret, which an admin puts there. With our own issuer it is a systemd credential; on a node that was
    started wrongly there is none, and nothing works.

    `scratch`: a folder for what a dry run allocates, with an INDIGO IAM; never given to anybody.
    """
    from farmlet.parts.accounts.sink.connection import Server  # python-ldap is only where a directory is
    from farmlet.parts.accounts.sink.directory import Directory

    config = json.loads(path.read_text())
    source, table = config["source"], Table.from_json(config["rights"])
    external = "folder" in source
    secret = Path(source["secret"] if external else f"{os.environ.get('CREDENTIALS_DIRECTORY', '/nonexistent')}/{CREDENTIAL}")
    if not external and not secret.is_file():
        raise FarmletError(str(secret), "the client's secret is missing", "see LoadCredential= of the unit")
    reader = Reader(source["issuer"], source["client"], secret)
    layout = _place(config)
    return Daemon(
        source=_indigo(config, reader, table, scratch) if external else Builtin(reader),
        sinks=(Directory(Server(**config.get("server", {})), layout), Nodes(Path(config["outbox"]), layout)),
        table=table,
        tombstones=Tombstones(Path(config["tombstones"])),
        guard=Guard(Path(config["tombstones"]).parent),
        faults=Path(config["faults"]),
        record=Record(Path(source["folder"]), source["issuer"]) if external else None,
        first_uid=config["first_uid"],
        seen=Path(config["seen"]),
    )


def _place(config: Mapping[str, Any]) -> state.Layout:
    subtrees = (normalise(config["people"]), normalise(config["groups"])) if "people" in config else None
    return state.Layout(
        config["base"], config["homes"], config["shell"], config.get("mark", state.MARK), subtrees, config["source"]["issuer"]
    )


def _indigo(config: Mapping[str, Any], reader: Reader, table: Table, scratch: Path | None) -> Indigo:
    source = config["source"]
    ledger = Ledger(
        Path(source["folder"]) / "ledger.sqlite3", config["first_uid"], source["first_gid"], Seen.load(Path(config["seen"]))
    )
    if scratch:
        ledger = ledger.copy(scratch / "ledger.sqlite3")
    logins = Logins(Path(source["told"]))
    return Indigo(reader, ledger, tuple(table.groups), source["prefix"], source["poll"], logins)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Keep the accounts equal to the membership.")
    parser.add_argument("--config", type=Path, default=Path(CONFIG))
    parser.add_argument("--dry-run", action="store_true", help="print what would change, and change nothing")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        if options.dry_run:
            with tempfile.TemporaryDirectory() as scratch:
                for line in load(options.config, Path(scratch)).plan():
                    print(line)
            return 0
        load(options.config).run()
    except (FarmletError, OSError) as error:
        log.error("%s", error)
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
