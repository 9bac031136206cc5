"""Bringing changes about: the changes of all nodes become one job for the converge program, nodes in parallel."""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from farmlet.engine.authority import Authority
from farmlet.engine.plan import Change, Target, source
from farmlet.engine.wheel import Wheel
from farmlet.errors import Errors, FarmletError, InputError
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
MEMORY = Path("/dev/shm")  # what travels holds secrets, which shall not reach a disk
ABANDONED_SECONDS = 60
STOP_SECONDS = 90  # more than the converge program needs to remove on the nodes what it sent
Step = dict[str, Any]


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
    """What travels to one node: blobs, groups of things to place, and the program that places them."""

    def __init__(self) -> None:
        self._blobs: dict[str, bytes] = {"place.py": source("place").encode()}
        self._groups: list[list[dict[str, Any]]] = []

    def add(self, data: bytes, name: str = "") -> str:
        name = name or hashlib.sha256(data).hexdigest()
        self._blobs[name] = data
        return name

    def group(self, items: list[dict[str, Any]]) -> int:
        self._groups.append(items)
        return len(self._groups) - 1

    def write(self, path: Path) -> None:
        blobs = self._blobs | {"groups.json": json.dumps(self._groups).encode()}
        with tarfile.open(path, "w") as archive:
            for name, data in blobs.items():
                info = tarfile.TarInfo(name)
                info.size, info.mode = len(data), 0o600
                archive.addfile(info, io.BytesIO(data))
        path.chmod(0o600)


def apply(
    targets: Sequence[Target],
    changes: Mapping[str, Sequence[Change]],
    authorities: Mapping[str, Authority],
    wheel: Wheel,
    sources: Sources,
    tell: Callable[[Done], None],
) -> None:
    """Make every change; raises Errors with the output of each step that failed. Nodes do not wait for each other."""
    job: dict[str, Any] = {"nodes": {}}
    with _room() as folder:
        for target in targets:
            wanted = changes.get(target.name, ())
            if wanted:
                job["nodes"][target.name] = _node(target, wanted, authorities, wheel, sources, folder)
        if job["nodes"]:
            path = folder / "job.json"
            path.write_text(json.dumps(job))
            _run(path, tell)


@contextmanager
def _room() -> Iterator[Path]:
    """A private folder in memory that goes in the end. The converge program holds its lock too, so that a folder nobody
    holds is one of an `up` that was killed, and is swept by the next."""
    parent = MEMORY if MEMORY.is_dir() else Path(tempfile.gettempdir())
    for path in parent.glob("farmlet-*"):
        _sweep(path)
    with tempfile.TemporaryDirectory(prefix="farmlet-", dir=parent) as name:
        handle = os.open(name, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            os.set_inheritable(handle, True)
            yield Path(name)
        finally:
            os.close(handle)


def _sweep(path: Path) -> None:
    """Remove a folder that was left behind; one of this minute may not have been locked yet."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return
    try:
        info = os.fstat(handle)
        if info.st_uid == os.geteuid() and time.time() - info.st_mtime > ABANDONED_SECONDS:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
    except BlockingIOError:
        pass  # in use
    finally:
        os.close(handle)


def _node(
    target: Target,
    changes: Sequence[Change],
    authorities: Mapping[str, Authority],
    wheel: Wheel,
    sources: Sources,
    folder: Path,
) -> dict[str, Any]:
    data = target.driver.shell(target.machine).inventory
    if "fake" in data:
        hint = "name a real way to reach it: `connect: container`, `ssh` or `local`"
        raise InputError(f"node {target.name}", "is a fake: it exists in memory only, nothing can be done on it", hint)
    payload = Payload()
    environment = dict(sources.environment)
    if sources.bundle:
        name = payload.add(sources.bundle, "bundle.pem")
        environment |= dict.fromkeys(("PIP_CERT", "SSL_CERT_FILE", "FARMLET_BUNDLE"), f"/run/farmlet/payload/{name}")
    # a file, not the program's arguments: an index's address may hold a password, and members read the process list
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in environment.items())
    payload.add(exports.encode(), "environment")
    if any(isinstance(change.resource, Farmlet) for change in changes):
        payload.add(wheel.data, wheel.name)
    certificates = _sign(target, changes, authorities.get(target.name))
    steps = _steps(changes, payload, certificates, wheel)
    path = folder / f"{target.name}.tar"
    payload.write(path)
    forget = [change.stamp for change in changes if isinstance(change.resource, Unit | Command)]
    return {"data": data, "payload": str(path), "steps": steps, "forget": forget}


def _sign(target: Target, changes: Sequence[Change], authority: Authority | None) -> dict[str, str]:
    """Certificates (PEM) by path for those that change; the node makes the keys and asks."""
    wanted = [change.resource for change in changes if isinstance(change.resource, Certificate)]
    if not wanted or authority is None:
        return {}
    asked = json.dumps([asdict(certificate) for certificate in wanted])
    text = target.driver.shell(target.machine).run(["python3", "-c", source("place"), "requests"], asked)
    return {
        certificate.path: authority.sign(request, certificate.names, certificate.client)
        for certificate, request in zip(wanted, json.loads(text), strict=True)
    }


def _steps(changes: Sequence[Change], payload: Payload, certificates: Mapping[str, str], wheel: Wheel) -> list[Step]:
    """The converge program's steps, in order; neighbours that are only put in place become one step."""
    steps: list[Step] = []
    placed: list[dict[str, Any]] = []

    def flush() -> None:
        if placed:
            label = placed[0]["path"] if len(placed) == 1 else f"{len(placed)} files"
            steps.append({"op": "put", "label": label, "group": payload.group(list(placed))})
            placed.clear()

    for change in changes:
        if isinstance(change.resource, PLACED):
            placed.append(_item(change.resource, payload, certificates))
        else:
            flush()
            steps.append(_step(change, payload, wheel))
    flush()
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


def _run(job: Path, tell: Callable[[Done], None]) -> None:
    command = [sys.executable, "-m", "farmlet.engine.converge", str(job)]
    failures: list[FarmletError] = []
    noise: list[str] = []
    with (job.parent / "stderr").open("w+b") as log:
        # it inherits the facility's lock: should this process be killed, nobody else changes nodes until it has ended
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, close_fds=False)
        assert process.stdout is not None
        try:
            for line in process.stdout:
                done = _read(line)
                if done is None:
                    noise.append(line)
                    continue
                tell(done)
                if not done.ok:
                    failures.append(_failure(done))
            code = process.wait()
        except BaseException:
            _stop(process)
            raise
        if failures:
            raise Errors(failures)
        if code:
            log.seek(0)
            tail = ("".join(noise) + log.read().decode(errors="replace")).strip()[-2000:]
            raise FarmletError("engine", f"the converge program ended with {code}: {tail}", "repeat with -v; farmlet status")


def _read(line: str) -> Done | None:
    """The step a line tells of; None for one that is not ours (a library's warning)."""
    try:
        return Done(**json.loads(line))
    except (ValueError, TypeError):
        return None


def _failure(done: Done) -> FarmletError:
    hint = f"mend the cause (farmlet logs {done.node}) and repeat: what is done stays done"
    return FarmletError(f"node {done.node}, {done.step}", done.output or "failed", hint)


def _stop(process: subprocess.Popen[str]) -> None:
    """End the converge program; it gets time to remove on the nodes what it sent."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
