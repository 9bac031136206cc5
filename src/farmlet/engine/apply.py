"""Bringing changes about: the changes of all nodes become one job for the converge program, nodes in parallel."""

from __future__ import annotations

import hashlib
import io
import json
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from farmlet.engine.authority import Authority
from farmlet.engine.plan import Change, Target, source
from farmlet.engine.wheel import Wheel
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
    with tempfile.TemporaryDirectory(
        prefix="farmlet-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None
    ) as folder:
        job: dict[str, Any] = {"nodes": {}}
        for target in targets:
            wanted = changes.get(target.name, ())
            if wanted:
                job["nodes"][target.name] = _node(target, wanted, authorities, wheel, sources, Path(folder))
        if job["nodes"]:
            path = Path(folder) / "job.json"
            path.write_text(json.dumps(job))
            _run(path, tell)


def _node(
    target: Target,
    changes: Sequence[Change],
    authorities: Mapping[str, Authority],
    wheel: Wheel,
    sources: Sources,
    folder: Path,
) -> dict[str, Any]:
    payload = Payload()
    environment = dict(sources.environment)
    if sources.bundle:
        name = payload.add(sources.bundle, "bundle.pem")
        environment |= dict.fromkeys(("PIP_CERT", "SSL_CERT_FILE", "FARMLET_BUNDLE"), f"/run/farmlet/payload/{name}")
    if any(isinstance(change.resource, Farmlet) for change in changes):
        payload.add(wheel.data, wheel.name)
    certificates = _sign(target, changes, authorities.get(target.name))
    steps = _steps(changes, payload, certificates, wheel)
    path = folder / f"{target.name}.tar"
    payload.write(path)
    forget = [change.stamp for change in changes if isinstance(change.resource, Unit | Command)]
    data = target.driver.shell(target.machine).inventory
    return {"data": data, "payload": str(path), "environment": environment, "steps": steps, "forget": forget}


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
    item = {key: value for key, value in asdict(resource).items() if key != "content"} | {
        "kind": type(resource).__name__
    }
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
    with (job.parent / "stderr").open("w+b") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert process.stdout is not None
        try:
            for line in process.stdout:
                done = Done(**json.loads(line))
                tell(done)
                if not done.ok:
                    hint = "mend the cause and repeat `farmlet up`: what is done stays done"
                    failures.append(FarmletError(f"node {done.node}, {done.step}", done.output or "failed", hint))
            code = process.wait()
        except BaseException:
            process.send_signal(signal.SIGTERM)
            process.wait()
            raise
        if failures:
            raise Errors(failures)
        if code:
            log.seek(0)
            tail = log.read().decode(errors="replace").strip()[-2000:]
            raise FarmletError("engine", f"the converge program ended with {code}: {tail}")
