"""How much may lie below a path of an element: what its node's agent does with the item `accounts`. Root, standard library only.

XRootD has no quotas for plain folders, so the file system has to: on btrfs each path with a limit is a subvolume. The server
may write in it, but neither remove nor replace it, or a path that was removed and made anew would have no limit any more:
the folder is root's, in a folder of root's with the sticky bit.
"""

from __future__ import annotations

import grp
import json
import os
import re
import shutil
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from farmlet.errors import FarmletError
from farmlet.facility.names import MEMBER, unix_group
from farmlet.facility.paths import normalise
from farmlet.facility.rights import USER, Table
from farmlet.runtime.checks import Failed
from farmlet.runtime.disk.btrfs import ROOT
from farmlet.runtime.disk.filesystem import open_quotas
from farmlet.runtime.disk.project import choose_project, find_project
from farmlet.runtime.disk.quotas import Plain
from farmlet.runtime.files import write
from farmlet.runtime.rows import read

NEARLY = 0.9  # of a limit, from which on the check names a path


def list_limits(sizes: Mapping[str, int], table: Table) -> list[dict[str, Any]]:
    """[{"path", "size", "groups"}]: the last, for a path with `{user}`, the UNIX groups whose members write there.

    Patterns come first, so that what is said of one path stands above what is said of many.
    """
    rows = []
    for path, size in sorted(sizes.items(), key=lambda item: USER not in item[0]):
        writers = [group for group, rights in table.groups.items() if path in map(normalise, rights.write)]
        rows.append({"path": path, "size": size, "groups": [unix_group(group) for group in writers] if USER in path else []})
    return rows


def apply(data: bytes, root: str, limits: Sequence[Mapping[str, Any]], known: str, server: str) -> None:
    """Keep what lies below each path to its size in bytes; lift the limits of paths that have none any more.

    `data` is the JSON list that the accounts daemon writes; `limits` as `list_limits` gives them; `known`: the file that
    remembers what is kept, for the check too; `server`: the account of XRootD. All paths are gone through; then
    FarmletError tells which are not kept to their sizes.
    """
    kept, faults = remember(known), dict[str, str]()
    wanted = expand(read(data), limits) if limits else {}
    ended = [path for path in kept if not is_meant(path, limits)]  # whoever left keeps the limit with the files
    for path, size in (dict.fromkeys(ended) | wanted).items():
        if size is not None and kept.get(path) == size and is_kept(Path(root) / path[1:]):
            continue  # there are thousands, and this is done for each change of a member
        try:
            fault = keep(Path(root), path, size, server)
        except (OSError, FarmletError) as error:
            fault = str(error)
        faults |= {path: fault} if fault else {}
    now = {path: size for path, size in (kept | wanted).items() if path not in faults and path not in ended}
    now |= dict.fromkeys(path for path in faults if path in kept)  # it may have the limit that it had: to be lifted in the end
    told = [f"{path}: {fault}" for path, fault in faults.items()]
    write(Path(known), json.dumps({"kept": now, "faults": told}, indent=1).encode(), 0o600)
    if told:
        raise FarmletError(root, "; ".join(told))


def is_kept(folder: Path) -> bool:
    """Whether the folder is one that was made here; by a look that costs next to nothing."""
    try:
        info = folder.lstat()
        return info.st_uid == 0 and (info.st_ino == ROOT or find_project(folder) == choose_project(folder))
    except OSError:  # not there, or on a file system without projects
        return False


def remember(known: str) -> dict[str, int | None]:
    """What was kept to which size when this was last done; None where it was to be changed or lifted and that failed."""
    try:
        return dict(json.loads(Path(known).read_text())["kept"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def expand(accounts: Iterable[Mapping[str, Any]], limits: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Path → size, with a path for each active member of the groups where there is a `{user}`."""
    found: dict[str, int] = {}
    active = [account for account in accounts if account["state"] == "active"]
    for row in limits:
        names = [one["name"] for one in active if {*row["groups"]} & {*one["groups"]}] if USER in row["path"] else [""]
        found |= {row["path"].replace(USER, name): row["size"] for name in names if not name or MEMBER.fullmatch(name)}
    return found


def is_meant(path: str, limits: Sequence[Mapping[str, Any]]) -> bool:
    """Whether one of the limits is about `path`, whoever it belongs to."""
    return any(re.fullmatch(re.escape(row["path"]).replace(re.escape(USER), "[^/]+"), path) for row in limits)


def keep(root: Path, path: str, size: int | None, server: str) -> str:
    """Keep one path to `size` bytes (None: no limit any more). Returns why that does not hold, or ""; raises OSError."""
    folder = root / path[1:]
    if size is None:
        if folder.is_dir() and not folder.is_symlink():
            open_quotas(folder).limit(folder, None)
        return ""
    make_parents(root, folder, server)
    quotas = open_quotas(folder.parent)
    if folder.is_symlink() or is_mounted(folder):
        return "is a file system of its own, or a link to elsewhere: a limit here would not hold"
    if folder.is_dir() and not quotas.limit(folder, size) and not any(folder.iterdir()):
        folder.rmdir()  # made by the server for an upload, or by hand
    if not folder.exists():
        quotas.create(folder)
    lend(folder, server)
    if quotas.limit(folder, size):
        return ""
    if type(quotas) is Plain:
        return "its file system knows no limits; btrfs does, and ext4 and XFS that are mounted with prjquota"
    return "is a plain folder with files in it: move them away, and back when the folder was made anew"


def make_parents(root: Path, folder: Path, server: str) -> None:
    """What is above a path: the server's, but for the folder that it stands in."""
    for above in reversed(folder.relative_to(root).parents[:-1]):
        if not (root / above).is_dir():
            (root / above).mkdir(mode=0o750)
            shutil.chown(root / above, server, server)
    lend(folder.parent, server)


def is_mounted(folder: Path) -> bool:
    """Whether something is mounted there; `Path.is_mount` takes subvolumes for that too."""
    return str(folder) in {line.split(" ")[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()}


def lend(folder: Path, server: str) -> None:
    """The server may write in it, and neither remove it nor what is root's in it."""
    wanted, info = (0, grp.getgrnam(server).gr_gid, 0o1770), folder.stat()
    if (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)) != wanted:  # a full btrfs refuses even what changes nothing
        os.chown(folder, *wanted[:2])
        folder.chmod(wanted[2])


def check_limits(root: str, known: str) -> str:
    """All limits of the facility file hold. Tells how many they are and which paths are nearly full."""
    try:
        found = json.loads(Path(known).read_text())
        kept, faults = {path: size for path, size in found["kept"].items() if size is not None}, found["faults"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Failed(f"nothing is known of limits yet: {error}") from error
    if faults:
        raise Failed("; ".join(faults))
    used = {path: amount for path, size in kept.items() if (amount := share(Path(root) / path[1:], size)) >= NEARLY}
    nearly = ", ".join(f"{path} {amount:.0%} full" for path, amount in sorted(used.items(), key=lambda item: -item[1]))
    return f"{len(kept)} paths are kept to their limits{': ' if nearly else ''}{nearly}"


def share(folder: Path, size: int) -> float:
    """How much of its limit a folder takes."""
    usage = open_quotas(folder).usage(folder) if folder.is_dir() else None
    return usage.used / size if usage else 0.0
