"""Keeps the accounts equal to the membership: source → directory → nodes. Runs on the control node.

    python -m farmlet.parts.accounts.daemon [--config FILE]

It waits at the source of membership (our identity's feed of changes; an INDIGO IAM has none and is asked every minute),
and looks at everything anew on each change and every five minutes. Each pass compares and mends, so nothing depends on
having seen every change, and a pass that fails changes nothing. The directory is brought in order first, then the nodes
are told (`outbox/all/accounts`), so that they never see a member whom the directory does not know.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from farmlet.errors import FarmletError
from farmlet.facility.rights import Table
from farmlet.parts.accounts import state
from farmlet.parts.accounts.builtin import Builtin
from farmlet.parts.accounts.departed import Departed
from farmlet.parts.accounts.indigo import Indigo
from farmlet.parts.accounts.ledger import Ledger
from farmlet.parts.accounts.membership import MembershipSource
from farmlet.parts.accounts.record import Record
from farmlet.parts.accounts.scim import Reader
from farmlet.runtime.files import write

if TYPE_CHECKING:
    from farmlet.parts.accounts.directory import Directory

CONFIG = "/etc/farmlet/accounts.json"
CREDENTIAL = "accounts-secret"
RESYNC_SECONDS = 300
BACKOFF = 5.0
log = logging.getLogger("farmlet.accounts")


@dataclass
class Daemon:
    """`outbox` is the hub's folder for all nodes; `record` is kept of an issuer that is not ours."""

    source: MembershipSource
    directory: Directory
    table: Table
    layout: state.Layout
    outbox: Path
    departed: Departed
    record: Record | None = None

    def sync(self) -> list[state.Change]:
        """One pass: compare and mend. Returns what was changed in the directory. Raises FarmletError."""
        members = self.source.members()
        accounts = self.departed.complete(state.read(members, self.table))
        changes = state.diff(self.directory.load(), state.entries(accounts, self.layout))
        self.directory.apply(changes)
        for change in changes:
            log.info("%s %s %s", change.kind, change.dn, " ".join(change.attributes))
        told, target = state.listing(accounts, self.layout), self.outbox / "accounts"
        if not target.exists() or target.read_bytes() != told:
            write(target, told, 0o640)
        if self.record:
            self.record.keep(members)
        return changes

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


def load(path: Path) -> Daemon:
    """The daemon of a JSON file {"base", "homes", "shell", "rights", "outbox", "departed", "source"}. Raises FarmletError.

    "source" is {"issuer", "client"}, and for an INDIGO IAM also {"folder", "prefix", "first_uid", "first_gid", "secret"}: the
    file with the client's secret, which an admin puts there. With our own issuer it is a systemd credential; on a node that was
    started wrongly there is none, and nothing works.
    """
    from farmlet.parts.accounts.directory import Directory  # python-ldap is only where a directory is

    config = json.loads(path.read_text())
    source, table = config["source"], Table.from_json(config["rights"])
    external = "folder" in source
    secret = Path(source["secret"] if external else f"{os.environ.get('CREDENTIALS_DIRECTORY', '/nonexistent')}/{CREDENTIAL}")
    if not external and not secret.is_file():
        raise FarmletError(str(secret), "the client's secret is missing", "see LoadCredential= of the unit")
    reader = Reader(source["issuer"], source["client"], secret)
    return Daemon(
        source=_indigo(source, reader, table) if external else Builtin(reader),
        directory=Directory(config["base"]),
        table=table,
        layout=state.Layout(config["base"], config["homes"], config["shell"]),
        outbox=Path(config["outbox"]),
        departed=Departed(Path(config["departed"])),
        record=Record(Path(source["folder"]), source["issuer"]) if external else None,
    )


def _indigo(source: Mapping[str, Any], reader: Reader, table: Table) -> Indigo:
    ledger = Ledger(Path(source["folder"]) / "ledger.sqlite3", source["first_uid"], source["first_gid"])
    return Indigo(reader, ledger, tuple(table.groups), source["prefix"])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Keep the accounts equal to the membership.")
    parser.add_argument("--config", type=Path, default=Path(CONFIG))
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        load(options.config).run()
    except FarmletError as error:
        log.error("%s", error)
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
