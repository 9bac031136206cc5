"""Who may have a notebook on this node, and how large: the agent writes it, the Hub reads it. Standard library only.

So a change of groups holds from the next start on, and the Hub asks nobody: while identity is silent the last word holds, for
as long as `silent_hours` of the section.
"""

from __future__ import annotations

import logging
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

from farmlet.errors import FarmletError
from farmlet.facility.places import NOTEBOOK, SERVER
from farmlet.runtime.files import write
from farmlet.runtime.rows import FIRST_UID, dump, read, read_members

SECONDS = 30
# where something of each server is, by spawner
SERVERS = {"docker": Path("/var/lib/docker/containers"), "systemd": Path("/run/systemd/transient")}
SETTLED = 10 * 10**9  # nanoseconds after which a container that is being made shows in Docker's list
NOT_HERE = "You may not have a notebook here: no group of yours gives you one, or your membership has ended."
log = logging.getLogger("farmlet.agent")


@dataclass(frozen=True)
class Member:
    """Who may have a notebook. `cores` and `memory` (bytes): the most of it, `servers`: how many at a time; 0: as usual.
    `administer`: sees everybody's servers, and may stop them."""

    sub: str
    name: str
    uid: int
    gid: int
    home: str
    cores: int = 0
    memory: int = 0
    servers: int = 0
    administer: bool = False


def apply(data: bytes, path: str, first_uid: int = FIRST_UID, spawner: str = "docker") -> None:
    """Write down who may have a notebook, and end the servers of everybody else. Root, as the agent's task for `accounts`."""
    members = [
        Member(
            **{key: row[key] for key in ("sub", "name", "uid", "gid", "home")},
            **row["notebooks"],
            administer=row.get("administer", False),
        )
        for row in read_members(data, first_uid)
        if row["state"] == "active" and row["login"] and row.get("notebooks")
    ]
    text = dump(asdict(member) for member in members)
    target = Path(path)
    if not target.exists() or target.read_bytes() != text:
        write(target, text, 0o600)
    end(frozenset(member.name for member in members), find_stamp(SERVERS[spawner]), spawner)


def find_stamp(folder: Path) -> int:
    """What stays as it is while no server comes or goes: so few seconds pass between two looks that asking Docker costs."""
    now = time.time_ns()
    try:
        changed = folder.stat().st_mtime_ns
    except OSError:
        return now
    return changed if now - changed > SETTLED else now


@lru_cache(maxsize=1)
def end(allowed: frozenset[str], stamp: int, spawner: str = "docker") -> None:
    """End the servers of whoever is not `allowed` a notebook. The Hub notices by itself."""
    servers, stop = (
        (_list_units(), ("systemctl", "stop")) if spawner == "systemd" else (_list_containers(), ("docker", "rm", "--force"))
    )
    for server, name in servers:
        if name not in allowed:
            _run(*stop, server)
            log.info("ended the notebook of %s", name)


def _list_containers() -> Iterator[tuple[str, str]]:
    """Id and whose."""
    rows = _run("docker", "ps", "--all", "--filter", f"label={NOTEBOOK}", "--format", f'{{{{.ID}}}} {{{{.Label "{NOTEBOOK}"}}}}')
    for row in rows.splitlines():
        container, _, name = row.partition(" ")
        yield container, name


def _list_units() -> Iterator[tuple[str, str]]:
    """Name and whose."""
    for row in _run("systemctl", "list-units", "--all", "--plain", "--no-legend", f"{SERVER}*.service").splitlines():
        unit = row.split()[0]
        yield unit, unit.removeprefix(SERVER).removesuffix(".service").partition(".")[0]


def _run(*words: str) -> str:
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FarmletError(words[0], str(error)) from error
    if done.returncode:
        raise FarmletError(" ".join(words[:2]), done.stderr.strip()[-300:])
    return done.stdout


class Roster:
    """The list as it is now. A file that is read again only when it changed. `heard`: the file with the moment at which the
    membership was read last (seconds since 1970); `clock`: the same of now."""

    def __init__(self, path: str, heard: str = "", clock: Callable[[], float] = time.time) -> None:
        self._path, self._heard, self._clock = Path(path), Path(heard), clock
        self._stamp = -1
        self._members: dict[str, Member] = {}

    def find(self, name: str) -> Member | None:
        """The member of this UNIX name, if they may have a notebook."""
        self._load()
        return self._members.get(name)

    def identify(self, sub: str) -> Member | None:
        """The member whom the issuer calls `sub`: only these may be somebody else's words."""
        self._load()
        return next((member for member in self._members.values() if member.sub == sub), None)

    def measure_silence(self) -> float:
        """Seconds since the membership was read, as far as this node was told: not at all, then since it got the list."""
        try:
            heard = float(self._heard.read_text())
        except (OSError, ValueError):
            heard = self._path.stat().st_mtime if self._path.exists() else 0.0
        return self._clock() - heard

    def _load(self) -> None:
        try:
            stamp = self._path.stat().st_mtime_ns
        except FileNotFoundError:
            return  # nobody was told yet
        if stamp != self._stamp:
            self._members = {row["name"]: Member(**row) for row in read(self._path.read_bytes())}
            self._stamp = stamp
