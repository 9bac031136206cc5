"""Homes and scratch of the members on a log-in node: what the agent does with the item `accounts`. Root, standard library only.

A home appears whole and owned, keeps to the size that the rights table gives, and is never changed otherwise. Whose home was
put into the archive (see `keeping`) has that again.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from farmlet.errors import FarmletError
from farmlet.facility.names import MEMBER
from farmlet.runtime.disk.filesystem import open_quotas
from farmlet.runtime.disk.quotas import Quotas
from farmlet.runtime.files import rename
from farmlet.runtime.rows import FIRST_UID, read

# stricter than a regular expression of names needs to be: what is matched becomes a path that root writes to
# beside the homes, root's alone; no member's name begins like that
ARCHIVE = ".archive"
NODES = ".nodes"  # a file for each node that has these homes
LEAST = 1 << 20  # bytes for who has a folder and no right to it any more: what is there can be read and removed


@dataclass(frozen=True)
class Place:
    """A folder of folders, one for each member, and what may be done there. `skeleton`: what a new one holds, if anything."""

    folder: Path
    quotas: Quotas
    first_uid: int
    first_gid: int
    skeleton: Path | None = None

    @property
    def archive(self) -> Path:
        return self.folder / ARCHIVE

    @property
    def draft(self) -> Path:
        """Where this node puts a folder together."""
        return self.folder / f".new-{os.uname().nodename}"


def apply(
    data: bytes,
    homes: str,
    scratch: str,
    node: str,
    skeleton: str = "/etc/skel",
    first_uid: int = FIRST_UID,
    first_gid: int = FIRST_UID,
    flush: bool = True,
    logins: bool = True,
) -> None:
    """Make the missing folders (0700) of active members who may log in, keep all to their sizes, and let sssd forget.

    `data` is the JSON list that the accounts daemon writes. Scratch is made for those who have a right to it. Files are kept
    when a membership ends. All members are gone through; then FarmletError tells what went wrong. Other nodes may do the
    same in the same folders at the same time; `node` is the name of this one, and `logins` whether members log in to it.
    """
    if flush:
        forget(data)
    places = {"home": open_place(homes, first_uid, first_gid, skeleton, logins)}
    if Path(scratch).is_dir() or any("scratch" in account.get("space", {}) for account in find_lodgers(data)):
        places["scratch"] = open_place(scratch, first_uid, first_gid, None, logins)
    faults = []
    for kind, place in places.items():
        faults += serve(find_lodgers(data), place, kind)
        mark(str(place.folder), node)
    faults += bind(find_lodgers(data), places)
    if faults:
        raise FarmletError(homes, "; ".join(faults))


def forget(data: bytes) -> None:
    """Let sssd forget what it knew: all there is to do where another node makes the homes."""
    if shutil.which("sss_cache"):
        # an empty cache is no error to anybody but sss_cache
        subprocess.run(["sss_cache", "-E"], capture_output=True, timeout=20, check=False)


def find_lodgers(data: bytes) -> Iterator[dict[str, Any]]:
    """The rows of those who have a home here."""
    return (account for account in read(data) if account["state"] == "active" and account["login"])


def open_place(folder: str, first_uid: int, first_gid: int, skeleton: str | None = None, logins: bool = True) -> Place:
    """The place at `folder`, which is made if it is not there. Which quotas it has, the file system says.

    `logins`: the members whose folders these are can reach the file system itself, by more than a protocol.
    """
    path = Path(folder)
    if not path.is_dir():
        path.mkdir(parents=True)
        path.chmod(0o755)
    return Place(path, open_quotas(path, logins), first_uid, first_gid, Path(skeleton) if skeleton else None)


def mark(folder: str, node: str) -> None:
    """Leave the name of this node, so that the others can tell that it has the same homes as they."""
    marks = Path(folder) / NODES
    marks.mkdir(mode=0o700, exist_ok=True)
    (marks / node).touch()


def serve(accounts: Iterable[Mapping[str, Any]], place: Place, kind: str) -> list[str]:
    """Make what is missing of one `kind` (home, scratch), and set the limits; returns what went wrong."""
    clear(place)  # what a killed agent left
    faults = []
    for account in accounts:
        size = account.get("space", {}).get(kind)  # a daemon of before says nothing of it
        try:
            if kind == "home" or size is not None:
                ensure(account, place, size)
            elif is_theirs(account, place):
                place.quotas.limit(place.folder / account["name"], LEAST)
        except (FarmletError, OSError) as error:
            faults.append(str(error))
    return faults


def bind(accounts: Iterable[Mapping[str, Any]], places: Mapping[str, Place]) -> list[str]:
    """Keep what each member owns on a file system to the sum of their folders' sizes there; returns what went wrong."""
    disks: dict[int, dict[str, Place]] = {}
    for kind, place in places.items():
        disks.setdefault(place.folder.stat().st_dev, {})[kind] = place
    faults = []
    for account in accounts:
        space, uid = account.get("space", {}), int(account["uid"])
        for disk in disks.values():
            place = next(iter(disk.values()))
            sizes = [space.get(kind, None if kind == "home" else LEAST) for kind in disk]
            try:
                if uid >= place.first_uid:
                    place.quotas.bind(place.folder, uid, None if None in sizes else sum(sizes))
            except OSError as error:
                faults.append(str(error))
    return faults


