"""What becomes of homes as time goes by, and what is told of them: what a log-in node's agent does again and again.

Root, standard library only. Nothing is ever deleted: the home of a removed member goes, after a time of grace, to a folder
beside the homes that root alone can look into, by one rename. Scratch stays where it is.
"""

from __future__ import annotations

import logging
import os
import shutil
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from farmlet.errors import FarmletError
from farmlet.facility.names import MEMBER
from farmlet.facility.places import USAGE
from farmlet.facility.sizes import show
from farmlet.parts.accounts.homes.homes import ARCHIVE, Place, is_theirs, open_place, owns
from farmlet.runtime.disk.filesystem import open_quotas
from farmlet.runtime.disk.quotas import Quotas, Usage
from farmlet.runtime.files import write
from farmlet.runtime.rows import FIRST_UID, read

SHARED = "shared by all"  # said where there is no limit
HIDDEN = "cannot be looked at: something is mounted over it"
TELL_SECONDS = 5.0
PATIENCE = 100  # the usage is looked at for one part in so many of the time: seldom where there are thousands of members
log = logging.getLogger("farmlet.agent")

_due: dict[str, float] = {}  # when the usage in a file is to be looked at again, by time.monotonic


def apply(
    data: bytes,
    homes: str,
    scratch: str,
    days: int,
    first_uid: int = FIRST_UID,
    usage: str = USAGE,
    first_gid: int = FIRST_UID,
) -> None:
    """Archive the homes of members who were removed `days` ago or earlier; count what the others made, and write what they use.

    `data` is the JSON list that the accounts daemon writes. All members are gone through; then FarmletError tells what went
    wrong. Several nodes that share the homes may do this at once.
    """
    until = time.time() - days * 86400
    place = partial(open_place, homes, first_uid, first_gid)  # made only where there is something to put away
    due = (row for row in read(data) if row["state"] == "removed" and 0 < row.get("left", 0) <= until)
    faults = []
    for account in due if Path(homes).is_dir() else ():
        try:
            if archive(account, place()):
                log.info("the home of %s, who was removed, is in %s", account["name"], Path(homes) / ARCHIVE)
        except (FarmletError, OSError) as error:
            faults.append(str(error))
    faults += gather((homes, scratch))
    look(data, homes, scratch, usage)
    if faults:
        raise FarmletError(homes, "; ".join(faults))


def gather(folders: Iterable[str]) -> list[str]:
    """Have subvolumes that members made count for the folders they are in; returns what went wrong."""
    faults = []
    for folder in map(Path, folders):
        try:
            if folder.is_dir():
                open_quotas(folder).gather(folder)
        except OSError as error:
            faults.append(f"{folder}: {error}")
    return faults


def look(data: bytes, homes: str, scratch: str, usage: str = USAGE) -> None:
    """Write what members use, unless that was done a moment ago: for their log-in."""
    if (began := time.monotonic()) >= _due.get(usage, 0.0):
        tell(read(data), {"home": homes, "scratch": scratch}, Path(usage))
        _due[usage] = began + max(TELL_SECONDS, PATIENCE * (time.monotonic() - began))


def archive(account: Mapping[str, Any], place: Place) -> bool:
    """Put one home away; returns whether there was one. Raises FarmletError or OSError."""
    if not is_theirs(account, place):
        return False
    place.archive.mkdir(mode=0o700, exist_ok=True)
    if place.archive.is_symlink() or not owns(os.geteuid(), place.archive):
        raise FarmletError(str(place.archive), "is not a folder of root's", "move it away by hand")
    place.archive.chmod(0o700)
    try:
        place.quotas.move(place.folder / account["name"], place.archive / account["name"])
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
    place, disk = open_place(folder, 0, 0), shutil.disk_usage(folder)
    free = f"{show(disk.free)} free of {show(disk.total)}, {SHARED}"
    for name in members:
        if MEMBER.fullmatch(name) and (words := _measure(place.quotas, place.folder / name, free)):
            yield name, words


def _measure(quotas: Quotas, path: Path, free: str) -> str:
    """One folder in words, "" if it is not there."""
    try:
        if not stat.S_ISDIR(path.lstat().st_mode):
            return ""
        return describe(quotas.usage(path), free)
    except FileNotFoundError:
        return ""
    except OSError:  # a member may mount over their own home what root is not let into, or what has broken
        return HIDDEN


def describe(usage: Usage | None, free: str) -> str:
    """One folder in words. `free`: what is said of the whole file system, where there is no limit."""
    if usage is None:
        return free
    if usage.limit is None:
        return f"{show(usage.used)} used, {free}"
    percent = 100 * usage.used // usage.limit if usage.limit else 100
    warning = ": full" if percent >= 99 else ": almost full" if percent >= 90 else ""
    return f"{show(usage.used)} of {show(usage.limit)} used, {percent} %{warning}"
