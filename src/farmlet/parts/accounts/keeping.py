"""What becomes of homes as time goes by, and what is told of them: what a log-in node's agent does again and again.

Root, standard library only. Nothing is ever deleted: the home of a removed member goes, after a time of grace, to a folder
beside the homes that root alone can look into, by one rename. Scratch stays where it is.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from farmlet.errors import FarmletError
from farmlet.facility.sizes import show
from farmlet.parts.accounts.homes import ARCHIVE, NAME, is_theirs, open_place, owns
from farmlet.runtime.files import write
from farmlet.runtime.room import Room, Usage
from farmlet.runtime.rows import read

USAGE = "/run/farmlet-usage"
SHARED = "shared by all"  # said where there is no limit
TELL_SECONDS = 5.0
PATIENCE = 100  # the usage is looked at for one part in so many of the time: seldom where there are thousands of members
log = logging.getLogger("farmlet.agent")

_due: dict[str, float] = {}  # when the usage in a file is to be looked at again, by time.monotonic


def apply(data: bytes, homes: str, scratch: str, days: int, first_uid: int = 1000, usage: str = USAGE) -> None:
    """Archive the homes of members who were removed `days` ago or earlier, and write what the others use.

    `data` is the JSON list that the accounts daemon writes. All members are gone through; then FarmletError tells what went
    wrong. Several nodes that share the homes may do this at once.
    """
    until = time.time() - days * 86400
    due = (row for row in read(data) if row["state"] == "removed" and 0 < row.get("left", 0) <= until)
    faults = []
    for account in due if Path(homes).is_dir() else ():
        try:
            if archive(account, Path(homes), first_uid):
                log.info("the home of %s, who was removed, is in %s", account["name"], Path(homes) / ARCHIVE)
        except (FarmletError, OSError) as error:
            faults.append(str(error))
    look(data, homes, scratch, usage)
    if faults:
        raise FarmletError(homes, "; ".join(faults))


def look(data: bytes, homes: str, scratch: str, usage: str = USAGE) -> None:
    """Write what members use, unless that was done a moment ago: for their log-in."""
    if (began := time.monotonic()) >= _due.get(usage, 0.0):
        tell(read(data), {"home": homes, "scratch": scratch}, Path(usage))
        _due[usage] = began + max(TELL_SECONDS, PATIENCE * (time.monotonic() - began))


def archive(account: Mapping[str, Any], homes: Path, first_uid: int) -> bool:
    """Put one home away; returns whether there was one. Raises FarmletError or OSError."""
    place = open_place(str(homes), first_uid)
    if not is_theirs(account, place):
        return False
    place.archive.mkdir(mode=0o700, exist_ok=True)
    if place.archive.is_symlink() or not owns(os.geteuid(), place.archive):
        raise FarmletError(str(place.archive), "is not a folder of root's", "move it away by hand")
    place.archive.chmod(0o700)
    try:
        place.room.move(homes / account["name"], place.archive / account["name"])
    except FileNotFoundError:  # another node was first
        return False
    return True


def tell(accounts: Iterable[Mapping[str, Any]], places: Mapping[str, str], path: Path) -> None:
    """Write what the members who log in use: a line `NAME KIND WORDS` for each folder. No secret: everybody may read it."""
    members = [str(row["name"]) for row in accounts if row["state"] == "active" and row["login"]]
    lines = [
        f"{name} {kind} {words}\n"
        for kind, folder in places.items()
        if Path(folder).is_dir()
        for name, words in _look(members, folder)
    ]
    write(path, "".join(lines).encode(), 0o644)


def _look(members: Iterable[str], folder: str) -> Iterator[tuple[str, str]]:
    place, disk = open_place(folder, 0), shutil.disk_usage(folder)
    free = f"{show(disk.free)} free of {show(disk.total)}, {SHARED}"
    for name in members:
        path = place.folder / name
        if NAME.fullmatch(name) and path.is_dir():
            yield name, describe(_measure(place.room, path), free)


def _measure(room: Room, path: Path) -> Usage | None:
    try:
        return room.usage(path)
    except OSError:
        return None


def describe(usage: Usage | None, free: str) -> str:
    """One folder in words. `free`: what is said of the whole file system, where there is no limit."""
    if usage is None:
        return free
    if usage.limit is None:
        return f"{show(usage.used)} used, {free}"
    percent = 100 * usage.used // usage.limit if usage.limit else 100
    warning = ": full" if percent >= 99 else ": almost full" if percent >= 90 else ""
    return f"{show(usage.used)} of {show(usage.limit)} used, {percent} %{warning}"
