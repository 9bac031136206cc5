"""The tests there are: files of the folders, each with a header that says how it is run.

A header is a block of TOML in comments, as PEP 723 has it for scripts, of the type `sitetest`; where a file cannot have one (a
binary), it is the file `NAME.toml` beside it:

    # /// sitetest
    # every = 300         seconds between two runs (default: the facility file's)
    # timeout = 60        seconds it may take
    # sites = ["tier1"]   where (default: all sites)
    # files = ["x.root"]  what else of the folder it wants beside it
    # gate = false        it is told, but never keeps drones away
    # token = true        it finds a token for its corner of storage in BEARER_TOKEN_FILE
    # cores = 2           that its job asks the site for (default: 1)
    # memory = 2048       likewise, MiB (default: 256)
    # disk = 1024         likewise, MiB (default: 100)
    # ///

A file that is no Python with a function `test` is a program. A file that cannot be used costs itself; what is wrong is told.
"""

from __future__ import annotations

import ast
import os
import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from farmlet.parts.sitetests.result import clean

QUEUE = "queue"  # that a site takes and runs jobs: not a file, but what every job of ours shows
NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")
EXTRA = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
HEADER = re.compile(r"^# /// sitetest$\n((?:^#(?: .*)?$\n)*?)^# ///$", re.MULTILINE)
LARGEST = 16 * 1024 * 1024  # bytes of a test with its files
NUMBERS = {  # word → unit, least, most
    "every": ("seconds ", 10, 30 * 86400),
    "timeout": ("seconds ", 1, 3600),
    "cores": ("", 1, 1024),
    "memory": ("MiB ", 1, 4 * 1024**2),
    "disk": ("MiB ", 1, 64 * 1024**2),
}
WORDS = ("every", "timeout", "sites", "files", "gate", "token", "cores", "memory", "disk")


@dataclass(frozen=True)
class Test:
    """`paths`: what goes to the site, the test's own file first. `sites`: empty for all. `cores`, `memory` and `disk` (MiB): what
    its job asks for. Times in seconds."""

    __test__ = False  # it is none of pytest's

    name: str
    paths: tuple[Path, ...]
    kind: str  # function or program
    every: int
    timeout: int = 60
    sites: frozenset[str] = frozenset()
    gate: bool = True
    token: bool = False
    shipped: bool = False
    cores: int = 1
    memory: int = 256
    disk: int = 100

    def is_for(self, site: str) -> bool:
        return not self.sites or site in self.sites


@dataclass(frozen=True)
class Suite:
    """The tests by name, and what is wrong with files that are none."""

    tests: Mapping[str, Test]
    faults: Sequence[str] = ()


class Unfit(Exception):
    """A file cannot be used; the text says why."""


def load(shipped: Path, own: Path, sites: Collection[str], every: int) -> Suite:
    """The tests of both folders; one of the collaboration's own takes the place of a shipped one of its name."""
    tests, faults = dict[str, Test](), list[str]()
    for folder in (shipped, own):
        paths = sorted(path for path in folder.glob("*") if path.is_file() and path.suffix != ".toml")
        wanted = _find_extras(paths)
        for path in paths:
            if path.name.startswith(("_", ".")) or path in wanted:
                continue
            try:
                found = read(path, sites, every, folder == shipped)
            except (Unfit, OSError) as error:
                faults.append(clean(f"{show(path.name)}: {error}", 500))
                continue
            if found.name in tests and not tests[found.name].shipped:
                faults.append(f"{path.name}: there is a test {found.name} already: {tests[found.name].paths[0].name}")
            else:
                tests[found.name] = found
    return Suite(tests, faults)


def sign(*folders: Path) -> tuple[object, ...]:
    """Changes when a file of the folders does."""
    found = []
    for folder in folders:
        for entry in os.scandir(folder) if folder.is_dir() else ():
            with suppress(OSError):
                stat = entry.stat()
                found.append((entry.path, stat.st_mtime_ns, stat.st_size, stat.st_ino))
    return tuple(sorted(found))


