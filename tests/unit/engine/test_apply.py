from __future__ import annotations

import io
import json
import shlex
import subprocess
import sys
import tarfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from farmlet.engine.apply import Done, Payload, Sources, _steps, apply
from farmlet.engine.images.wheel import pack
from farmlet.engine.nodes.driver import Machine, NodeDriver, SecureShell
from farmlet.engine.plan import Change, Target
from farmlet.engine.store import Store
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
from waiting import until

SECRET = "correct horse"


def change(resource: Resource) -> Change:
    return Change("head", "a.b", resource, "new", "f" * 64)


def steps(*resources: Resource, certificates: dict[str, str] | None = None) -> tuple[list[dict[str, Any]], Payload]:
    payload = Payload()
    return _steps([change(one) for one in resources], payload, certificates or {}, pack()), payload


def unpack(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        found = {}
        for member in archive:
            handle = archive.extractfile(member)
            assert handle is not None and member.mode == 0o600
            found[member.name] = handle.read()
    return found


def test_neighbours_that_are_put_in_place_are_one_step() -> None:
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
        Unit("v.timer"),
    )
    found, payload = steps(*resources, certificates={"/c": "PEM"})
    assert [(step["op"], step["label"]) for step in found] == [
        ("packages", "packages p"),
        ("put", "3 files"),
        ("account", "account user"),
        ("put", "3 files"),
        ("command", "step do"),
        ("put", "/a/two"),
        ("reload", "units"),
        ("unit", "unit u.service"),
        ("unit", "unit v.timer"),
    ]
    blobs = unpack(payload.pack(found, ["a.b: step do"]))
    job = json.loads(blobs["job.json"])
    assert job["forget"] == ["a.b: step do"] and [step["label"] for step in job["steps"]] == [step["label"] for step in found]
    groups = [step["items"] for step in found if step["op"] == "put"]
    assert [[item["kind"] for item in group] for group in groups] == [
        ["Directory", "File", "Absent"],
        ["Random", "KeyPair", "Certificate"],
        ["File"],
    ]
    assert blobs[groups[0][1]["blob"]] == b"1" and blobs[groups[2][0]["blob"]] == b"2" and blobs[groups[1][2]["blob"]] == b"PEM"
    assert b"def main" in blobs["steps.py"] and b"def certificate" in blobs["place.py"]


def test_nothing_asks_for_nothing() -> None:
    assert steps()[0] == []


def test_what_the_program_is_told() -> None:
    found, _ = steps(Unit("u.service", reload=True), Command("do", "true"), Environment("/opt/e", "x==1"), Farmlet("/opt/f", "w"))
    _, unit, command, environment, wheel = found
    assert unit["stamp"] == "a.b: unit u.service" and unit["fingerprint"] == "f" * 64 and unit["reload"] is True
    assert command["stamp"] == "a.b: step do" and command["run"] == "true"
    assert environment["digest"] == Environment("/opt/e", "x==1").digest and "requirements" not in environment
    assert wheel["file"] == pack().name


class Shell:
    """A node that is a process here: it does the steps by the script of the test, which finds the payload on its input."""

    def __init__(self, script: str = "exit 0") -> None:
        self.script = script
        self.commands: list[Sequence[str]] = []

    def shell(self, machine: Machine) -> Shell:
        return self

    def run(self, command: Sequence[str], stdin: str | bytes = "", timeout: float = 120) -> str:
        raise AssertionError("nothing is to be signed")

    def argv(self, command: Sequence[str]) -> list[str]:
        self.commands.append(command)
        return ["sh", "-c", self.script]


def target(name: str, shell: Shell | None = None) -> Target:
    return Target(Machine(name, f"{name}.tiny.test"), cast(NodeDriver, shell or Shell()), (), ())


def converge(nodes: Mapping[str, Shell], *resources: Resource, sources: Sources = Sources({})) -> list[Done]:  # noqa: B008
    done: list[Done] = []
    targets = [target(name, shell) for name, shell in nodes.items()]
    changes = {name: [change(one) for one in resources] for name in nodes}
    apply(targets, changes, {}, pack(), sources, done.append)
    return done


def keep(path: Path) -> Shell:
    """A node that keeps the payload, up to the two zero blocks of a tar's end; its input goes on."""
    read = "import sys, tarfile; t = tarfile.open(fileobj=sys.stdin.buffer, mode='r|'); t.extractall(sys.argv[1])"
    return Shell(f'{shlex.quote(sys.executable)} -c "{read}" {path}')


