"""What members tell of images of their own, for who offers these to them: a record each, in one folder where everybody may
write. Its owner is the file's; what it says counts only as far as the image bears it out. The folder is empty when the node has
booted, so members keep a copy of their own. Standard library only.
"""

from __future__ import annotations

import contextlib
import grp
import json
import os
import pwd
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from farmlet.facility.places import OWN_IMAGES, PUBLISHERS

MOST = 4096  # bytes of a record
KEPT = ".config/farmlet/images"  # below a member's home


@dataclass(frozen=True)
class Record:
    """One image: the file at `path`, of `size` bytes and last changed at `stamp` (nanoseconds), that begins with `base`, a folder
    of published images ("": a registry's). `made` (seconds since 1970): when, and then it had passed its test; `hub`: its version
    of JupyterHub; `public`: it is for all members, if the owner has that right."""

    name: str
    path: str
    size: int
    stamp: int
    base: str
    made: float
    hub: str
    public: bool = False


def tell(record: Record, folder: Path = Path(OWN_IMAGES)) -> None:
    """Leave a record, and a copy at home; where nobody asks for them, none. Raises OSError."""
    if folder.is_dir():
        kept = Path.home() / KEPT
        kept.mkdir(parents=True, exist_ok=True)
        for place in (folder, kept):
            _leave(record, place)


def recall(folder: Path = Path(OWN_IMAGES)) -> None:
    """Tell again what one has told before, if the node has forgotten it. Raises OSError."""
    known = find(folder)
    for (owner, name), record in find(Path.home() / KEPT).items():
        if owner == os.geteuid() and (owner, name) not in known:
            _leave(record, folder)


def _leave(record: Record, folder: Path) -> None:
    """Instead of an older one of this name."""
    older = [path for path, owner, told in _read(folder) if owner == os.geteuid() and told.name == record.name]
    # a name that nobody can take before; it is read once it is whole
    handle, _ = tempfile.mkstemp(dir=folder, prefix=f"{record.name}.", suffix=".json")
    with os.fdopen(handle, "w") as stream:
        json.dump(asdict(record), stream)
        stream.flush()
        os.fchmod(stream.fileno(), 0o644)
    for one in older:
        one.unlink(missing_ok=True)


def find(folder: Path = Path(OWN_IMAGES)) -> dict[tuple[int, str], Record]:
    """The newest record of each image, by owner (uid) and name."""
    found: dict[tuple[int, str], Record] = {}
    for _, owner, record in _read(folder):
        known = found.get((owner, record.name))
        if known is None or known.made < record.made:
            found[owner, record.name] = record
    return found


def bears_out(record: Record, owner: int, file: os.stat_result) -> bool:
    """Whether the file at its path is the one that was told of."""
    told = (owner, record.size, record.stamp)
    return stat.S_ISREG(file.st_mode) and (file.st_uid, file.st_size, file.st_mtime_ns) == told


def list_visible(folder: Path, publishers: Path = Path(PUBLISHERS)) -> Iterator[tuple[str, Record]]:
    """Whose image (UNIX name) and what it is: one's own, those that others let a group of one's own read, and those for all."""
    for (uid, _), record in find(folder).items():
        try:
            owner, file = pwd.getpwuid(uid), Path(record.path).lstat()
        except (KeyError, OSError, ValueError):
            continue  # they are gone, or it is, or one may not come there
        shared = file.st_mode & stat.S_IRGRP and file.st_gid in (os.getegid(), *os.getgroups())
        given = uid == os.geteuid() or shared or (record.public and may_publish(owner, publishers))
        if bears_out(record, uid, file) and given and os.access(record.path, os.R_OK):
            yield owner.pw_name, record


def may_publish(owner: pwd.struct_passwd, publishers: Path = Path(PUBLISHERS)) -> bool:
    """Whether the facility lets them show images of their own to all members."""
    try:
        wanted = json.loads(publishers.read_text())
    except (OSError, ValueError):
        return False
    for gid in os.getgrouplist(owner.pw_name, owner.pw_gid):
        with contextlib.suppress(KeyError):  # a number without a name
            if grp.getgrgid(gid).gr_name in wanted:
                return True
    return False


def _read(folder: Path) -> Iterator[tuple[Path, int, Record]]:
    for path in folder.glob("*.json"):
        try:
            # a link leads nowhere, and nobody waits at a pipe
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            continue
        try:
            file = os.fstat(handle)
            record = Record(**json.loads(os.read(handle, MOST)))  # of a folder there is nothing to read
        except (OSError, ValueError, TypeError, RecursionError):
            continue
        finally:
            os.close(handle)
        kinds = {
            "name": str,
            "path": str,
            "size": int,
            "stamp": int,
            "base": str,
            "made": int | float,
            "hub": str,
            "public": bool,
        }
        if stat.S_ISREG(file.st_mode) and all(isinstance(getattr(record, name), kind) for name, kind in kinds.items()):
            yield path, file.st_uid, record
