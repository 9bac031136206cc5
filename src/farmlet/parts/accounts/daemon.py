"""Keeps the accounts equal to the membership: identity → directory → nodes. Runs on the control node.

    python -m farmlet.parts.accounts.daemon [--config FILE]

It waits at identity's feed of changes, and looks at everything anew on each change and every five minutes. Each pass
compares and mends, so nothing depends on having seen every change. The directory is brought in order first, then the
nodes are told (`outbox/all/accounts`), so that they never see a member whom the directory does not know.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from farmlet.errors import FarmletError
from farmlet.facility.rights import Table
from farmlet.parts.accounts import state
from farmlet.parts.accounts.directory import Directory
from farmlet.runtime import oauth
from farmlet.runtime.files import write

CONFIG = "/etc/farmlet/accounts.json"
CREDENTIAL = "accounts-secret"
CLIENT, SCOPE = "accounts", "scim:read"
WAIT_SECONDS = 50
RESYNC_SECONDS = 300
BACKOFF = 5.0
PAGE = 100
log = logging.getLogger("farmlet.accounts")


class Identity:
    """Identity's members, read with the daemon's own token (client credentials), which is renewed as it ages."""

    def __init__(self, issuer: str, secret: Path) -> None:
        self._issuer, self._secret = issuer, secret
        self._token, self._until = "", 0.0

    def users(self) -> list[dict[str, Any]]:
        """All members, page by page (RFC 7644 §3.4.2.4)."""
        found: list[dict[str, Any]] = []
        while True:
            page = self._get("/scim/v2/Users", startIndex=len(found) + 1, count=PAGE)
            found += page["Resources"]
            if not page["Resources"] or len(found) >= int(page["totalResults"]):
                return found

    def cursor(self, known: int, wait: int) -> int:
        """The feed's cursor, as soon as it is another than `known`, or after `wait` seconds."""
        return int(self._get("/scim/v2/changes", timeout=wait + 10, cursor=known, wait=wait)["cursor"])

    def _get(self, path: str, timeout: float = 15, **query: int) -> dict[str, Any]:
        url = f"{self._issuer}{path}?{urllib.parse.urlencode(query)}"
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {self._current()}"})
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                loaded: dict[str, Any] = json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code == 401:
                self._token = ""  # perhaps the signing key was rotated: the next try asks for a new one
            raise FarmletError(url, f"answers {error.code}") from error
        except (OSError, ValueError) as error:
            raise FarmletError(url, f"{getattr(error, 'reason', error)}") from error
        return loaded

    def _current(self) -> str:
        if not self._token or time.monotonic() > self._until:
            tokens = oauth.obtain(self._issuer, CLIENT, self._secret.read_text().strip(), SCOPE)
            self._token, self._until = tokens.access_token, time.monotonic() + tokens.expires_in / 2
        return self._token


@dataclass
class Daemon:
    """`outbox` is the hub's folder for all nodes."""

    identity: Identity
    directory: Directory
    table: Table
    layout: state.Layout
    outbox: Path

    def sync(self) -> list[state.Change]:
        """One pass: compare and mend. Returns what was changed in the directory. Raises FarmletError."""
        accounts = state.read(self.identity.users(), self.table)
        changes = state.diff(self.directory.load(), state.entries(accounts, self.layout))
        self.directory.apply(changes)
        for change in changes:
            log.info("%s %s %s", change.kind, change.dn, " ".join(change.attributes))
        told, target = state.listing(accounts, self.layout), self.outbox / "accounts"
        if not target.exists() or target.read_bytes() != told:
            write(target, told, 0o640)
        return changes

    def run(self) -> None:
        """For ever."""
        cursor, due, delay = -1, 0.0, 0.0
        while True:
            try:
                # the cursor is read before the members: a change in between is seen twice rather than never
                found = self.identity.cursor(max(cursor, 0), 0 if cursor < 0 else WAIT_SECONDS)
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
    """The daemon of a JSON file {"issuer", "base", "homes", "shell", "rights", "outbox"}. Raises FarmletError.

    The client's secret is a systemd credential; on a node that was started wrongly there is none, and nothing works.
    """
    config = json.loads(path.read_text())
    secret = Path(os.environ.get("CREDENTIALS_DIRECTORY", "/nonexistent")) / CREDENTIAL
    if not secret.is_file():
        raise FarmletError(str(secret), "the client's secret is missing", "see LoadCredential= of the unit")
    return Daemon(
        identity=Identity(config["issuer"], secret),
        directory=Directory(config["base"]),
        table=Table.from_json(config["rights"]),
        layout=state.Layout(config["base"], config["homes"], config["shell"]),
        outbox=Path(config["outbox"]),
    )


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
