"""The program on the node that publishes: one file for each image that is shown, named by its digest, and the index of them.

python -m farmlet.parts.software.sharing.pack [--config FILE]

The reverse proxy serves the folder. A file stays as long as the root file system it was made of: leases are looked at there.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from farmlet.errors import FarmletError
from farmlet.parts import images
from farmlet.parts.software import trial
from farmlet.parts.software.bundle import bundle
from farmlet.runtime import program
from farmlet.runtime.files import rename, sync, write

CONFIG = "/etc/farmlet/sharing.json"
INDEX, STATE = "index.json", "state.json"
SPARE = 1 << 30  # bytes of disk that stay free
# zstd: any site's Apptainer reads it, and a node unpacks it as fast as its disk writes
OPTIONS = ["-noappend", "-no-xattrs", "-no-progress", "-quiet", "-comp", "zstd", "-Xcompression-level", "3"]
OPTIONS += ["-mem", "256M", "-processors", "2", "-wildcards", "-e", "dev/*"]


@dataclass(frozen=True)
class Packed:
    """A file: its sha256 (hex), its `size`, and the `room` that its content takes (bytes)."""

    digest: str
    size: int
    room: int


class Packer:
    """Packs into `folder`. `lists`: folders with an images.json; `plain`: small folders that are needed as such."""

    def __init__(self, folder: Path, lists: Sequence[str], plain: Sequence[str]) -> None:
        self._folder, self._lists, self._plain = folder, [Path(one) for one in lists], [Path(one) for one in plain]
        self._state = self._load()

    def _load(self) -> dict[str, Packed]:
        try:
            return {path: Packed(**one) for path, one in json.loads((self._folder / STATE).read_text()).items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}  # all of it is packed again

    def run(self) -> list[str]:
        """Make the index and what it names; in words, what could not be packed."""
        for left in self._folder.glob(".*"):
            left.unlink()  # of one that was killed
        shown, folders, failed = {}, {}, []
        for path, root in self._shown():
            try:
                shown[path] = self._pack(root).digest
            except (FarmletError, OSError) as error:
                failed.append(f"{path}: {error}")
        for place in filter(Path.is_dir, self._plain):
            folders[str(place)] = self._keep(place, bundle(place)).digest
        # what somebody may still run in stays, and its file with it
        self._state = {root: one for root, one in self._state.items() if Path(root).is_dir()}
        self._save()
        index = {"shown": shown, "folders": folders, "files": self._files(), "lists": self._tell(shown)}
        write(self._folder / INDEX, (json.dumps(index, indent=1, sort_keys=True) + "\n").encode())
        named = {INDEX, STATE, *self._files()}
        for file in self._folder.iterdir():
            if file.name not in named:
                file.unlink()
        return failed

    def _shown(self) -> Iterator[tuple[str, Path]]:
        """Path → root file system of all that is offered."""
        for folder in self._lists:
            for row in images.load(folder).values():
                if row.offered and Path(row.path).is_dir():
                    yield row.path, Path(row.path).resolve()

    def _tell(self, shown: Mapping[str, str]) -> dict[str, object]:
        """The lists of images, in which only that is offered which can be fetched."""
        found: dict[str, object] = {}
        for folder in filter(Path.is_dir, self._lists):
            rows = [asdict(row) for row in images.load(folder).values()]
            found[str(folder)] = {"images": [{**row, "offered": row["offered"] and row["path"] in shown} for row in rows]}
        return found

    def _files(self) -> dict[str, dict[str, int]]:
        return {one.digest: {"size": one.size, "room": one.room} for one in self._state.values()}

    def _save(self) -> None:
        write(self._folder / STATE, json.dumps({root: asdict(one) for root, one in self._state.items()}).encode())

    def _pack(self, root: Path) -> Packed:
        """The file of a root file system, which never changes: a changed image is another root."""
        known = self._state.get(str(root))
        if known is not None and (self._folder / known.digest).is_file():
            return known
        room = trial.measure(root)
        if (free := shutil.disk_usage(self._folder).free) < room + SPARE:
            raise FarmletError(
                "the disk", f"has {free >> 20} MiB free, and {room + SPARE >> 20} are needed", f"df -h {self._folder}"
            )
        made = self._folder / ".making"
        try:
            program.run(["mksquashfs", str(root), str(made), *OPTIONS], seconds=None)
            with made.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            return self._settle(root, made, digest, room)
        finally:
            made.unlink(missing_ok=True)

    def _keep(self, place: Path, data: bytes) -> Packed:
        made = self._folder / ".making"
        write(made, data)
        return self._settle(place, made, hashlib.sha256(data).hexdigest(), len(data))

    def _settle(self, root: Path, made: Path, digest: str, room: int) -> Packed:
        made.chmod(0o644)
        sync(made)
        rename(made, self._folder / digest)
        self._state[str(root)] = Packed(digest, (self._folder / digest).stat().st_size, room)
        self._save()
        return self._state[str(root)]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="farmlet-sharing", description="Pack what is published.")
    parser.add_argument("--config", type=Path, default=Path(CONFIG))
    config = json.loads(parser.parse_args(arguments).config.read_text())
    folder = Path(config["folder"])
    with (folder.parent / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        failed = Packer(folder, config["lists"], config["plain"]).run()
    print("\n".join(failed), end="\n" if failed else "")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
