"""Tokens of log-in sessions: `NAME/token` below a folder on tmpfs, for members who are logged in or have a workflow, or
`NAME/notice`, why not.

The folder of a member is made when their first session or workflow begins and goes some seconds after the last one has ended
(`templates/session.sh`); those of notebooks come and go with these (`places.NOTEBOOKS`). The monitor keeps the token in it equal
to the one of their jobs.
"""

from __future__ import annotations

import logging
import os
import pwd
from pathlib import Path

from farmlet.facility.places import CREDENTIAL
from farmlet.parts.tokens import notes
from farmlet.runtime.files import write

NOTICE = "notice"  # beside the token
log = logging.getLogger("farmlet.credmon")


def refresh(places: Path, root: Path) -> None:
    """Bring the tokens of all who are logged in up to date; no member's token is there without a stored credential."""
    for place in places.glob("*/") if places.is_dir() else ():
        try:
            _refresh(place, root / place.name / f"{CREDENTIAL}.use")
            _tell(place, root / place.name / f"{CREDENTIAL}.top")
            # credd removes the credential some time after this mark, which schedd made after the last job: that time begins anew
            if (mark := root / f"{place.name}.mark").exists():
                os.utime(mark)
        except FileNotFoundError:
            continue  # the session has just ended
        except (OSError, KeyError) as error:
            log.warning("%s: %s", place, error)


def _tell(place: Path, top: Path) -> None:
    """What the member is to know at the next log-in or submission."""
    notice, words = place / NOTICE, notes.tell(top)
    if not words:
        notice.unlink(missing_ok=True)
    elif not notice.exists() or notice.read_text() != words:
        write(notice, words.encode(), 0o444)


def _refresh(place: Path, use: Path) -> None:
    token = place / "token"
    try:
        data = use.read_bytes()
    except FileNotFoundError:
        token.unlink(missing_ok=True)
        return
    if not token.exists() or token.read_bytes() != data:
        user = pwd.getpwnam(place.name)
        write(token, data, 0o400, (user.pw_uid, user.pw_gid))