def show(name: str) -> str:
    """A file's name as people can be shown it."""
    return name if name.isprintable() and name.isascii() else ascii(name)


def read(path: Path, sites: Collection[str], every: int, shipped: bool = False) -> Test:
    """The test that the file is. Raises Unfit or OSError."""
    name = path.name.partition(".")[0]
    if not NAME.fullmatch(name) or name == QUEUE:
        raise Unfit("a test is named with 1 to 40 of a-z, 0-9, _ and -, the first a letter, and not `queue`")
    header = _read_header(path)
    if odd := sorted(set(header) - set(WORDS)):
        raise Unfit(f"its header has {', '.join(odd)[:200]}; it may have {', '.join(WORDS)}")
    where = _list(header, "sites")
    if unknown := sorted(set(where) - set(sites)):
        raise Unfit(f"sites: there is no site {', '.join(unknown)[:200]}")
    flags = {"gate": header.get("gate", True), "token": header.get("token", False)}
    for word, flag in flags.items():
        if not isinstance(flag, bool):
            raise Unfit(f"{word}: is true or false")
    return Test(
        name=name,
        paths=(path, *_find_files(path, _list(header, "files"))),
        kind=_find_kind(path),
        every=_number(header, "every", every),
        timeout=_number(header, "timeout", Test.timeout),
        sites=frozenset(where),
        **flags,
        shipped=shipped,
        cores=_number(header, "cores", Test.cores),
        memory=_number(header, "memory", Test.memory),
        disk=_number(header, "disk", Test.disk),
    )


def _find_extras(paths: Sequence[Path]) -> set[Path]:
    """What other tests name in their `files`, and so is no test of its own."""
    found = set[Path]()
    for path in paths:
        try:
            found |= {path.with_name(name) for name in _list(_read_header(path), "files")} - {path}
        except (Unfit, OSError, ValueError):
            continue  # told where it is read as a test
    return found


def _read_header(path: Path) -> dict[str, Any]:
    beside = path.with_name(f"{path.name.partition('.')[0]}.toml")
    if beside.is_file():
        text = beside.read_text(errors="replace")
    else:
        with path.open("rb") as stream:
            found = HEADER.search(stream.read(65536).decode(errors="replace").replace("\r\n", "\n"))
        text = "\n".join(line[2:] for line in found[1].splitlines()) if found else ""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Unfit(f"its header is no TOML: {error}") from error


def _list(header: Mapping[str, Any], word: str) -> list[str]:
    found = header.get(word, [])
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise Unfit(f'{word}: is a list of names, like ["tier1"]')
    return found


def _number(header: Mapping[str, Any], word: str, default: int) -> int:
    found, (unit, least, most) = header.get(word, default), NUMBERS[word]
    if isinstance(found, bool) or not isinstance(found, int) or not least <= found <= most:
        raise Unfit(f"{word}: is a whole number {'of ' + unit if unit else ''}from {least} to {most}")
    return found


def _find_files(path: Path, names: Sequence[str]) -> list[Path]:
    size = path.stat().st_size
    for name in names:
        extra = path.with_name(name) if EXTRA.fullmatch(name) else path
        if extra == path or not extra.is_file():
            raise Unfit(f"files: {show(name)!r} is no file of this folder by a plain name")
        size += extra.stat().st_size
    if size > LARGEST:
        raise Unfit(f"with its files it has {size} bytes; {LARGEST} are the most that goes to a site")
    return [path.with_name(name) for name in names]


def _find_kind(path: Path) -> str:
    if path.suffix != ".py":
        return "program"
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError) as error:
        raise Unfit(f"is no Python: {error}") from error
    return "function" if any(isinstance(one, ast.FunctionDef) and one.name == "test" for one in tree.body) else "program"
