"""Stored credentials at the end of memberships: what the agent of an access point does with the item `accounts`. Root."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from farmlet.errors import FarmletError
from farmlet.runtime.rows import read

log = logging.getLogger("farmlet.agent")


def apply(data: bytes, folder: str, places: str) -> None:
    """Take away the credentials in `folder`, and the tokens of sessions in `places`, of members who are not active.

    Raises FarmletError if some stay.

    The issuer has ended their connections already: what is taken away here would get no token any more. Who comes back
    stores a new one with the next submission.
    """
    left = []
    for account in read(data):
        name = str(account["name"])
        # the credential first: the monitor makes tokens of what is there
        for place in (Path(folder) / name, Path(places) / name) if account["state"] != "active" else ():
            if place.is_symlink() or not place.is_dir():
                continue
            shutil.rmtree(place, ignore_errors=True)
            if place.exists():
                left.append(str(place))
            else:
                log.info("took %s away", place)
    if left:
        raise FarmletError(folder, f"cannot be removed: {', '.join(left)}")
