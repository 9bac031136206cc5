"""The program of the part on the node that builds: makes images, tests them, and offers those whose test ends well.

python -m farmlet.parts.software.builder [--config FILE] list | ready | build [IMAGE] | test [IMAGE]

An image lies below the published folder as `.images/NAME-DIGEST`, named by its content; `NAME` is a link to the one that is
offered, changed by one rename. So what was started in another one goes on, until that is removed some days after.
Standard input of `build`: pip's settings as JSON, by the names of its variables; `bundle`: authorities (PEM). Without it the
environment's are taken.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from farmlet.errors import FarmletError, InputError
from farmlet.facility.places import IMAGES
from farmlet.parts import images
from farmlet.parts.images import Row
from farmlet.parts.software import dockerfile, trial
from farmlet.parts.software.unpacked import leases
from farmlet.runtime.checks import Failed
from farmlet.runtime.files import rename

CONFIG = "/etc/farmlet/images.json"
LAYER = "/usr/lib/farmlet/images/layer.sh"
STAMP = "etc/farmlet-image"
SPARE = 1 << 30  # bytes of disk that a build leaves free
DAY = 86400
STORED = re.compile(r"[a-z0-9][a-z0-9._-]*-[0-9a-f]{12}")


@dataclass(frozen=True)
class Recipe:
    """What an image is made of. `source`: a root file system that the node has already, of content `stamp`; else it is `base`
    with Debian `packages` and Python `requirements` added, and then what a Dockerfile makes of that: `context` is a tar of its
    folder, of `content` (sha256)."""

    name: str
    title: str = ""
    base: str = ""
    source: str = ""
    stamp: str = ""
    packages: tuple[str, ...] = ()
    requirements: tuple[str, ...] = ()
    test: str = ""
    context: str = ""
    content: str = ""

    def want(self, base: str) -> str:
        """sha256 (hex) of all that decides what comes of it; `base`: the digest of what it begins with."""
        made = {name: value for name, value in asdict(self).items() if name not in ("title", "context", "content")}
        if self.content:
            made["content"] = self.content
        return hashlib.sha256(json.dumps([made, base], sort_keys=True).encode()).hexdigest()


class Builder:
    """Over the published `folder`. `config`: see `deploy.describe_images`."""

    def __init__(self, config: Mapping[str, Any], folder: Path, layer: str = LAYER) -> None:
        lists = ("packages", "requirements")
        self.recipes = {one["name"]: Recipe(**one | {key: tuple(one.get(key, ())) for key in lists}) for one in config["images"]}
        self._hub, self._keep = str(config["hub"]), int(config["keep_days"]) * DAY
        self._leases: Mapping[str, Any] = config.get("leases") or {"pool": ""}  # see `leases.read`
        self._folder, self._stored, self._layer = folder, folder / ".images", layer
        self._known = images.load(folder)
        self.rows = dict(self._known)

    def list(self) -> list[Row]:
        """All images of the file, also those that were never made; titles as the file has them now."""
        return [
            replace(self.rows.get(name, Row(name)), title=recipe.title, base=recipe.base) for name, recipe in self.recipes.items()
        ]

    def ready(self) -> bool:
        """Whether there is nothing to do: each is made and offered, or was tried in vain, and the list says so."""
        done = all(self._is_well(name) or (self._is_tried(name) and self.rows[name].error) for name in self.recipes)
        return done and list(self._known.values()) == self.list()

    def _is_well(self, name: str) -> bool:
        row = self.rows.get(name)
        tried = row is not None and self._is_tried(name) and not row.error
        return tried and row is not None and self._read_stamp(self._folder / name) == row.digest

    def _is_tried(self, name: str) -> bool:
        row, recipe = self.rows.get(name), self.recipes[name]
        return row is not None and row.wanted == recipe.want(self._find_base(recipe))

    def _find_base(self, recipe: Recipe) -> str:
        if not recipe.base:
            return recipe.stamp
        base = self.rows.get(recipe.base)
        return base.digest if base is not None and base.offered else ""

    def build(self, only: str = "") -> None:
        """Make what differs from the recipes, and what failed."""
        self._need(only)
        for name, recipe in self.recipes.items():
            if only in ("", name) and not self._is_well(name):
                self.rows[name] = self._attempt(recipe)
                self._save()
        self._save()
        self.sweep()

    def test(self, only: str = "") -> None:
        """Test what is there; what fails is not offered any more, though what runs in it goes on."""
        self._need(only)
        for name, recipe in self.recipes.items():
            row = self.rows.get(name)
            if only in ("", name) and row is not None and row.digest:
                try:
                    told = trial.run(self._stored / _label(name, row.digest), name, recipe.test, self._hub)
                    row = replace(row, offered=True, tested=time.time(), error="", hub=told.hub)
                    self._link(name, row.digest)
                except FarmletError as error:
                    row = replace(row, offered=False, error=str(error))
                    (self._folder / name).unlink(missing_ok=True)
                self.rows[name] = row
                self._save()

    def _need(self, name: str) -> None:
        if name and name not in self.recipes:
            raise InputError(f"image {name[:60]}", "is none of this facility", f"there are: {', '.join(self.recipes)}")

    def _attempt(self, recipe: Recipe) -> Row:
        """The image made, tested and offered; or what was known before, with why not."""
        before = replace(
            self.rows.get(recipe.name, Row(recipe.name)),
            title=recipe.title, base=recipe.base, wanted=recipe.want(self._find_base(recipe)), error="",
        )  # fmt: skip
        begun, fresh = time.time(), self._stored / f".{recipe.name}.new"
        self._stored.mkdir(mode=0o755, parents=True, exist_ok=True)
        self._remove(fresh)
        try:
            self._make(recipe, fresh)
            told = trial.run(fresh, recipe.name, recipe.test, self._hub)
            digest = self._stamp(recipe, fresh, told)
            size = trial.measure(fresh)
            if not (self._stored / _label(recipe.name, digest)).exists():
                rename(fresh, self._stored / _label(recipe.name, digest))
            self._link(recipe.name, digest)
        except (FarmletError, OSError) as error:
            return replace(before, error=str(error))
        finally:
            self._remove(fresh)
        return replace(
            before, offered=True, digest=digest, path=str(self._folder / recipe.name), size=size, tested=time.time(),
            seconds=round(time.time() - begun, 1), hub=told.hub, python=told.python, debian=told.debian,
        )  # fmt: skip

    def _make(self, recipe: Recipe, fresh: Path) -> None:
        source = Path(recipe.source) if recipe.source else self._folder / recipe.base
        if not (source / STAMP).is_file():
            why = f"{recipe.base} is not offered" if recipe.base else f"{recipe.source} is not there"
            raise FarmletError(f"image {recipe.name}", why, "farmlet images list")
        # buildah keeps what it begins with, what comes of it, and both packed
        need = trial.measure(source) * (5 if recipe.context else 1) + SPARE
        if (free := shutil.disk_usage(self._stored).free) < need:
            raise FarmletError(
                f"image {recipe.name}", f"needs {need >> 20} MiB of disk, {free >> 20} MiB are free", "df -h /cvmfs"
            )
        _run(["cp", "-a", "--reflink=auto", f"{source}/.", str(fresh)], f"image {recipe.name}")
        if recipe.packages or recipe.requirements:
            self._add(recipe, fresh)
        if recipe.context:
            dockerfile.build(fresh, Path(recipe.context), recipe.base, f"image {recipe.name}")

    def _add(self, recipe: Recipe, fresh: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="farmlet-image-", dir="/var/tmp") as work:
            Path(work, "packages").write_text("".join(f"{one}\n" for one in recipe.packages))
            Path(work, "requirements.txt").write_text("".join(f"{one}\n" for one in recipe.requirements))
            Path(work).chmod(0o1777)
            _run([self._layer, str(fresh), work], f"image {recipe.name}")

    def _stamp(self, recipe: Recipe, fresh: Path, told: trial.Told) -> str:
        """The digest of the content, written into it: of a recipe's own if all in it is pinned, else of every version found."""
        digest = recipe.stamp
        if not recipe.source:
            made = [self._find_base(recipe), told.python, told.debian, *([recipe.content] if recipe.content else [])]
            said = json.dumps(made, sort_keys=True)
            digest = hashlib.sha256(said.encode()).hexdigest()
        (fresh / STAMP).write_text(f"{recipe.name} {digest}\n")
        return digest

    def _link(self, name: str, digest: str) -> None:
        """Offer it by one rename. A folder of that name is of a time without links: it is kept aside like others."""
        place, fresh = self._folder / name, self._folder / f".{name}.link"
        old = self._read_stamp(place)
        if place.is_dir() and not place.is_symlink():
            rename(place, self._stored / _label(name, "0" * 12))
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(f".images/{_label(name, digest)}")
        rename(fresh, place)
        if old and old != digest:
            os.utime(self._stored / _label(name, old))  # from now on it waits to be removed

    def _save(self) -> None:
        images.save(self.list(), self._folder)

    def sweep(self) -> None:
        """Remove links to images that the file no longer names, and images that were replaced some days ago and nobody uses."""
        for link in self._folder.iterdir():
            if link.is_symlink() and link.name not in self.recipes and link.readlink().parts[0] == ".images":
                if link.exists():
                    os.utime(link)
                link.unlink()
        kept = {_label(row.name, row.digest) for row in self.list() if row.digest}
        gone = []
        for path in self._stored.iterdir():
            old = time.time() - path.stat().st_mtime > self._keep
            if path.name.endswith(".new"):
                self._remove(path)
            elif STORED.fullmatch(path.name) and path.name not in kept and old:
                gone.append(path)
        try:
            jobs = leases.read(**self._leases) if gone else []
        except (Failed, ValueError):
            return  # who cannot be asked may use all of them
        for path in gone:
            name, until = path.name.rpartition("-")[0], path.stat().st_mtime
            if not leases.is_used(path.name, [name], until, jobs, self._folder):
                self._remove(path)

    def _remove(self, path: Path) -> None:
        if path.parent != self._stored or path.is_symlink():
            raise FarmletError(str(path), "is no image of ours, and stays", "")
        shutil.rmtree(path, ignore_errors=True)

    @staticmethod
    def _read_stamp(path: Path) -> str:
        try:
            return (path / STAMP).read_text().split()[1]
        except (OSError, IndexError, UnicodeDecodeError):
            return ""


