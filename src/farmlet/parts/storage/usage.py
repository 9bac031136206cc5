"""What lies on an element, by path and by group: counted by walking the tree, once a day. Standard library only.

    python -m farmlet.parts.storage.usage --root FOLDER --table FILE --out FILE

XRootD counts nothing itself in a plain folder. The table is JSON [{"path": "/users/{user}", "groups": ["lab"]}, …]: the paths
of the rights table that somebody may write, and the groups that may.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from farmlet.facility.names import MEMBER
from farmlet.facility.paths import normalise, within
from farmlet.facility.rights import USER, Table
from farmlet.runtime.checks import Failed
from farmlet.runtime.files import write

OLD = 2 * 86400.0  # seconds, after which a count is too old to be told
FULL = 0.95  # of the file system, after which the check complains
MOST = 5  # paths that the check names


@dataclass(frozen=True)
class Amount:
    """Sizes of files as their readers see them, in bytes, and how many they are."""

    bytes: int = 0
    files: int = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.bytes + other.bytes, self.files + other.files)


def list_paths(table: Table) -> list[dict[str, Any]]:
    """Every path that somebody may write, with the groups whose own line of the table says so; in the table's order."""
    found: dict[str, list[str]] = {}
    for group, rights in table.groups.items():
        for pattern in rights.write:
            if (path := normalise(pattern)) is not None:
                found.setdefault(path, []).append(group)
    return [{"path": path, "groups": groups} for path, groups in found.items()]


def walk(root: Path) -> Iterator[tuple[str, Amount]]:
    """Each folder below `root` as a path from it (`/users/ada`), with all that lies in and below it; the deepest first.

    Links count for nothing, wherever they lead.
    """
    below: dict[str, Amount] = {}
    for folder, names, files in os.walk(root, topdown=False):
        amount = Amount()
        for name in files:
            info = _look(f"{folder}/{name}")
            amount += Amount(info, 1) if info is not None else Amount()
        for name in names:
            amount += below.pop(f"{folder}/{name}", Amount())
        below[folder] = amount
        path = os.path.relpath(folder, root)
        yield "/" if path == "." else f"/{path}", amount


def _look(path: str) -> int | None:
    """The size of a file; None for what is none or went meanwhile."""
    try:
        info = os.lstat(path)
    except OSError:
        return None
    return info.st_size if (info.st_mode & 0o170000) == 0o100000 else None


def count(root: Path, table: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """{"at", "seconds", "size", "free", "bytes", "files", "paths": […], "groups": […]}; sizes in bytes, `at` since 1970."""
    began = time.monotonic()
    # where `{user}` stands, only what can be a member counts: whoever may write above makes folders of any name and number
    patterns = {row["path"]: re.compile(re.escape(row["path"]).replace(re.escape(USER), MEMBER.pattern)) for row in table}
    rows: list[dict[str, Any]] = []
    total = Amount()
    for path, amount in walk(root):
        total = amount  # the root comes last
        for row in table:
            if patterns[row["path"]].fullmatch(path):
                rows.append({"path": path, "pattern": row["path"], "groups": list(row["groups"]), **asdict(amount)})
    disk = shutil.disk_usage(root)
    return {
        "at": round(time.time()),
        "seconds": round(time.monotonic() - began, 1),
        "size": disk.total,
        "free": disk.free,
        **asdict(total),
        "paths": sorted(rows, key=lambda row: row["path"]),
        "groups": _sum(rows),
    }


def _sum(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What lies where a group may write, each file once though its paths may lie within each other."""
    found: dict[str, Amount] = {}
    for group in sorted({group for row in rows for group in row["groups"]}):
        own = [row for row in rows if group in row["groups"]]
        outer = [row for row in own if not any(row is not other and within(row["path"], other["path"]) for other in own)]
        found[group] = sum((Amount(row["bytes"], row["files"]) for row in outer), Amount())
    return [{"group": group, **asdict(amount)} for group, amount in found.items()]


def check_usage(path: str, root: str) -> str:
    """The disk of the folder `root` is not full, and what lies there was counted lately. `path`: of the count."""
    try:
        disk = shutil.disk_usage(root)  # now: it fills up within hours, and the count is last night's
    except OSError as error:
        raise Failed(f"nothing is known of the disk of {root}: {error}") from error
    share = 1 - disk.free / max(disk.total, 1)
    told = f"the disk is {share:.0%} full"
    try:
        found = json.loads(Path(path).read_text())
        age = time.time() - found["at"]
        most = sorted(found["paths"], key=lambda row: -row["bytes"])[:MOST]
        counted = "".join(f", {row['path']} {_show(row['bytes'])}" for row in most)
        told = f"{_show(found['bytes'])} in {found['files']} files; {told}{counted}"
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Failed(f"{told}; no count at {path}: {error}") from error
    if age > OLD:
        raise Failed(f"counted {age / 3600:.0f} h ago: {told}")
    if share > FULL:
        raise Failed(told)
    return told


def _show(size: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="farmlet-storage-usage", description="Count what lies on a storage element.")
    for name in ("--root", "--table", "--out"):
        parser.add_argument(name, type=Path, required=True)
    options = parser.parse_args(arguments)
    found = count(options.root, json.loads(options.table.read_text()))
    write(options.out, (json.dumps(found, indent=1) + "\n").encode(), 0o644)
    return 0


if __name__ == "__main__":
    sys.exit(main())
