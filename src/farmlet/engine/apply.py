"""Bringing changes about: each node's go to it in one payload, whose program does them there; nodes in parallel."""

from __future__ import annotations

import hashlib
import io
import json
import shlex
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.resources import files
from queue import SimpleQueue
from threading import Thread
from typing import IO, Any

from farmlet.engine.authority import Authority
from farmlet.engine.images.wheel import Wheel
from farmlet.engine.nodes.driver import Shell
from farmlet.engine.plan import Change, Target, source
from farmlet.errors import Errors, FarmletError
from farmlet.parts.resources import (
    Absent,
    Account,
    Certificate,
    Command,
    Directory,
    Environment,
    Farmlet,
    File,
    KeyPair,
    Packages,
    Random,
    Unit,
)

PLACED = (Directory, File, Absent, Random, KeyPair, Certificate)
FOLDER = "/run/farmlet"  # on tmpfs: secrets on their way never reach a disk
STOP_SECONDS = 90  # more than a node needs to remove what it was sent
Step = dict[str, Any]

# closed to others before anything arrives
UNPACK = f"""
import os, shutil, sys, tarfile
os.umask(0o077)
shutil.rmtree("{FOLDER}", ignore_errors=True)
os.makedirs("{FOLDER}/payload")
tarfile.open(fileobj=sys.stdin.buffer, mode="r|").extractall("{FOLDER}/payload", filter="data")
os.umask(0o022)
os.chdir("/")
os.execv(sys.executable, [sys.executable, "{FOLDER}/payload/steps.py"])
"""


@dataclass(frozen=True)
class Done:
    """One step that ended: what it was, on which node, how long it took (seconds), and its output if it failed."""

    node: str
    step: str
    ok: bool
    seconds: float
    output: str = ""


@dataclass(frozen=True)
class Sources:
    """Where nodes get Python packages from: environment variables for pip, and the host's CA bundle if it has its own.

    The bundle goes to a tmpfs on the node for the time of the change; it is part of no image.
    """

    environment: Mapping[str, str]
    bundle: bytes = b""


class Payload:
    """What travels to one node: the job, the blobs that it names, and the programs that do it."""

    def __init__(self) -> None:
        self._blobs: dict[str, bytes] = {
            "steps.py": source("steps").encode(),
            "place.py": source("place").encode(),
            "installer.txt": files("farmlet.engine.images").joinpath("installer.txt").read_bytes(),
        }

    def add(self, data: bytes, name: str = "") -> str:
        name = name or hashlib.sha256(data).hexdigest()
        self._blobs[name] = data
        return name

    def pack(self, steps: Sequence[Step], forget: Sequence[str]) -> bytes:
        """A tar archive of it all, in memory: it holds secrets, which shall not reach a disk."""
        blobs = self._blobs | {"job.json": json.dumps({"forget": forget, "steps": steps}).encode()}
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for name, data in blobs.items():
                info = tarfile.TarInfo(name)
                info.size, info.mode = len(data), 0o600
                archive.addfile(info, io.BytesIO(data))
        return buffer.getvalue()


@dataclass(frozen=True)
class Job:
    """What one node is to do."""

    node: str
    shell: Shell
    payload: bytes


def apply(
    targets: Sequence[Target],
    changes: Mapping[str, Sequence[Change]],
    authorities: Mapping[str, Authority],
    wheel: Wheel,
    sources: Sources,
    tell: Callable[[Done], None],
) -> None:
    """Make every change; raises Errors with the output of each step that failed. Nodes do not wait for each other."""
    wanted = [(target, changes[target.name]) for target in targets if changes.get(target.name)]
    _run([_job(target, changed, authorities, wheel, sources) for target, changed in wanted], tell)


def _job(target: Target, changes: Sequence[Change], authorities: Mapping[str, Authority], wheel: Wheel, sources: Sources) -> Job:
    payload = Payload()
    environment = dict(sources.environment)
    if sources.bundle:
        name = payload.add(sources.bundle, "bundle.pem")
        environment |= dict.fromkeys(("PIP_CERT", "SSL_CERT_FILE", "FARMLET_BUNDLE"), f"{FOLDER}/payload/{name}")
    # a file, not the program's arguments: an index's address may hold a password, and members read the process list
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in environment.items())
    payload.add(exports.encode(), "environment")
    if any(isinstance(change.resource, Farmlet) for change in changes):
        payload.add(wheel.data, wheel.name)
    steps = _steps(changes, payload, _sign(target, changes, authorities.get(target.name)), wheel)
    forget = [change.stamp for change in changes if isinstance(change.resource, Unit | Command)]
    return Job(target.name, target.driver.shell(target.machine), payload.pack(steps, forget))


