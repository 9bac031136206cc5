"""Whether who logs in at a node may still, asked of an external issuer in that moment. WSGI, for the nodes of the facility alone.

    POST /accounts/login   the UNIX name → 204: let them in; 200: do not, and a sentence for them

Who asks is told by the reverse proxy alone, as at the control API. It reads what the accounts daemon reads, as the same client,
and tells the daemon of all who log in, so that it ends what else they have here. An issuer that is away locks nobody out: what
was known last goes on, and for a while nobody waits for it again.
"""

from __future__ import annotations

import json
import logging
import threading
import time
import urllib.parse
from collections import deque
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from farmlet.errors import FarmletError
from farmlet.facility.rights import Table
from farmlet.parts.accounts.source.indigo import USERS, find_paths, judge
from farmlet.parts.accounts.source.scim import Missing, Reader
from farmlet.runtime import rows
from farmlet.runtime.files import write
from farmlet.runtime.wsgi import Environ, Refused, Start, identify, read_body

NAME_BYTES = 256
ANSWER_SECONDS = 3.0  # for the issuer; a node waits a little longer
REST_SECONDS = 30.0  # for which an issuer that did not answer is not asked
TOLD = 50  # log-ins that the daemon is told
log = logging.getLogger("farmlet.asking")


class Asking:
    """The WSGI application. `listing`: the accounts daemon's; `table`, `prefix`: of the facility's groups; `nodes`: their full
    names; `told`: where the daemon reads who logged in (see `source.logins`)."""

    def __init__(
        self,
        reader: Reader,
        listing: Path,
        table: Table,
        prefix: str,
        nodes: Collection[str],
        told: Path,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reader, self._listing, self._table, self._prefix = reader, listing, table, prefix
        self._nodes, self._told, self._clock = {name: name for name in nodes}, told, clock
        self._last, self._lock, self._rest = deque[str](maxlen=TOLD), threading.Lock(), 0.0

    def __call__(self, environ: Environ, start: Start) -> Iterable[bytes]:
        try:
            fault = self._answer(environ)
        except Refused as refused:
            return refused.answer(start)
        start("200 OK" if fault else "204 No Content", [("Content-Type", "text/plain; charset=utf-8")] if fault else [])
        return [fault.encode() + b"\n"] if fault else []

    def _answer(self, environ: Environ) -> str:
        node = identify(environ, self._nodes)
        if (environ["REQUEST_METHOD"], environ.get("PATH_INFO", "")) != ("POST", "/accounts/login"):
            raise Refused("404 Not Found", "no such page")
        name = read_body(environ, NAME_BYTES).decode(errors="replace")
        sub = self._find(name)
        if not sub:
            return ""  # whose account is not ours is others' business
        fault = self._ask(sub)
        if fault:
            log.info("%s is refused at %s: %s", name, node, fault)
        self._tell(name)
        return fault and f"You cannot log in: {self._reader.issuer} says that {fault}. Its administrators can tell you more."

    def _find(self, name: str) -> str:
        try:
            listed = rows.read(self._listing.read_bytes())
            return next((str(row["sub"]) for row in listed if row["name"] == name), "")
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("%s: %s", self._listing, error)
            return ""

    def _ask(self, sub: str) -> str:
        """Why a member may not log in; "" if they may, or if that cannot be told now."""
        if self._clock() < self._rest:
            return ""
        try:
            user = self._reader.get(f"{USERS}/{urllib.parse.quote(sub, safe='')}", ANSWER_SECONDS)
            paths = find_paths(user, tuple(self._table.groups), self._prefix)
            state, known = judge(user, paths), str(user["id"]) == sub
        except Missing:
            return "it does not know you any more"
        except FarmletError as error:
            log.warning("who logs in is not asked for now: %s", error)
            self._rest = self._clock() + REST_SECONDS
            return ""
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            return ""  # the daemon tells what cannot be read
        if not known or (state == "active" and self._table.common(paths).login):
            return ""
        if state == "expired":
            return "your membership has ended"
        return "you are in no group that logs in here" if user.get("active") is True else "you are suspended"

    def _tell(self, name: str) -> None:
        """Have the daemon look at who else they are here."""
        try:
            with self._lock:
                self._last.append(f"{time.time():.6f} {name}\n")
                write(self._told, "".join(self._last).encode(), 0o600)
        except OSError as error:
            log.warning("%s: %s", self._told, error)


def load(path: str) -> Asking:
    """What gunicorn calls: the application from the accounts daemon's JSON file, whose "source" has "nodes" and "told"."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    config = json.loads(Path(path).read_text())
    source = config["source"]
    reader = Reader(source["issuer"], source["client"], Path(source["secret"]))
    listing, table = Path(config["outbox"], "accounts"), Table.from_json(config["rights"])
    return Asking(reader, listing, table, source["prefix"], source["nodes"], Path(source["told"]))