def _label(name: str, digest: str) -> str:
    return f"{name}-{digest[:12]}"


def _run(words: Sequence[str], where: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        said = "\n  ".join((done.stderr or done.stdout).strip().splitlines()[-12:])
        raise FarmletError(where, f"was not made: {Path(words[0]).name} ended with {done.returncode}\n  {said}")


@contextmanager
def take_sources(given: Mapping[str, str]) -> Iterator[None]:
    """pip's settings in the environment; the authorities in a file for that time."""
    with tempfile.NamedTemporaryFile("w", prefix="farmlet-", suffix=".pem", dir="/run") as bundle:
        for name, value in given.items():
            if re.fullmatch(r"(PIP|HTTP|HTTPS|NO)_[A-Z_]+", name):
                os.environ[name] = value
        if given.get("bundle"):
            bundle.write(given["bundle"])
            bundle.flush()
            os.environ["PIP_CERT"] = os.environ["SSL_CERT_FILE"] = bundle.name
        yield


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="farmlet-images", description="Images of software.")
    parser.add_argument("--config", default=CONFIG)
    parser.add_argument("--folder", type=Path, default=Path(IMAGES))
    parser.add_argument("action", choices=("list", "ready", "build", "test"))
    parser.add_argument("name", nargs="?", default="")
    options = parser.parse_args(arguments)
    try:
        config = json.loads(Path(options.config).read_text())
        if options.action == "ready":
            return 0 if Builder(config, options.folder).ready() else 1
        if options.action != "list":
            given = {} if sys.stdin.isatty() else json.loads(sys.stdin.read() or "{}")
            options.folder.mkdir(mode=0o755, parents=True, exist_ok=True)
            with (options.folder / ".lock").open("w") as lock, take_sources(given):
                fcntl.flock(lock, fcntl.LOCK_EX)
                builder = Builder(config, options.folder)  # once others have ended
                getattr(builder, options.action)(options.name)
        print(json.dumps([asdict(row) for row in Builder(config, options.folder).list()]))
        return 0
    except FarmletError as error:
        print(error, file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