def ensure(account: Mapping[str, Any], place: Place, size: int | None) -> None:
    """Have one member's folder there, and kept to `size` bytes. Raises FarmletError or OSError."""
    if not is_theirs(account, place) and not restore(account, place):
        make(account, place, size)
    place.quotas.limit(place.folder / account["name"], size)


def is_theirs(account: Mapping[str, Any], place: Place) -> bool:
    """Whether the member's folder is there. Raises FarmletError if it is somebody else's, or the member is none."""
    name, uid, gid = str(account["name"]), int(account["uid"]), int(account["gid"])
    if not MEMBER.fullmatch(name) or uid < place.first_uid or gid < place.first_gid:
        raise FarmletError(f"member {name!r}", f"uid {uid}, gid {gid}: this is no member's account")
    return owns(uid, place.folder / name)


def owns(uid: int, path: Path) -> bool:
    """Whether `path` is there and belongs to `uid`. Raises FarmletError if it is there and does not."""
    try:
        owner = path.lstat().st_uid
    except FileNotFoundError:
        return False
    if owner != uid:
        raise FarmletError(str(path), f"belongs to uid {owner}, not to {uid}", "move it away by hand")
    return True


def restore(account: Mapping[str, Any], place: Place) -> bool:
    """Bring the home of somebody who is back out of the archive, if it is there."""
    kept = place.archive / account["name"]
    if not owns(int(account["uid"]), kept):
        return False
    place.quotas.move(kept, place.folder / account["name"])
    return True


def make(account: Mapping[str, Any], place: Place, size: int | None) -> None:
    """Make one folder; it appears whole, owned and limited, or not at all."""
    place.draft.mkdir(mode=0o700)
    path = place.draft / account["name"]
    try:
        place.quotas.create(path)
        place.quotas.limit(path, size)
        if place.skeleton and place.skeleton.is_dir():
            shutil.copytree(place.skeleton, path, symlinks=True, dirs_exist_ok=True)
        for entry in _all(path):
            os.chown(entry, int(account["uid"]), int(account["gid"]), follow_symlinks=False)
        path.chmod(0o700)
        settle(path, place.folder / account["name"], int(account["uid"]))
    finally:
        clear(place)


def settle(path: Path, target: Path, uid: int) -> None:
    """Put the folder where it belongs, unless another node was first with the same."""
    try:
        rename(path, target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or not owns(uid, target):
            raise


def clear(place: Place) -> None:
    """Remove what is not whole: of this node only, for another may be at work."""
    shutil.rmtree(place.draft, ignore_errors=True)


def _all(path: Path) -> Iterator[Path]:
    yield path
    yield from path.rglob("*")