def _sign(target: Target, changes: Sequence[Change], authority: Authority | None) -> dict[str, str]:
    """Certificates (PEM) by path for those that change; the node makes the keys and asks."""
    wanted = [change.resource for change in changes if isinstance(change.resource, Certificate)]
    if not wanted or authority is None:
        return {}
    asked = json.dumps([asdict(certificate) for certificate in wanted])
    text = target.driver.shell(target.machine).run(["python3", "-c", source("place")], asked)
    return {
        certificate.path: authority.answer(request, certificate)
        for certificate, request in zip(wanted, json.loads(text), strict=True)
    }


def _steps(changes: Sequence[Change], payload: Payload, certificates: Mapping[str, str], wheel: Wheel) -> list[Step]:
    """What the node's program does, in order; neighbours that are only put in place become one step."""
    steps: list[Step] = []
    for change in changes:
        if not isinstance(change.resource, PLACED):
            if isinstance(change.resource, Unit) and not (steps and steps[-1]["op"] == "unit"):
                steps.append({"op": "reload", "label": "units"})
            steps.append(_step(change, payload, wheel))
            continue
        item = _item(change.resource, payload, certificates)
        if steps and steps[-1]["op"] == "put":
            steps[-1]["items"].append(item)
            steps[-1]["label"] = f"{len(steps[-1]['items'])} files"
        else:
            steps.append({"op": "put", "label": item["path"], "items": [item]})
    return steps


def _item(resource: Any, payload: Payload, certificates: Mapping[str, str]) -> dict[str, Any]:
    item = {key: value for key, value in asdict(resource).items() if key != "content"} | {"kind": type(resource).__name__}
    if isinstance(resource, File):
        item["blob"] = payload.add(resource.data)
    elif isinstance(resource, Certificate):
        item["blob"] = payload.add(certificates[resource.path].encode())
    return item


def _step(change: Change, payload: Payload, wheel: Wheel) -> Step:
    resource = change.resource
    step: Step = asdict(resource) | {"op": type(resource).__name__.lower(), "label": resource.label}
    if isinstance(resource, Environment):
        step["blob"] = payload.add(step.pop("requirements").encode())
        step["digest"] = resource.digest
    elif isinstance(resource, Farmlet):
        step["file"] = wheel.name
    elif isinstance(resource, Unit | Command):
        step |= {"stamp": change.stamp, "fingerprint": change.fingerprint}
    else:
        assert isinstance(resource, Packages | Account)
    return step


def _run(jobs: Sequence[Job], tell: Callable[[Done], None]) -> None:
    told: SimpleQueue[Done | None] = SimpleQueue()  # None: one node has ended
    failures: list[FarmletError] = []
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for job in jobs:
            said = tempfile.TemporaryFile()  # noqa: SIM115 - its reader closes it
            processes.append(_start(job, said))
            Thread(target=_follow, args=(job, processes[-1], said, told), daemon=True).start()
        left = len(jobs)
        while left:
            done = told.get()
            if done is None:
                left -= 1
                continue
            tell(done)
            if not done.ok:
                failures.append(_failure(done))
    except BaseException:
        _stop(processes)
        raise
    if failures:
        raise Errors(failures)


def _start(job: Job, said: IO[bytes]) -> subprocess.Popen[bytes]:
    """The program on the node. Its standard input stays open as long as this process lives, see steps.py; its connection is
    in a session of its own, so that an interrupt at the terminal reaches it by way of that alone.

    It inherits the facility's lock: should this process be killed, nobody else changes nodes until the node's has ended."""
    argv = job.shell.argv(["python3", "-c", UNPACK])
    pipe = subprocess.PIPE
    return subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=said, close_fds=False, start_new_session=True)


def _follow(job: Job, process: subprocess.Popen[bytes], said: IO[bytes], told: SimpleQueue[Done | None]) -> None:
    """Hand on what a node tells, and what went wrong without its telling."""
    assert process.stdin is not None and process.stdout is not None
    start, well = time.monotonic(), True
    try:
        with suppress(OSError):  # it has ended already; why is told below
            process.stdin.write(job.payload)
            process.stdin.flush()
        for line in process.stdout:
            done = _read(job.node, line)
            if done is not None:
                well = well and done.ok
                told.put(done)
        code = process.wait()
        if code and well:
            said.seek(0)
            words = said.read().decode(errors="replace").strip()[-2000:] or f"ended with {code}"
            told.put(Done(job.node, "connection", False, round(time.monotonic() - start, 2), words))
        with suppress(OSError):
            process.stdin.close()
    finally:
        said.close()
        told.put(None)


def _read(node: str, line: bytes) -> Done | None:
    """The step a line tells of; None for one that is not ours (what a login shell of the node says)."""
    try:
        return Done(node, **json.loads(line))
    except (ValueError, TypeError):
        return None


def _failure(done: Done) -> FarmletError:
    hint = f"mend the cause (farmlet logs {done.node}) and repeat: what is done stays done"
    return FarmletError(f"node {done.node}, {done.step}", done.output or "failed", hint)


def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """End the nodes' programs by the end of their input; they get time to remove what they were sent."""
    for process in processes:
        with suppress(OSError, ValueError):
            assert process.stdin is not None
            process.stdin.close()
    for process in processes:
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
