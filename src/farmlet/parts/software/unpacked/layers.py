"""What is in an image's layers, before anything is unpacked: names, kinds and sizes, with whiteouts applied.

    python3 -I layers.py MOST_BYTES LAYER...      (JSON on standard output)

It reads archives of strangers, so it runs as a user that owns nothing, within limits of memory, and loads nothing of ours. What
it says is compared with what was unpacked: OCI image specification, layers (whiteouts, opaque whiteouts).
"""

from __future__ import annotations

import json
import sys
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

WHITEOUT, OPAQUE = ".wh.", ".wh..wh..opq"
ENTRIES, LONGEST, DEEPEST = 2_000_000, 4095, 200  # entries of all layers, bytes of a path, links on one way
BLOCK = 4096  # bytes of disk that a file takes at least
DEVICES = {tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE}


class Refused(Exception):
    """These layers are not to be unpacked, and why."""


@dataclass
class Node:
    """A file, link, folder or device of the tree; `layer`: the last one that named it or something below it."""

    kind: str
    layer: int
    target: str = ""
    below: dict[str, Node] = field(default_factory=dict)


@dataclass(frozen=True)
class Told:
    """All paths of the image, `devices` among them, which are to be left out; `size`: bytes of disk for all files of them."""

    paths: list[str]
    devices: list[str]
    size: int


class Tree:
    """The image after the layers that were added, in order."""

    def __init__(self, most: int) -> None:
        self.root = Node("folder", 0)
        self._most, self._layer = most, -1
        self._size = self._entries = 0

    def add(self, archive: tarfile.TarFile) -> None:
        self._layer += 1
        for member in archive:
            self._entries += 1
            self._size += -(-member.size // BLOCK) * BLOCK if member.isfile() else BLOCK
            if self._size > self._most:
                raise Refused(f"hold more than {self._most >> 20} MiB of files")
            if self._entries > ENTRIES:
                raise Refused(f"hold more than {ENTRIES} files")
            self._take(member)
            archive.members.clear()  # type: ignore[attr-defined]  # else all of them stay in memory

    def _take(self, member: tarfile.TarInfo) -> None:
        *folders, name = split(member.name) or [""]
        if not name:
            return
        place = self._enter(folders, make=not name.startswith(WHITEOUT))
        if place is None:
            return
        if name == OPAQUE:
            self._clear(place)
        elif name.startswith(WHITEOUT):
            self._drop(place, name.removeprefix(WHITEOUT))
        else:
            self._put(place, name, member)

    def _put(self, place: Node, name: str, member: tarfile.TarInfo) -> None:
        known = place.below.get(name)
        if member.isdir() and known is not None and known.kind == "folder":
            known.layer = self._layer
            return
        if member.islnk():
            split(member.linkname)
        kind = "folder" if member.isdir() else "link" if member.issym() else "device" if member.type in DEVICES else "file"
        place.below[name] = Node(kind, self._layer, member.linkname if member.issym() else "")

    def _enter(self, folders: Sequence[str], make: bool) -> Node | None:
        """The folder on this way, links within the image followed; what is missing is made, as whoever unpacks does, or None."""
        way, rest, links = [self.root], list(folders), 0
        while rest:
            name = rest.pop(0)
            if name == "..":  # of a link's target: above the root there is nothing
                way = way[:-1] or way
                continue
            found = way[-1].below.get(name)
            if found is not None and found.kind == "link":
                links += 1
                if links > DEEPEST:
                    raise Refused("hold links that lead in a circle")
                rest = [one for one in found.target.split("/") if one not in ("", ".")] + rest
                way = [self.root] if found.target.startswith("/") else way
                continue
            if found is None or found.kind != "folder":
                if not make:
                    return None
                found = way[-1].below[name] = Node("folder", self._layer)
            way.append(found)
        for node in way if make else ():
            node.layer = self._layer
        return way[-1]

    def _drop(self, place: Node, name: str) -> None:
        """Remove what earlier layers had there; a whiteout is not about its own layer."""
        found = place.below.get(name)
        if found is not None and found.layer != self._layer:
            del place.below[name]
        elif found is not None:
            self._clear(found)

    def _clear(self, place: Node) -> None:
        stack = [place]
        while stack:
            node = stack.pop()
            node.below = {name: one for name, one in node.below.items() if one.layer == self._layer}
            stack += node.below.values()

    def tell(self) -> Told:
        found = sorted(self._walk())
        return Told([path for path, _ in found], [path for path, kind in found if kind == "device"], self._size)

    def _walk(self) -> Iterator[tuple[str, str]]:
        stack = [("", self.root)]
        while stack:
            above, node = stack.pop()
            for name, one in node.below.items():
                yield f"{above}{name}", one.kind
                stack.append((f"{above}{name}/", one))


def split(name: str) -> list[str]:
    """The parts of a member's name below the root. Raises Refused for one that would leave it."""
    parts = [one for one in name.split("/") if one not in ("", ".")]
    if ".." in parts:
        raise Refused(f"hold a name that leads out of it: {show(name)}")
    if len(name.encode(errors="replace")) > LONGEST or len(parts) > DEEPEST:
        raise Refused(f"hold a name that is too long: {show(name)}")
    return parts


def show(name: str) -> str:
    return "".join(one if one.isprintable() else "?" for one in name[:80])


def scan(layers: Sequence[Path], most: int) -> Told:
    """Raises Refused."""
    tree = Tree(most)
    for path in layers:
        try:
            with tarfile.open(path, "r|*", encoding="utf-8", errors="surrogateescape") as archive:
                tree.add(archive)
        except (tarfile.TarError, OSError, EOFError, ValueError, MemoryError) as error:
            raise Refused(f"cannot be read: {error}") from error
    return tree.tell()


def main(arguments: Sequence[str]) -> int:
    try:
        print(json.dumps(asdict(scan([Path(one) for one in arguments[1:]], int(arguments[0])))))
        return 0
    except Refused as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
