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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from farmlet.errors import FarmletError
from farmlet.facility.rights import Table
from farmlet.parts.accounts import state
from farmlet.parts.accounts.builtin import Builtin
from farmlet.parts.accounts.departed import Departed
from farmlet.parts.accounts.difference import normalise
from farmlet.parts.accounts.indigo import Indigo
from farmlet.parts.accounts.ledger import Ledger
from farmlet.parts.accounts.membership import MembershipSource
from farmlet.parts.accounts.nodes import Nodes
from farmlet.parts.accounts.record import Record
from farmlet.parts.accounts.scim import Reader
from farmlet.parts.accounts.sink import AccountSink
from farmlet.runtime.files import write

CONFIG = "/etc/farmlet/accounts.json"
CREDENTIAL = "accounts-secret"
RESYNC_SECONDS = 300
BACKOFF = 5.0
LOGGED = 50  # faults of one pass, at most; the file has them all
log = logging.getLogger("farmlet.accounts")


@dataclass
class Daemon:
    """`sinks` in their order. `faults`: the file that tells the check what could not be done. `record` is kept of an issuer
    that is not ours.
    """

    source: MembershipSource
    sinks: Sequence[AccountSink]
    table: Table
    departed: Departed
    faults: Path
    record: Record | None = None

    def sync(self) -> list[str]:
        """One pass: compare and mend, sink by sink. Returns a line for each change.

        Raises FarmletError when the members are not known, and, after all sinks had their turn, when one could do nothing.
        """
        members = self.source.members()
        reading = state.read(members, self.table)
        held = frozenset().union(*(fault.names for fault in reading.faults))
        accounts = self.departed.complete(reading.accounts, held)
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
            self.record.keep(members)
        if failed:
            raise failed[0]
        return changes

    def plan(self) -> Iterator[str]:
        """What a pass would do, line by line. Raises FarmletError or OSError."""
        reading = state.read(self.source.members(), self.table)
        held = frozenset().union(*(fault.names for fault in reading.faults))
        yield from (f"fault: {fault}" for fault in reading.faults)
        accounts = self.departed.complete(reading.accounts, held, keep=False)
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
                    cursor, due = found, time.monotonic() + RESYNC_SECONDS
                if delay:
                    log.info("works again")
                delay = 0.0
            except (FarmletError, OSError, KeyError, TypeError, ValueError) as error:
                if not delay:
                    log.warning("%s", error)
                delay = min(max(2 * delay, 0.5), BACKOFF)
                time.sleep(delay)


def load(path: Path, scratch: Path | None = None) -> Daemon:
    """The daemon of a JSON file {"base", "homes", "shell", "rights", "outbox", "departed", "faults", "source"}. Raises
    FarmletError.

    Of an existing directory there are also "server" (see connection.Server), "people", "groups" and "mark", and "base" is "".

    "source" is {"issuer", "client"}, and for an INDIGO IAM also {"folder", "prefix", "first_uid", "first_gid", "secret"}: the
    file with the client's secret, which an admin puts there. With our own issuer it is a systemd credential; on a node that was
    started wrongly there is none, and nothing works.

    `scratch`: a folder for what a dry run allocates, with an INDIGO IAM; never given to anybody.
    """
    from farmlet.parts.accounts.connection import Server  # python-ldap is only where a directory is
    from farmlet.parts.accounts.directory import Directory

    config = json.loads(path.read_text())
    source, table = config["source"], Table.from_json(config["rights"])
    external = "folder" in source
    secret = Path(source["secret"] if external else f"{os.environ.get('CREDENTIALS_DIRECTORY', '/nonexistent')}/{CREDENTIAL}")
    if not external and not secret.is_file():
        raise FarmletError(str(secret), "the client's secret is missing", "see LoadCredential= of the unit")
    reader = Reader(source["issuer"], source["client"], secret)
    layout = _place(config)
    return Daemon(
        source=_indigo(source, reader, table, scratch) if external else Builtin(reader),
        sinks=(Directory(Server(**config.get("server", {})), layout), Nodes(Path(config["outbox"]), layout)),
        table=table,
        departed=Departed(Path(config["departed"])),
        faults=Path(config["faults"]),
        record=Record(Path(source["folder"]), source["issuer"]) if external else None,
    )


def _place(config: Mapping[str, Any]) -> state.Layout:
    subtrees = (normalise(config["people"]), normalise(config["groups"])) if "people" in config else None
    return state.Layout(
        config["base"], config["homes"], config["shell"], config.get("mark", state.MARK), subtrees, config["source"]["issuer"]
    )


def _indigo(source: Mapping[str, Any], reader: Reader, table: Table, scratch: Path | None) -> Indigo:
    ledger = Ledger(Path(source["folder"]) / "ledger.sqlite3", source["first_uid"], source["first_gid"])
    if scratch:
        ledger = ledger.copy(scratch / "ledger.sqlite3")
    return Indigo(reader, ledger, tuple(table.groups), source["prefix"])


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
