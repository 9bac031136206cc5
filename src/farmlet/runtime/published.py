#!/usr/bin/python3 -I
"""What the facility publishes below /cvmfs, for hosts and drones that do not share it: fetched by its digest, verified, kept.

`URL/index.json` says what is shown: `shown`, path → sha256 (hex) of a squashfs with a root file system; `folders`, path → sha256
of a tar with a small folder; `files`, sha256 → `size` of the file and `room` of what is in it (bytes); `lists`, path → what that
folder's images.json says. `URL/SHA256` is the file. A file of ours has its name once all of it is there and has that digest.

It comes to sites with a drone and runs there by whatever Python from 3.6 on is there: nothing but the standard library.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import socket
import socketserver
import ssl
import sys
import tarfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

DIGEST = re.compile(r"[0-9a-f]{64}")
PLACE = re.compile(r"/cvmfs(/[A-Za-z0-9_.:@-]+)+")
LARGEST, MOST = 8 << 20, 100 << 30  # bytes of an index and of a file
SPARE = 256 << 20  # bytes of disk that a fetch leaves free
PATIENCE = 60  # seconds without a byte
HELD = 3600  # seconds since its last use for which a file is not removed to make room
SOCKET = "images.sock"


class Lack(Exception):
    """In words, why something is not here. `again`: it may be another time."""

    def __init__(self, what: str, again: bool = True) -> None:
        super().__init__(what)
        self.again = again


class Index:
    """What is published at one time; see the module. Raises ValueError."""

    def __init__(self, text: bytes) -> None:
        data = json.loads(text.decode())
        self.shown = _places(data["shown"], str)
        self.folders = _places(data["folders"], str)
        self.lists = _places(data["lists"], dict)
        self.files = {str(name): (int(one["size"]), int(one["room"])) for name, one in data["files"].items()}
        named = {*self.files, *self.shown.values(), *self.folders.values()}
        if named - set(self.files) or not all(DIGEST.fullmatch(name) for name in named):
            raise ValueError("names what is not there")
        if any(not 0 <= size <= MOST for size, _ in self.files.values()):
            raise ValueError("has a file that is too large")


def _places(data: "Mapping[str, Any]", read: "Any") -> "dict[str, Any]":
    for path in data:
        if not PLACE.fullmatch(path) or ".." in path.split("/"):
            raise ValueError("shows something outside of /cvmfs")
    return {path: read(one) for path, one in data.items()}


class Store:
    """Files in `folder`, which is its own, of what is published at `url`; `authority`: a file with whom it trusts (PEM), "" the
    system's. `limit`: bytes of all files, 0: any."""

    def __init__(self, url: str, authority: str, folder: Path, limit: int = 0) -> None:
        self._url, self._folder, self._limit = url, folder, limit
        self._trust = ssl.create_default_context(cafile=authority or None)
        self._index: tuple[float, Index] | None = None

    def index(self, age: float = 0) -> Index:
        """What is published now, or was `age` seconds ago. Raises Lack."""
        if self._index and time.monotonic() - self._index[0] < age:
            return self._index[1]
        try:
            with self._open("index.json") as answer:
                text = answer.read(LARGEST + 1)
            found = Index(text)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise Lack(f"{self._url} cannot be read: {error}") from error
        self._index = (time.monotonic(), found)
        return found

    def _open(self, name: str) -> "Any":
        return urllib.request.urlopen(f"{self._url}/{name}", timeout=PATIENCE, context=self._trust)

    def get(self, digest: str, size: int) -> Path:
        """The file of this digest and size, fetched if it is not there yet; one at a time does that. Raises Lack."""
        place = self._folder / digest
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self._folder / f"{digest}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not place.exists():
                self._make_room(size)
                part = self._folder / f"{digest}.part"
                try:
                    self._fetch(digest, size, part)
                    part.rename(place)
                except OSError as error:
                    raise Lack(f"{digest[:12]} was not fetched: {error}") from error
                finally:
                    if part.exists():
                        part.unlink()
            os.utime(str(place))
        return place

    def drop(self, digest: str) -> None:
        """Remove the file of this digest, if it is here."""
        if (self._folder / digest).exists():
            (self._folder / digest).unlink()

    def _fetch(self, digest: str, size: int, part: Path) -> None:
        found, left = hashlib.sha256(), size
        with self._open(digest) as answer, part.open("wb") as stream:
            while left >= 0:
                data = answer.read(1 << 20)
                if not data:
                    break
                found.update(data)
                stream.write(data)
                left -= len(data)
            stream.flush()
            os.fsync(stream.fileno())
        if left or found.hexdigest() != digest:
            raise Lack(f"{digest[:12]} came with another content" if not left else f"{digest[:12]} came with another size")

    def _make_room(self, size: int) -> None:
        """Remove what was used longest ago, if the limit asks for it, and what is left of fetches that were killed."""
        for part in self._folder.glob("*.part"):
            lock = part.with_suffix(".lock")
            with lock.open("w") as stream, _at_once(stream) as mine:
                if mine:
                    part.unlink()
        files = [path for path in self._folder.iterdir() if DIGEST.fullmatch(path.name)]
        known = sorted((path.stat().st_mtime, path.stat().st_size, path) for path in files)
        total = sum(one[1] for one in known)
        for used, least, path in known:
            if self._limit and total + size > self._limit and time.time() - used > HELD:
                path.unlink()
                total -= least
        if self._limit and total + size > self._limit:
            raise Lack(
                f"{size >> 20} MiB more than the {total >> 20} in {self._folder} are over the limit of {self._limit >> 20}"
            )
        free = shutil.disk_usage(str(self._folder)).free
        if free < size + SPARE:
            raise Lack(f"the disk of {self._folder} has {free >> 20} MiB free, and {size + SPARE >> 20} are needed")

    def image(self, path: str, age: float = 0) -> Path:
        """The file with the image that is shown at `path`. Raises Lack."""
        index = self.index(age)
        if path not in index.shown:
            raise Lack(f"{path} is not published", again=False)
        return self.get(index.shown[path], index.files[index.shown[path]][0])

    def unpack(self, path: str, target: Path) -> None:
        """The folder that is shown at `path`, at `target`, which is not there yet. Raises Lack."""
        index = self.index()
        if path not in index.folders:
            raise Lack(f"{path} is not published", again=False)
        digest = index.folders[path]
        with tarfile.open(str(self.get(digest, index.files[digest][0]))) as archive:
            # an old Python knows none; it has the digest that the facility named in any case
            safe: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
            archive.extractall(str(target), **safe)


