"""Names and what is kept of them: entries here, their bytes in files of a pool's folder, as dCache has them apart. §4."""

from __future__ import annotations

import base64
import hashlib
import posixpath
import shutil
import threading
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path


class Full(Exception):
    pass


class Overtaken(Exception):
    """A later upload of this name has taken its place."""


class Mismatch(Exception):
    pass


@dataclass(eq=False)
class Entry:
    """A name. `length`: None while nothing has come; `whole`: all of it has."""

    folder: bool = False
    data: Path | None = None
    length: int | None = None
    whole: bool = False
    sums: dict[str, str] = field(default_factory=dict)  # what `Digest` says, by algorithm in lower case


class Namespace:
    """`room`: bytes that the pool takes in all, or None."""

    def __init__(self, pool: Path, room: int | None = None) -> None:
        self.pool, self.room = pool, room
        self.entries: dict[str, Entry] = {"/": Entry(folder=True)}
        self.lock = threading.RLock()
        self._count = 0

    def find(self, path: str) -> Entry | None:
        return self.entries.get(posixpath.normpath(path))

    def has_parent(self, path: str) -> bool:
        parent = self.find(posixpath.dirname(path))
        return parent is not None and parent.folder

    def make_folder(self, path: str) -> None:
        """With all its parents."""
        with self.lock:
            while path not in self.entries:
                self.entries[path] = Entry(folder=True)
                path = posixpath.dirname(path)

    def list_folder(self, path: str) -> list[str]:
        top = path.rstrip("/") + "/"
        return sorted(
            one[len(top) :] for one in self.entries if one.startswith(top) and one != "/" and "/" not in one[len(top) :]
        )

    def begin(self, path: str) -> Entry:
        """A new entry without a length; an older file of that name is gone from now on."""
        with self.lock:
            self.make_folder(posixpath.dirname(path))
            self.remove(path)
            self._count += 1
            self.entries[path] = entry = Entry(data=self.pool / f"{self._count:06d}")
            return entry

    def store(self, path: str, entry: Entry, parts: Iterable[bytes], md5: str = "") -> None:
        """`md5`: as `Content-MD5` names it. Raises Full, Mismatch, Overtaken, or what `parts` raises: the entry stays then."""
        assert entry.data is not None
        total, checksum, hashed = 0, 1, hashlib.md5(usedforsecurity=False)
        try:
            with entry.data.open("wb") as file:
                for part in parts:
                    file.write(part)
                    total, checksum = total + len(part), zlib.adler32(part, checksum)
                    hashed.update(part)
                    self.reserve(total, besides=entry)
            entry.whole = True
        finally:
            entry.length, entry.sums = total, {"adler32": f"adler32={checksum:08x}"}
        told = base64.b64encode(hashed.digest()).decode()
        if md5 and md5 != told:
            self.discard(path, entry)
            raise Mismatch
        if self.entries.get(path) is not entry:
            entry.data.unlink(missing_ok=True)
            raise Overtaken
        if md5:
            entry.sums["md5"] = f"md5={told}"

    def reserve(self, size: int, besides: Entry | None = None) -> None:
        used = sum(one.length or 0 for one in list(self.entries.values()) if one is not besides)
        if self.room is not None and used + size > self.room:
            raise Full

    def discard(self, path: str, entry: Entry) -> None:
        with self.lock:
            if self.entries.get(path) is entry:
                self.remove(path)

    def remove(self, path: str) -> None:
        """A folder goes with all that is in it."""
        with self.lock:
            for one in [one for one in self.entries if one == path or one.startswith(path.rstrip("/") + "/")]:
                data = self.entries.pop(one).data
                if data:
                    data.unlink(missing_ok=True)

    def move(self, path: str, target: str) -> None:
        with self.lock:
            for one in [one for one in self.entries if one == path or one.startswith(path + "/")]:
                self.entries[target + one[len(path) :]] = self.entries.pop(one)

    def clear(self) -> None:
        self.entries = {"/": Entry(folder=True)}
        shutil.rmtree(self.pool)
        self.pool.mkdir()
