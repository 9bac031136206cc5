from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from farmlet.engine import apply as module
from farmlet.engine.apply import Done, Payload, Sources, _run, _steps, apply
from farmlet.engine.nodes.driver import Machine, NodeDriver, SecureShell
from farmlet.engine.plan import Change, Target
from farmlet.engine.store import Store
from farmlet.engine.wheel import pack
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
    Resource,
    Unit,
)

SECRET = "correct horse"


def change(resource: Resource) -> Change:
    return Change("head", "a.b", resource, "new", "f" * 64)


def steps(*resources: Resource, certificates: dict[str, str] | None = None) -> tuple[list[dict[str, Any]], Payload]:
    payload = Payload()
    return _steps([change(one) for one in resources], payload, certificates or {}, pack()), payload


def unpack(payload: Payload, folder: Path) -> dict[str, bytes]:
    path = folder / "payload.tar"
    payload.write(path)
    assert path.stat().st_mode & 0o777 == 0o600
    with tarfile.open(path) as archive:
        found = {}
        for member in archive:
            handle = archive.extractfile(member)
            assert handle is not None and member.mode == 0o600
            found[member.name] = handle.read()
    return found


def test_neighbours_that_are_put_in_place_are_one_step(tmp_path: Path) -> None:
    resources = (
        Packages(("p",)),
        Directory("/a"),
        File("/a/one", "1"),
        Absent("/b"),
        Account("user"),
        Random("/r"),
        KeyPair("/k"),
        Certificate("/c", "/ck", ("x",)),
        Command("do", "true"),
        File("/a/two", b"2"),
        Unit("u.service"),
    )
    found, payload = steps(*resources, certificates={"/c": "PEM"})
    assert [(step["op"], step["label"]) for step in found] == [
        ("packages", "packages p"),
        ("put", "3 files"),
        ("account", "account user"),
        ("put", "3 files"),
        ("command", "step do"),
        ("put", "/a/two"),
        ("unit", "unit u.service"),
    ]
    blobs = unpack(payload, tmp_path)
    groups = json.loads(blobs["groups.json"])
    assert [[item["kind"] for item in group] for group in groups] == [
        ["Directory", "File", "Absent"],
        ["Random", "KeyPair", "Certificate"],
        ["File"],
    ]
    assert [found[index]["group"] for index in (1, 3, 5)] == [0, 1, 2]
    assert blobs[groups[0][1]["blob"]] == b"1" and blobs[groups[2][0]["blob"]] == b"2" and blobs[groups[1][2]["blob"]] == b"PEM"
    assert b"def main" in blobs["place.py"]


def test_nothing_asks_for_nothing() -> None:
    assert steps()[0] == []


def test_what_the_program_is_told() -> None:
    found, _ = steps(Unit("u.service", reload=True), Command("do", "true"), Environment("/opt/e", "x==1"), Farmlet("/opt/f", "w"))
    unit, command, environment, wheel = found
    assert unit["stamp"] == "a.b: unit u.service" and unit["fingerprint"] == "f" * 64 and unit["reload"] is True
    assert command["stamp"] == "a.b: step do" and command["run"] == "true"
    assert environment["digest"] == Environment("/opt/e", "x==1").digest and "requirements" not in environment
    assert wheel["file"] == pack().name


class Shell:
    """Remembers what it was asked to run."""

    def __init__(self) -> None:
        self.commands: list[tuple[Sequence[str], str | bytes]] = []

    def shell(self, machine: Machine) -> Shell:
        return self

    def run(self, command: Sequence[str], stdin: str | bytes = "", timeout: float = 120) -> str:
        self.commands.append((command, stdin))
        return "[]"

    @property
    def inventory(self) -> dict[str, Any]:
        return {"ssh_hostname": "192.0.2.1"}


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The jobs that would be run: their text and, as they were at that moment, the modes of what lies beside them."""
    found: list[dict[str, Any]] = []

    def run(path: Path, tell: object) -> None:
        tars = {one.name: one.read_bytes() for one in path.parent.glob("*.tar")}
        found.append({"text": path.read_text(), "folder": path.parent, "mode": path.parent.stat().st_mode & 0o777, "tars": tars})

    monkeypatch.setattr(module, "_run", run)
    return found


def target(name: str) -> Target:
    return Target(Machine(name, f"{name}.tiny.test"), Shell(), (), ())  # type: ignore[arg-type]


def test_secrets_are_in_the_tar_alone(jobs: list[dict[str, Any]]) -> None:
    resources = (File("/etc/secret", SECRET, 0o600, secret=True), Environment("/opt/e", f"{SECRET}==1"), Unit("u.service"))
    both = [target("head"), target("service")]
    apply(both, {"head": [change(one) for one in resources]}, {}, pack(), Sources({}, b"AUTHORITIES"), lambda done: None)
    (job,) = jobs
    assert SECRET not in job["text"] and "AUTHORITIES" not in job["text"]
    assert SECRET.encode() in job["tars"]["head.tar"] and b"AUTHORITIES" in job["tars"]["head.tar"]
    assert job["mode"] == 0o700 and not job["folder"].exists(), "closed while it is there, and gone afterwards"
    nodes = json.loads(job["text"])["nodes"]
    assert list(nodes) == ["head"], "a node without changes is not visited"
    assert nodes["head"]["forget"] == ["a.b: unit u.service"]
    assert b"export PIP_CERT=/run/farmlet/payload/bundle.pem" in job["tars"]["head.tar"]


def test_the_folder_goes_with_an_error_too(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Path] = []

    def run(path: Path, tell: object) -> None:
        seen.append(path.parent)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_run", run)
    with pytest.raises(KeyboardInterrupt):
        apply([target("head")], {"head": [change(File("/x", SECRET))]}, {}, pack(), Sources({}), lambda done: None)
    assert not seen[0].exists()


def test_no_changes_no_job(jobs: list[dict[str, Any]]) -> None:
    apply([target("head")], {"head": []}, {}, pack(), Sources({}), lambda done: None)
    assert jobs == []


def test_the_wheel_travels_only_when_it_is_wanted(jobs: list[dict[str, Any]]) -> None:
    for resource in (File("/x", "1"), Farmlet("/opt/f", pack().digest)):
        apply([target("head")], {"head": [change(resource)]}, {}, pack(), Sources({}), lambda done: None)
    assert [len(job["tars"]["head.tar"]) > len(pack().data) for job in jobs] == [False, True]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A converge program of the test's own: `farmlet.engine.converge` of a package that comes first."""
    script = tmp_path / "python"
    script.write_text("")
    script.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(script))
    return script


