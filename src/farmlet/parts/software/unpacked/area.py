"""The area as members see it: `REGISTRY/REPOSITORY:TAG` is a link to `.flat/HH/HEX`, named by its configuration, as in DUCC.

A link appears, or changes, by one rename, when all of its image is there, has been compared and has started. What no link leads
to stays as long as a running job or notebook may be in it, and `keep_days` besides, for what nobody can see from here.
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from farmlet.errors import FarmletError, InputError
from farmlet.parts import images
from farmlet.parts.images import Row
from farmlet.parts.software import trial
from farmlet.parts.software.unpacked import leases
from farmlet.parts.software.unpacked.registry import Manifest, Registry, name_blob
from farmlet.parts.software.unpacked.tools import Tools
from farmlet.parts.software.unpacked.unpack import CATALOG, SPARE, Unpacked, unpack
from farmlet.parts.software.unpacked.wish import Fault, Wish
from farmlet.runtime.checks import Failed
from farmlet.runtime.files import rename, write

STATE = ".state.json"
DAY = 86400
# with the image's own variables; a server that does not start is no fault of the image's
SERVER = """
for one in /.singularity.d/env/*.sh; do [ ! -r "$one" ] || . "$one"; done
command -v jupyterhub-singleuser >/dev/null 2>&1 && python3 -c "import jupyterhub; print(jupyterhub.__version__)" 2>/dev/null
:
"""
VERSION = re.compile(r"[0-9][0-9A-Za-z.]{0,30}")
TOLD = 5  # names of files that a note has


@dataclass
class Flat:
    """A root file system: the `names` it had, `until` when (seconds since 1970), and when a job was last seen in it."""

    names: list[str] = field(default_factory=list)
    until: float = 0.0
    used: float = 0.0


@dataclass(frozen=True)
class Setting:
    """What the node is told, by `deploy.configure`. `file`: the list's name; `pool`: whose collector knows the jobs, "": nobody;
    `most`: bytes that an image may have. `shown`: where members find the folder, if a CVMFS repository carries it there.
    `results`: see `leases.read`."""

    folder: str
    file: str
    user: str
    pool: str
    keep_days: int
    most: int
    wishes: tuple[Wish, ...]
    faults: tuple[Fault, ...]
    shown: str = ""
    results: tuple[str, ...] = ()

    @classmethod
    def read(cls, text: str) -> Setting:
        data = json.loads(text)
        lists = {"wishes": tuple(Wish(**one) for one in data["wishes"]), "faults": tuple(Fault(**one) for one in data["faults"])}
        return cls(**{**data, **lists, "results": tuple(data.get("results", ()))})


def start(found: Unpacked) -> str:
    """That a program of it starts, confined as the tests of images are; the version of JupyterHub whose server it has, if any.
    Raises FarmletError."""
    if not found.shell:
        return ""
    try:
        said = trial.enter(found.root, ["/bin/sh", "-c", SERVER], "its shell")
    except FarmletError as error:
        raise FarmletError("its shell", f"does not start here: {error.what}", "tell who made the image") from error
    last = (said.splitlines() or [""])[-1]
    return last if VERSION.fullmatch(last) else ""


class Area:
    """One at a time works on a folder. `jobs`: what runs now; `try_it`: as `start`."""

    def __init__(
        self,
        setting: Setting,
        jobs: Callable[[str, Sequence[str]], Sequence[leases.Job]] = leases.read,
        try_it: Callable[[Unpacked], str] = start,
    ) -> None:
        self._setting, self._jobs, self._try = setting, jobs, try_it
        self._folder, self._shown = Path(setting.folder), Path(setting.shown or setting.folder)
        self._work = self._folder / ".work"
        self._tools = Tools(setting.user, self._work, setting.most)
        self._registry = Registry(self._tools)
        self.rows = images.load(self._folder)
        self.flats = self._load()

    def _load(self) -> dict[str, Flat]:
        try:
            return {name: Flat(**one) for name, one in json.loads((self._folder / STATE).read_text())["flats"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}  # it is found again from what is there, as if used today

    def list(self) -> list[Row]:
        """All that is wished for or there, and the lines that are no wishes, in the order of the list."""
        rows = {wish.name: Row(wish.name) for wish in self._setting.wishes if "*" not in wish.tag} | self.rows
        found = []
        for name, row in rows.items():
            wish = self.find(name)
            if wish is None and not row.offered:
                continue
            found.append((wish.line if wish else 0, replace(row, base=self._place(wish.line) if wish else "no line")))
        for fault in self._setting.faults:
            found.append(
                (fault.line, Row(fault.text, base=self._place(fault.line), error=f"{self._place(fault.line)}: {fault.why}"))
            )
        return [row for _, row in sorted(found, key=lambda one: (one[0] or 1 << 30, one[1].name))]

    def _place(self, line: int) -> str:
        return f"{self._setting.file}:{line}"

    def find(self, name: str) -> Wish | None:
        """The wish by which an image is there."""
        for wish in self._setting.wishes:
            like = replace(wish, tag=wish.tag.replace("[", "[[]")).name
            if wish.name == name or ("*" in wish.tag and fnmatch.fnmatchcase(name, like)):
                return wish
        return None

    def update(self, only: str = "") -> None:
        """Fetch what the list asks for and registries have in another version; remove what nobody needs. Raises InputError."""
        wishes = list(self._setting.wishes)
        if only:
            wish = self.find(only)
            if wish is None:
                raise InputError(
                    f"image {only[:120]}", f"{self._setting.file} does not ask for it", "add a line, then `farmlet up`"
                )
            wishes = [wish if wish.name == only else replace(wish, tag=only.rpartition(":")[2])]
        self._save()  # whoever looks sees that it has begun
        for wish in wishes:
            for one in self._expand(wish):
                self.rows[one.name] = self._attempt(one)
                self._save()
        self.sweep()
        self._save()

    def _expand(self, wish: Wish) -> Iterator[Wish]:
        """The images of a wish with `*`. A row of its own says why, if they cannot be known."""
        if "*" in wish.tag:
            self.rows.pop(wish.name, None)
        try:
            with self._room():
                tags = self._registry.expand(wish)
        except (FarmletError, OSError) as error:
            self.rows[wish.name] = Row(wish.name, error=self._say(wish, error))
            return
        yield from (replace(wish, tag=tag) for tag in tags)

    def _attempt(self, wish: Wish) -> Row:
        """The image fetched, tried and shown; or what was known before, with why not."""
        before, begun = replace(self.rows.get(wish.name, Row(wish.name)), error=""), time.time()
        try:
            with self._room():
                manifest = self._registry.find(wish)
                if before.offered and before.digest == manifest.digest and self._target(wish.name):
                    return before
                flat = self._find_flat(manifest)
                note, hub = self._find_told(flat) if flat.is_dir() else self._make(wish, manifest, flat)
                self._keep(wish.name, manifest)
                self._link(wish.name, flat)
                size = trial.measure(flat)
        except (FarmletError, OSError) as error:
            return replace(before, error=self._say(wish, error))
        return replace(
            before, offered=True, digest=manifest.digest, path=str(self._shown / wish.name), size=size, note=note, hub=hub,
            tested=time.time(), seconds=round(time.time() - begun, 1),
        )  # fmt: skip

    def _say(self, wish: Wish, error: Exception) -> str:
        return f"{self._place(wish.line)}: {wish.name}: {error}"

    def _make(self, wish: Wish, manifest: Manifest, flat: Path) -> tuple[str, str]:
        """The root file system at `flat`; what is to be known of it, and its version of JupyterHub."""
        free = shutil.disk_usage(self._work).free
        if manifest.size > self._setting.most or free < manifest.size + SPARE:
            what = f"has {manifest.size >> 20} MiB to fetch, of at most {self._setting.most >> 20}; {free >> 20} MiB are free"
            raise FarmletError("its manifest", what, "df -h /cvmfs")
        blobs = self._work / "blobs"
        config = self._registry.fetch(wish, manifest, blobs)
        found = unpack(self._tools, manifest, config, blobs)
        hub = self._try(found)
        flat.parent.mkdir(parents=True, exist_ok=True)
        (self._folder / ".flat" / CATALOG).touch()
        rename(found.root, flat)
        return describe(found), hub

    def _find_told(self, flat: Path) -> tuple[str, str]:
        """What is known of it by another name."""
        return next(((row.note, row.hub) for row in self.rows.values() if self._target(row.name) == flat.resolve()), ("", ""))

    def _find_flat(self, manifest: Manifest) -> Path:
        name = name_blob(manifest.config)
        return self._folder / ".flat" / name[:2] / name

    def _keep(self, name: str, manifest: Manifest) -> None:
        """The manifest byte for byte as the registry has it, for who wants to know what an image is."""
        place = self._folder / ".metadata" / name
        place.mkdir(parents=True, exist_ok=True)
        write(place / "manifest.json", manifest.text)

    def _link(self, name: str, flat: Path) -> None:
        """Show a root file system under its name, by one rename."""
        link = self._folder / name
        link.parent.mkdir(parents=True, exist_ok=True)
        self._leave(name)
        fresh = link.with_name(".new")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(os.path.relpath(flat, link.parent))
        rename(fresh, link)
        known = self.flats.setdefault(flat.name, Flat())
        known.names, known.until = sorted({*known.names, name}), time.time()

    def _leave(self, name: str) -> None:
        """Note of what a name shows now that it did so until now."""
        if (now := self._target(name)) is not None:
            known = self.flats.setdefault(now.name, Flat())
            known.names, known.until = sorted({*known.names, name}), time.time()

    def _target(self, name: str) -> Path | None:
        """The root file system that a name shows."""
        link = self._folder / name
        return link.resolve() if link.is_symlink() and link.is_dir() else None

    def remove(self, name: str) -> None:
        """Take an image back that the list no longer asks for and no job runs in. Raises InputError or FarmletError."""
        where = f"image {name[:120]}"
        row = self.rows.get(name)
        if row is None or not row.offered:
            raise InputError(where, "is not there", "farmlet images list")
        if (wish := self.find(name)) is not None:
            raise InputError(
                where, f"line {wish.line} of {self._setting.file} asks for it", "take the line out, then `farmlet up`"
            )
        try:
            jobs = self._jobs(self._setting.pool, self._setting.results)
        except (Failed, ValueError) as error:
            raise FarmletError(where, f"nobody can say whether something runs in it: {error}", "farmlet check") from error
        flat = self._target(name)
        known = (name, flat.name if flat else name)
        if users := sum(leases.find_name(job, self._shown) == name or job.image in known for job in jobs):
            raise FarmletError(where, f"is in use: by {users} jobs or nodes with notebooks", "wait for them, or ask their owners")
        self._leave(name)
        link = self._folder / name
        link.unlink(missing_ok=True)
        shutil.rmtree(self._folder / ".metadata" / name, ignore_errors=True)
        for place in link.parents[: len(Path(name).parts) - 1]:
            if not any(place.iterdir()):
                place.rmdir()
        del self.rows[name]
        self.sweep()
        self._save()

    def sweep(self) -> None:
        """Remove root file systems that no name shows and no job uses, some days after they were last shown or used."""
        shown = {flat.name: name for name in self.rows if (flat := self._target(name)) is not None}
        for name in shown.values():
            self._leave(name)
        try:
            jobs = self._jobs(self._setting.pool, self._setting.results)
        except (Failed, ValueError):
            return  # who cannot be asked may use all of them
        now = time.time()
        for flat in (self._folder / ".flat").glob("??/*"):
            known = self.flats.setdefault(flat.name, Flat(until=now))
            if flat.name in shown or leases.is_used(flat.name, known.names, known.until, jobs, self._shown):
                known.used = now
            elif now - max(known.used, known.until) > self._setting.keep_days * DAY:
                with self._room():
                    rename(flat, self._work / flat.name)
                del self.flats[flat.name]

    def _room(self) -> Room:
        return Room(self._work, self._setting.user)

    def _save(self) -> None:
        images.save(self.list(), self._folder)
        state = {"run": time.time(), "flats": {name: asdict(one) for name, one in self.flats.items()}}
        write(self._folder / STATE, (json.dumps(state, indent=1) + "\n").encode())


class Room:
    """A folder to work in, which only `user` and root enter; empty at first, and gone in the end, whatever happened in it."""

    def __init__(self, folder: Path, user: str) -> None:
        self._folder, self._user = folder, user

    def __enter__(self) -> None:
        self.__exit__()  # of one that was killed
        self._folder.mkdir(mode=0o700)
        shutil.chown(self._folder, self._user)

    def __exit__(self, *_: object) -> None:
        if self._folder.exists():
            shutil.rmtree(self._folder)


def describe(found: Unpacked) -> str:
    """What of an image is to be known, in words."""
    said = []
    if found.hidden:
        names = ", ".join(found.hidden[:TOLD]) + (", …" if len(found.hidden) > TOLD else "")
        said.append(f"members cannot read {len(found.hidden)} files of it: {names}")
    if found.devices:
        said.append(f"{found.devices} devices are left out")
    if not found.shell:
        said.append("it has no shell, so that nothing was started in it")
    return "; ".join(said)