def test_secrets_are_in_the_payload_alone(tmp_path: Path) -> None:
    node = keep(tmp_path)
    resources = (File("/etc/secret", SECRET, 0o600), Environment("/opt/e", f"{SECRET}==1"), Unit("u.service"))
    converge({"head": node}, *resources, sources=Sources({}, b"AUTHORITIES"))
    assert SECRET not in str(node.commands) and "AUTHORITIES" not in str(node.commands)
    found = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert SECRET.encode() in found.values() and found["bundle.pem"] == b"AUTHORITIES"
    assert json.loads(found["job.json"])["forget"] == ["a.b: unit u.service"]
    assert b"export PIP_CERT=/run/farmlet/payload/bundle.pem" in found["environment"]


def test_a_node_without_changes_is_not_visited() -> None:
    shell = Shell("exit 3")
    apply([target("head", shell)], {"head": []}, {}, pack(), Sources({}), print)
    assert shell.commands == []


def test_the_wheel_travels_only_when_it_is_wanted(tmp_path: Path) -> None:
    for name, resource in (("without", File("/x", "1")), ("with", Farmlet("/opt/f", pack().digest))):
        (tmp_path / name).mkdir()
        converge({"head": keep(tmp_path / name)}, resource)
    assert [(tmp_path / name / pack().name).exists() for name in ("without", "with")] == [False, True]


def line(ok: bool, output: str = "") -> str:
    event = {"step": "unit u", "ok": ok, "seconds": 1.5} | ({"output": output} if output else {})
    return f"echo '{json.dumps(event)}'"


def play(*scripts: str) -> list[Done]:
    return converge({f"n{number}": Shell(script) for number, script in enumerate(scripts)}, File("/x", "1"))


def test_steps_are_told_as_they_end() -> None:
    assert play(line(True)) == [Done("n0", "unit u", True, 1.5)]


def test_every_failure_of_every_node_is_raised() -> None:
    with pytest.raises(Errors) as caught:
        play(f"{line(True)}\n{line(False, 'the cause')}\nexit 1", f"{line(False, 'another')}\nexit 1", line(True))
    assert {(error.where, error.what) for error in caught.value.errors} == {
        ("node n0, unit u", "the cause"),
        ("node n1, unit u", "another"),
    }
    assert all(error.hint for error in caught.value.errors)
    assert caught.value.exit_code == 1


def test_a_connection_that_breaks_is_told_with_its_words() -> None:
    with pytest.raises(FarmletError, match="no such module"):
        play(f"{line(True)}\necho no such module >&2; exit 4")


def test_noise_on_its_output_is_no_crash() -> None:
    assert play(f"echo 'Welcome to this host'\n{line(True)}") == [Done("n0", "unit u", True, 1.5)]


def test_an_interrupt_ends_the_program_by_the_end_of_its_input(tmp_path: Path) -> None:
    def tell(done: Done) -> None:
        raise KeyboardInterrupt

    node = Shell(f"{line(True)}\ncat > /dev/null; echo over > {tmp_path}/over")
    with pytest.raises(KeyboardInterrupt):
        apply([target("head", node)], {"head": [change(File("/x", "1"))]}, {}, pack(), Sources({}), tell)
    assert (tmp_path / "over").read_text() == "over\n"


def test_a_node_that_does_not_answer_is_named() -> None:
    """A port where nobody listens."""
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
    assert "head" in str(caught.value) and "refused" in str(caught.value) and caught.value.hint


class _At(Shell):
    """A driver of one node at `shell`."""

    def __init__(self, shell: SecureShell) -> None:
        self._shell = shell

    def shell(self, machine: Machine) -> SecureShell:  # type: ignore[override]
        return self._shell


ORPHAN = """
import sys
from pathlib import Path
from farmlet.engine.apply import Job, _run
from farmlet.engine.store import Store

class Node:
    def argv(self, command):
        return ["sh", "-c", f"echo > {folder}/ready; cat > /dev/null; while ! test -e {folder}/go; do sleep 0.05; done"]

folder = Path(sys.argv[1])
with Store(folder, "tiny").locked():
    _run([Job("head", Node(), b"")], print)
"""


def test_a_killed_up_does_not_free_the_facility_while_nodes_still_change(tmp_path: Path) -> None:
    """kill -9 ends `up`, not at once what it began on nodes: two of them on one node would pull the rug from under each other."""
    parent = subprocess.Popen([sys.executable, "-c", ORPHAN, str(tmp_path)])
    until((tmp_path / "ready").exists)
    parent.kill()
    parent.wait()
    with pytest.raises(InputError), Store(tmp_path, "tiny").locked():
        pass
    (tmp_path / "go").touch()

    def free() -> bool:
        with suppress(InputError), Store(tmp_path, "tiny").locked():
            return True
        return False

    until(free)