def play(program: Path, text: str, tmp_path: Path) -> list[Done]:
    program.write_text(f"#!/bin/sh\n{text}\n")
    done: list[Done] = []
    (tmp_path / "job.json").write_text("{}")
    _run(tmp_path / "job.json", done.append)
    return done


def line(ok: bool, output: str = "") -> str:
    event = {"node": "head", "step": "unit u", "ok": ok, "seconds": 1.5} | ({"output": output} if output else {})
    return f"echo '{json.dumps(event)}'"


def test_steps_are_told_as_they_end(program: Path, tmp_path: Path) -> None:
    assert play(program, line(True), tmp_path) == [Done("head", "unit u", True, 1.5)]


def test_every_failure_is_raised(program: Path, tmp_path: Path) -> None:
    with pytest.raises(Errors) as caught:
        play(program, f"{line(False, 'the cause')}\n{line(True)}\n{line(False, 'another')}\nexit 1", tmp_path)
    assert [error.what for error in caught.value.errors] == ["the cause", "another"]
    assert all(error.where == "node head, unit u" and error.hint for error in caught.value.errors)
    assert caught.value.exit_code == 1


def test_a_program_that_breaks_is_told_with_its_words(program: Path, tmp_path: Path) -> None:
    with pytest.raises(FarmletError) as caught:
        play(program, "echo no such module >&2; exit 4", tmp_path)
    assert "4" in caught.value.what and "no such module" in caught.value.what


def test_noise_on_its_output_is_no_crash(program: Path, tmp_path: Path) -> None:
    try:
        play(program, f"echo 'a warning of some library'\n{line(True)}", tmp_path)
    except FarmletError as error:
        assert "a warning" in error.what


def test_an_interrupt_ends_the_program(program: Path, tmp_path: Path) -> None:
    program.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\n{line(True)}\nexec sleep 60\n")
    (tmp_path / "job.json").write_text("{}")

    def tell(done: Done) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _run(tmp_path / "job.json", tell)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_a_node_that_does_not_answer_is_named() -> None:
    """The real program, in its own process, and a port where nobody listens."""
    shell = SecureShell("127.0.0.1", 1, "root", Path("/nowhere/key"), Path("/nowhere/known_hosts"))
    with pytest.raises(FarmletError) as caught:
        apply(
            [replace(target("head"), driver=cast(NodeDriver, _At(shell)))],
            {"head": [change(File("/x", "1"))]},
            {},
            pack(),
            Sources({}),
            print,
        )
    assert "head" in str(caught.value) and caught.value.hint


ORPHAN = """
import sys
from pathlib import Path
from farmlet.engine.apply import _run
from farmlet.engine.store import Store
folder = Path(sys.argv[1])
sys.executable = str(folder / "python")
with Store(folder, "tiny").locked():
    _run(folder / "job.json", print)
"""


def test_a_killed_up_does_not_free_the_facility_while_nodes_still_change(tmp_path: Path) -> None:
    """kill -9 ends `up`, not the program it started: two of them on one node would pull the rug from under each other."""
    (tmp_path / "python").write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\necho '{{}}' > {tmp_path}/ready\nexec sleep 60\n")
    (tmp_path / "python").chmod(0o700)
    (tmp_path / "job.json").write_text("{}")
    parent = subprocess.Popen([sys.executable, "-c", ORPHAN, str(tmp_path)])
    end = time.monotonic() + 20
    while not (tmp_path / "ready").exists() and time.monotonic() < end:
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    try:
        with pytest.raises(InputError), Store(tmp_path, "tiny").locked():
            pass
    finally:
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


class _At(Shell):
    """A driver of one node at `shell`."""

    def __init__(self, shell: SecureShell) -> None:
        self._shell = shell

    def shell(self, machine: Machine) -> SecureShell:  # type: ignore[override]
        return self._shell


def test_what_a_killed_up_left_in_memory_is_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MEMORY", tmp_path)
    old, fresh, used = (tmp_path / f"farmlet-{name}" for name in ("old", "fresh", "used"))
    for path in (old, fresh, used):
        path.mkdir()
        if path != fresh:
            os.utime(path, (0, 0))
    handle = os.open(used, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with module._room() as room:
        assert room.parent == tmp_path and not old.exists() and fresh.exists() and used.exists()
    os.close(handle)
    assert not room.exists()
