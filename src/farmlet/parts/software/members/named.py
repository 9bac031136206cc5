"""An image by the name that it has on the page which starts servers, for a submit file:

    include : farmlet-image --use inez/fit |

NAME is a published image, OWNER/NAME or one's own NAME, or REGISTRY/REPOSITORY:TAG of the wish list. Standard library only.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import stat
from dataclasses import replace
from pathlib import Path

from farmlet.errors import InputError
from farmlet.facility.places import IMAGES, OWN_IMAGES, PUBLISHERS
from farmlet.parts import images
from farmlet.parts.own import list_visible, may_publish, recall, tell

# what others tell comes into one's own submit file
PATH = re.compile(r"/[A-Za-z0-9_.:@+~/-]+")


def find(name: str, published: Path = Path(IMAGES), told: Path = Path(OWN_IMAGES)) -> str:
    """The path of the image for `container_image`. Raises InputError."""
    found = {row.name: row.path for place in (published, *published.parent.glob(f"{published.name}.*")) for row in _list(place)}
    with contextlib.suppress(OSError):
        recall(told)
    for owner, record in list_visible(told):
        if record.path.endswith(".sif"):
            found[f"{owner}/{record.name}"] = record.path
            if Path(record.path).stat().st_uid == os.geteuid():
                found.setdefault(record.name, record.path)
    if not PATH.fullmatch(found.get(name, "")):
        there = ", ".join(sorted(one for one, path in found.items() if PATH.fullmatch(path))[:20])
        raise InputError("farmlet-image", f"there is no image {name[:120]!r} for you", f"there are: {there or 'none'}")
    return found[name]


def publish(name: str, public: bool, told: Path = Path(OWN_IMAGES), publishers: Path = Path(PUBLISHERS)) -> str:
    """Show an image of one's own to all members, or take it back; its path. Raises InputError."""
    me = pwd.getpwuid(os.geteuid())
    record = {one.name: one for owner, one in list_visible(told, publishers) if owner == me.pw_name}.get(name)
    if record is None:
        raise InputError("farmlet-image", f"you have no image {name[:60]!r}", "make it first: farmlet-image FOLDER")
    if public and not may_publish(me, publishers):
        raise InputError(
            "farmlet-image", "you may not show images to all members", "your admins give the right `publish` to a group"
        )
    if public and (shut := [str(one) for one in Path(record.path).parents if not one.stat().st_mode & stat.S_IXOTH]):
        raise InputError("farmlet-image", f"nobody else gets past {', '.join(shut)}", f"chmod o+x {' '.join(shut)}")
    tell(replace(record, public=public), told)
    return record.path


def _list(place: Path) -> list[images.Row]:
    return [row for row in images.load(place).values() if row.offered]
