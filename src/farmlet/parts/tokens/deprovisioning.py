"""Deprovisioning of stored credentials: what the agent of an access point does with the item `accounts`. Root."""

from __future__ import annotations

import logging
import os
import shutil
import time
from pathlib import Path

from farmlet.errors import FarmletError
from farmlet.facility.places import CREDENTIAL
from farmlet.parts.tokens import notes
from farmlet.runtime.rows import FIRST_UID, read_members

log = logging.getLogger("farmlet.agent")


def apply(data: bytes, folder: str, places: list[str], first_uid: int = FIRST_UID) -> None:
    """Take away the credentials in `folder`, and the tokens of sessions in `places`, of members who are not active.

    Raises FarmletError if some stay.

    The issuer has ended their connections already: what is taken away here would get no token any more. Who comes back
    stores a new one with the next submission, and finds word of it (`notes`) until then.
    """
    if isinstance(places, str):
        raise TypeError("places is a list: of a text each letter would be one, `/` too, and root removes what is there")
    left = []
    for account in read_members(data, first_uid):
        name = str(account["name"])
        # the credential first: the monitor makes tokens of what is there
        for place in (Path(path) / name for path in (folder, *places)) if account["state"] != "active" else ():
            if place.is_symlink() or not place.is_dir() or (account["state"] != "removed" and is_told(place)):
                continue
            traces = (place / f"{CREDENTIAL}.top", place / f"{CREDENTIAL}{notes.REFUSED}")
            stored = account["state"] != "removed" and any(path.exists() for path in traces)
            info = place.stat()
            shutil.rmtree(place, ignore_errors=True)
            if place.exists():
                left.append(str(place))
                continue
            log.info("took %s away", place)
            if stored:
                tell(place, info)
    if left:
        raise FarmletError(folder, f"cannot be removed: {', '.join(left)}")


def is_told(place: Path) -> bool:
    """Whether all that is left of a member is word of what there was."""
    return {path.name for path in place.iterdir()} == {f"{CREDENTIAL}{notes.REFUSED}"}


def tell(place: Path, before: os.stat_result) -> None:
    """Leave word in a folder as it was `before`, for a member who may come back."""
    place.mkdir(mode=before.st_mode & 0o7777)
    os.chown(place, before.st_uid, before.st_gid)
    place.chmod(before.st_mode & 0o7777)
    reason = f"it was taken away on {time.strftime('%F', time.gmtime())}, when you were no active member"
    notes.refuse(place / f"{CREDENTIAL}.top", reason, (before.st_uid, before.st_gid))
