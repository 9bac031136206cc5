"""Homes of the members on a log-in node: what the agent does with the item `accounts`. Runs as root, standard library only."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from farmlet.errors import FarmletError

# stricter than a regular expression of names needs to be: what is matched becomes a path that root writes to
NAME = re.compile(r"[a-z][a-z0-9_-]{0,30}")


def apply(data: bytes, homes: str, skeleton: str = "/etc/skel", first_uid: int = 1000, flush: bool = True) -> None:
    """Make the missing homes (0700) of active members who may log in, and let sssd forget what it remembers.

    `data` is the JSON list that the accounts daemon writes. A home that is there is never changed, whatever its state:
    files are kept when a membership ends. All members are gone through; then FarmletError tells what went wrong.
    """
    if flush and shutil.which("sss_cache"):
        # an empty cache is no error to anybody but sss_cache
        subprocess.run(["sss_cache", "-E"], capture_output=True, timeout=20, check=False)
    faults = []
    for account in json.loads(data):
        if account["state"] == "active" and account["login"]:
            try:
                ensure(account, Path(homes), Path(skeleton), first_uid)
            except (FarmletError, OSError) as error:
                faults.append(str(error))
    if faults:
        raise FarmletError(homes, "; ".join(faults))


def ensure(account: Mapping[str, Any], homes: Path, skeleton: Path, first_uid: int) -> bool:
    """Make one home; returns whether it was made. It appears whole and owned, or not at all."""
    name, uid, gid = str(account["name"]), int(account["uid"]), int(account["gid"])
    if not NAME.fullmatch(name) or uid < first_uid or gid < first_uid:
        raise FarmletError(f"member {name!r}", f"uid {uid}, gid {gid}: this is no member's account")
    home = homes / name
    if home.is_symlink() or home.exists():
        owner = home.lstat().st_uid
        if owner != uid:
            raise FarmletError(str(home), f"belongs to uid {owner}, not to {name} ({uid})", "move it away by hand")
        return False
    homes.mkdir(parents=True, exist_ok=True)
    room = Path(tempfile.mkdtemp(prefix=".new-", dir=homes))
    try:
        if skeleton.is_dir():
            shutil.copytree(skeleton, room, symlinks=True, dirs_exist_ok=True)
        for path in _all(room):
            os.chown(path, uid, gid, follow_symlinks=False)
        room.chmod(0o700)
        room.rename(home)
    except BaseException:
        shutil.rmtree(room, ignore_errors=True)
        raise
    return True


def _all(room: Path) -> Iterator[Path]:
    yield room
    yield from room.rglob("*")