@contextmanager
def _at_once(stream: "Any") -> "Iterator[bool]":
    """Whether the lock of a file is ours; nobody is waited for."""
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        yield False
    else:
        yield True


class Desk(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Answers, outside of jobs' namespaces, which file an image is: a line with its path, then `{"file": PATH}` or why not."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, store: Store, place: str) -> None:
        self.store = store
        super().__init__(place, _Answer)


class _Answer(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        path = self.rfile.readline(4096).decode(errors="replace").strip()
        try:
            said: dict[str, Any] = {"file": str(self.server.store.image(path, age=60))}  # type: ignore[attr-defined]
        except Lack as lack:
            said = {"lack": str(lack), "again": lack.again}
        except OSError as error:
            said = {"lack": str(error), "again": True}
        self.wfile.write(json.dumps(said).encode() + b"\n")


def ask(folder: Path, path: str) -> "dict[str, Any]":
    """What the desk in `folder` says. Raises OSError or ValueError."""
    os.chdir(str(folder))  # a socket's path may have 107 bytes only
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(SOCKET)
        connection.sendall(path.encode() + b"\n")
        with connection.makefile() as answer:
            return dict(json.loads(answer.readline()))


def prepare(ad: str, default: str, folder: Path) -> "dict[str, str]":
    """Attributes (as ClassAd expressions) by which HTCondor goes on with a job: the file of its image, or why it cannot start."""
    named = dict(re.findall(r'^(\w+) = "([^"\\]*)"$', ad, re.MULTILINE))
    path = named.get("SingularityImage") or named.get("ContainerImage") or default
    if not PLACE.fullmatch(path.rstrip("/")) or Path(path).is_dir():
        return {"FarmletImageFile": "undefined"}
    try:
        said = ask(folder, path.rstrip("/"))
        if "file" in said:
            return {"FarmletImageFile": json.dumps(said["file"])}
        what, again = str(said["lack"]), bool(said["again"])
    except (OSError, ValueError, KeyError) as error:
        what, again = str(error), True
    if again:
        time.sleep(20)  # or the job would be back in no time
    # up to 299 the job is held, from 300 on it is idle again
    return {"HookStatusCode": "300" if again else "100", "HookStatusMessage": json.dumps(f"its image: {what}")}


def main(words: "list[str]") -> int:
    """hook FOLDER IMAGE | serve|get|unpack URL AUTHORITY FOLDER LIMIT …"""
    action, *given = words
    if action == "hook":
        said = prepare(sys.stdin.read(), given[1], Path(given[0]))
        print("\n".join(f"{name} = {value}" for name, value in said.items()))
        return 0
    url, authority, folder, limit, *more = given
    store = Store(url, authority, Path(folder), int(limit))
    try:
        if action == "serve":
            Desk(store, more[0]).serve_forever()
        elif action == "get":
            print(store.image(more[0]))
        else:
            store.unpack(more[0], Path(more[1]))
    except Lack as lack:
        print(lack, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
