"""Files that are whole or not there, and that stay: written beside the target, synced, renamed over it, and the folder synced.

Without the last step a power failure takes the new name back, though the answer that told of it was given (rename(2), fsync(2)).
"""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path


def write(path: Path, data: bytes, mode: int = 0o644, owner: tuple[int, int] | None = None) -> None:
    """Write `data` to `path` atomically with `mode` and, if given, `owner` (uid, gid). It is on disk when this returns.

    A reader sees the old bytes or the new ones; a killed writer or a full disk (OSError) leaves the old file as it was.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fchmod(stream.fileno(), mode)
            if owner is not None:
                os.fchown(stream.fileno(), *owner)
            os.fsync(stream.fileno())
        rename(Path(name), path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def rename(path: Path, target: Path) -> None:
    """Rename a file, whose content is on disk, or a folder; the new name is on disk when this returns. Raises OSError."""
    path.rename(target)
    for folder in {target.parent, path.parent}:
        sync(folder)


def remove(path: Path) -> None:
    """Remove a file so that it does not come back by a power failure: a key, say. Raises OSError."""
    path.unlink()
    sync(path.parent)


def sync(path: Path) -> None:
    """Have a file's content, or a folder's names, on disk. Raises OSError."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some file systems of networks and FUSE cannot sync a folder
            raise
    finally:
        os.close(number)
