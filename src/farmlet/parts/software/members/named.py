"""An image by the name that it has on the page which starts servers, for a submit file:

    include : farmlet-image --use inez/fit |

NAME is a published image, OWNER/NAME or one's own NAME, or REGISTRY/REPOSITORY:TAG of the wish list. Standard library only.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

from farmlet.errors import InputError
from farmlet.facility.places import IMAGES, OWN_IMAGES
from farmlet.parts import images
from farmlet.parts.own import list_visible, recall

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


def _list(place: Path) -> list[images.Row]:
    return [row for row in images.load(place).values() if row.offered]
