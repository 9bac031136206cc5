"""A small folder as one text of bytes, the same for the same content."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path


def bundle(place: Path) -> bytes:
    """A tar of what is below `place`, all of it root's. Raises OSError."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(place.rglob("*")):
            info = archive.gettarinfo(path, str(path.relative_to(place)))
            info.uid = info.gid = info.mtime = 0
            info.uname = info.gname = "root"
            with path.open("rb") if info.isreg() else io.BytesIO() as content:
                archive.addfile(info, content)
    return stream.getvalue()
