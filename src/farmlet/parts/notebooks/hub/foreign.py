"""Images of registries, unpacked (`software.unpacked`), as the Hub has them. What is in one is anybody's: no link is followed."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jupyterhub import __version__ as HUB

from farmlet.parts import images
from farmlet.parts.images import Row

FLAT = re.compile(r"[0-9a-f]{64}")
PATH = re.compile(r"^export PATH=([A-Za-z0-9/_.:+-]{1,1000})$", re.MULTILINE)
MOST = 1 << 20  # bytes of a file


@dataclass(frozen=True)
class Foreign:
    """An image of a registry, by its name in the area; `root`: its file system; `why`: why not here, "" if it can."""

    label: str
    root: Path
    tested: float
    why: str = ""

    @property
    def tag(self) -> str:
        """Docker's image of it, as image.sh makes it."""
        return f"farmlet/unpacked:{self.root.name[:12]}"

    @property
    def path(self) -> str:
        """Where it looks for programs."""
        found = PATH.search(read_plain(self.root, ".singularity.d", "env", "10-docker2singularity.sh"))
        return found[1] if found else "/usr/local/bin:/usr/bin:/bin"


def list_foreign(area: str) -> Iterator[Foreign]:
    """What is shown in the area."""
    folder = Path(area)
    for row in images.load(folder).values() if area else ():
        root = (folder / row.name).resolve()  # links there are root's
        if row.offered and FLAT.fullmatch(root.name) and root.parent.parent == folder.resolve() / ".flat":
            yield Foreign(row.name, root, row.tested, judge(row))


def judge(row: Row) -> str:
    """Why no server of ours runs in an image."""
    if row.hub.partition(".")[0] == HUB.partition(".")[0]:
        return ""
    return f"it has {f'JupyterHub {row.hub}' if row.hub else 'no jupyterhub-singleuser'}, and the facility's is {HUB}"


def read_plain(root: Path, *names: str) -> str:
    """The text of a file below `root`, on whose way there is no link; "" if there is none."""
    handle = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for number, name in enumerate(names, 1):
            kind = os.O_DIRECTORY if number < len(names) else os.O_NONBLOCK
            above, handle = handle, os.open(name, os.O_RDONLY | os.O_NOFOLLOW | kind, dir_fd=handle)
            os.close(above)
        return os.read(handle, MOST).decode(errors="replace") if stat.S_ISREG(os.fstat(handle).st_mode) else ""
    except OSError:
        return ""
    finally:
        os.close(handle)
