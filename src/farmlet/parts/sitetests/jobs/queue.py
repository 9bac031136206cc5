"""A site's own HTCondor queue, reached by SSH to its submit host as the account that drones have.

While jobs of ours are there one connection stays, at whose other end `outpost.py` runs. It is asked in lines of JSON, one
question at a time; a look is answered when something has happened. Questions may be repeated. A job carries our name for it
(FarmletRun), by which it is found again however either side ended.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import os
import shlex
import signal
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib.resources import files
from typing import Any, Protocol

from farmlet.parts.sitetests import PACKAGE
from farmlet.parts.sitetests.jobs.outpost import MARK
from farmlet.parts.sitetests.result import clean

PATIENCE = 30.0  # seconds one answer of a site may take
LARGEST = 16 * 1024 * 1024  # bytes a site may say in one
PROGRAM = files(f"{PACKAGE}.jobs").joinpath("outpost.py").read_text()
RUNNER = files(f"{PACKAGE}.jobs").joinpath("runner.py").read_text()


class Unreachable(Exception):
    """The site's queue cannot be used; the text says why."""


@dataclass(frozen=True)
class Place:
    """A site's submit host, and `folder` there, from the account's home."""

    name: str
    host: str
    user: str
    folder: str


@dataclass(frozen=True)
class View:
    """What a look at a queue found of our jobs: `states` (code, reason it is held) of those in the queue, `results` and `errors`
    of those that are not, by name; `drones`: how many other jobs of the account run. `empty`: a
    job waits, and there is no machine in the site's pool."""

    states: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    results: Mapping[str, bytes] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    drones: int = 0
    empty: bool = False


class Queued(Protocol):
    """A site's queue, as the service uses it."""

    @property
    def process(self) -> object:
        """The way there, while there is one."""

    async def submit(self, jobs: Mapping[str, Mapping[str, bytes]]) -> None: ...

    async def look(self, names: Collection[str], gone: Collection[str]) -> View: ...

    def hurry(self) -> None: ...


class Queue:
    """`login`: the words of the SSH client up to the host; see `ssh`. `process`: the way to the site, while there is one."""

    def __init__(self, place: Place, login: Sequence[str]) -> None:
        self._words = [*login, f"exec python3 -I -c {shlex.quote(PROGRAM)} {shlex.quote(place.folder)} 2>&1"]
        self.process: Process | None = None

    async def submit(self, jobs: Mapping[str, Mapping[str, bytes]]) -> None:
        """Bring jobs to the queue, each with its files, but for those that are or were there. Raises Unreachable."""
        spelt = {name: {path: base64.b64encode(data).decode() for path, data in packed.items()} for name, packed in jobs.items()}
        await self._ask({"submit": spelt, "runner": RUNNER})

    async def look(self, names: Collection[str], gone: Collection[str]) -> View:
        """What became of these jobs, as soon as one has ended or after a while; those that are `gone` for us are taken away
        with all they left. Raises Unreachable."""
        view = read(await self._ask({"names": [*names], "gone": [*gone]}))
        if not names:
            await self._close()
        return view

    def hurry(self) -> None:
        """Let a look that is under way come to its end."""
        if self.process and self.process.stdin:
            self.process.stdin.write(b"\n")

    async def _ask(self, question: Mapping[str, object]) -> Mapping[str, Any]:
        if self.process is None:
            self.process = await asyncio.create_subprocess_exec(
                *self._words, stdin=PIPE, stdout=PIPE, stderr=STDOUT, start_new_session=True, limit=LARGEST
            )
        try:
            async with asyncio.timeout(PATIENCE):
                return await self._converse(self.process, json.dumps(question).encode() + b"\n")
        except BaseException as error:  # whatever it was, who asks next begins anew
            await self._close()
            if isinstance(error, TimeoutError):
                raise Unreachable(f"the submit host does not answer within {PATIENCE:g} s") from error
            raise

    async def _converse(self, process: Process, question: bytes) -> Mapping[str, Any]:
        assert process.stdin and process.stdout
        with suppress(BrokenPipeError, ConnectionResetError):  # what it says then tells why
            process.stdin.write(question)
            await process.stdin.drain()
        complaint = "it said nothing"
        try:
            while line := (await process.stdout.readline()).decode(errors="replace"):
                if line.startswith(MARK):
                    return dict(json.loads(line.removeprefix(MARK)))
                complaint = clean(line, 300) or complaint  # or what a log-in greets with
        except (ValueError, TypeError, RecursionError) as error:
            raise Unreachable(f"the submit host says more than {LARGEST} bytes, or what is no answer") from error
        raise Unreachable(f"the submit host: {complaint}")

    async def _close(self) -> None:
        process, self.process = self.process, None
        if process and process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.communicate()  # what it had said already: asyncio waits for that before it takes its end


def read(said: Mapping[str, Any]) -> View:
    """What an outpost answers; what is odd in it is left out."""
    view = View(drones=said["drones"] if type(said.get("drones")) is int else 0, empty=said.get("empty") is True)
    states, results, errors = dict[str, tuple[int, str]](), dict[str, bytes](), dict[str, str]()
    for name, state in _pairs(said.get("states")):
        if isinstance(state, list) and len(state) == 2 and type(state[0]) is int:
            states[name] = (state[0], clean(str(state[1]), 300))
    for name, result in _pairs(said.get("results")):
        try:
            results[name] = base64.b64decode(str(result), validate=True)
        except (binascii.Error, ValueError):
            results[name] = b""
    for name, error in _pairs(said.get("errors")):
        if error:
            errors[name] = clean(" ".join(str(error).split()), 300)
    return replace(view, states=states, results=results, errors=errors)


def _pairs(found: object) -> Collection[tuple[str, object]]:
    return found.items() if isinstance(found, dict) else ()


def ssh(place: Place, key: str, known: str) -> list[str]:
    """The words of OpenSSH's client that lead to a site."""
    options = {
        "BatchMode": "yes",
        "ConnectTimeout": "10",
        "IdentitiesOnly": "yes",
        "UserKnownHostsFile": known,
        "StrictHostKeyChecking": "yes",
        "ServerAliveInterval": "10",
    }
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    return ["ssh", "-F", "/dev/null", *words, "-i", key, f"{place.user}@{place.host}"]
