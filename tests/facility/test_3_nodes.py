"""One line more is another node: log-in, the same homes, jobs; and it goes again without losing anything."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from element import Element, find
from person import Person
from sandbox import Sandbox, until

pytestmark = [pytest.mark.facility, pytest.mark.lane("edit"), pytest.mark.usefixtures("running"), pytest.mark.timeout(1200)]
LINE = "  second: {connect: container, cores: 2, memory: 4G, runs: [access, batch, software]}\n"
WORKER = "  second: {connect: container, cores: 2, memory: 4G, runs: [batch.execute, software]}\n"
STORE = "  store: {connect: container, cores: 1, memory: 1G, runs: [storage]}\n"
HEAD, SERVICE = "  head:", "  service:"  # a node after `head`: the first storage node is the one that is meant
JOB = """\
executable = /bin/sh
arguments = "-c 'sleep {seconds}; hostname >> thesis'"
+WantLocal = true
requirements = Machine == "second.{domain}"
queue
"""


@pytest.fixture(scope="module")
def file(sandbox: Sandbox) -> Iterator[Path]:
    """The facility file; as it was, afterwards."""
    path = sandbox.folder / "facility.yaml"
    before = path.read_text()
    yield path
    if left := [name for name in ("second", "store") if f"  {name}:" in path.read_text()]:  # of a test that failed
        for name in left:
            subprocess.run(["docker", "rm", "-f", sandbox.container(name)], capture_output=True)
            sandbox.run("node", "remove", name, "--lost", code=None)
        path.write_text(before)
        sandbox.run("up", code=None)


@pytest.fixture(scope="module")
def tilda(sandbox: Sandbox, running: Sandbox, file: Path) -> Person:
    """A member who was there before the node."""
    person = Person.join(sandbox, "tilda", "lab")
    until(lambda: person.try_ssh("true").returncode == 0, 30)
    person.ssh("echo of head > thesis")
    return person


def submit(person: Person, node: str, seconds: int) -> str:
    """Submit a job for the slots of `second` there; its number."""
    text = JOB.format(seconds=seconds, domain=person.sandbox.domain)
    return person.ssh(f"condor_submit -terse - <<'END'\n{text}END\n", node).split(" ")[0]


def test_a_line_more_gives_log_in_homes_and_jobs_there(sandbox: Sandbox, tilda: Person, file: Path) -> None:
    file.write_text(file.read_text().replace(HEAD, LINE + HEAD).replace(SERVICE, STORE + SERVICE))
    sandbox.run("up")
    until(lambda: tilda.try_ssh("true", "second").returncode == 0, 30)
    assert tilda.ssh("cat thesis; id -un", "second").split("\n") == ["of head", "tilda"]
    for row in sandbox.json("check", "accounts.homes"):
        assert "the same on second, head" in row["evidence"] or "folder yet" in row["evidence"], row
    for node in ("head", "second"):
        submit(tilda, node, 0)
        until(lambda: f"second.{sandbox.domain}" in tilda.ssh("cat thesis"), 90)
        tilda.ssh("echo of head > thesis")


def test_what_is_taken_out_of_a_node_is_stopped_there(sandbox: Sandbox, tilda: Person, file: Path) -> None:
    session = tilda.start("echo in; cat", "second")
    assert session.stdout and session.stdout.readline() == "in\n"
    file.write_text(file.read_text().replace(LINE, WORKER))
    refused = sandbox.run("up", code=2).stderr
    assert "nodes.second.runs: no longer has access.login" in refused and "tilda" in refused
    session.communicate("", timeout=90)
    until(lambda: "access.login" not in sandbox.run("up", code=None).stderr, 60)
    assert tilda.try_ssh("true", "second").returncode == 255
    running = sandbox.exec("second", "ps -e -o comm=").split()
    assert "condor_startd" in running and not {"condor_schedd", "condor_credd"} & {*running}
    assert not [row for row in sandbox.json("check", "tokens") if row["node"] == "second"]
    assert sandbox.run("plan").stdout == "nothing would change\n"
    file.write_text(file.read_text().replace(WORKER, LINE))
    sandbox.run("up")
    until(lambda: tilda.try_ssh("true", "second").returncode == 0, 30)


def test_emptied_it_takes_nothing_new_and_ends_what_it_has(sandbox: Sandbox, tilda: Person) -> None:
    number = submit(tilda, "second", 30)
    until(lambda: tilda.ssh(f"condor_q {number} -af JobStatus", "second") == "2", 90)
    again = "printf 'executable = /bin/true\\nqueue\\n' | condor_submit - 2>&1"
    session = tilda.start(f"echo in; read word; {again}; cat", "second")
    assert session.stdout and session.stdout.readline() == "in\n"
    found = sandbox.json("node", "drain", "second")
    told = {row["role"]: row["what"] for row in found["busy"]}
    assert "processes and threads of tilda: " in told["access.login"]
    assert told["batch.access"] == "jobs of tilda in its queue: 1" and told["batch.execute"] == "jobs that run in its slots: 1"
    words = tilda.command("true", "second")
    refused = subprocess.run([*words[:-2], "-o", "LogLevel=INFO", *words[-2:]], capture_output=True, text=True)
    assert refused.returncode == 255 and "second is being emptied: please log in at another node" in refused.stderr
    early = sandbox.run("node", "remove", "second", code=1).stderr
    assert "not empty and stays" in early and "jobs of tilda" in early
    assert "running, drained" in sandbox.run("node", "list").stdout
    sandbox.run("up")  # it stays so
    assert tilda.try_ssh("true", "second").returncode
    said = session.communicate("now\nstill here\n", timeout=90)[0]
    assert "please submit on another node" in said and said.endswith("\nstill here\n")


def test_it_is_removed_when_it_is_empty_and_then_forgotten(sandbox: Sandbox, tilda: Person, file: Path) -> None:
    file.write_text(file.read_text().replace(LINE, ""))
    assert "farmlet node remove second" in sandbox.run("up", code=2).stderr
    assert "no longer in the file" in sandbox.run("plan", code=3).stdout
    said = sandbox.run("node", "remove", "second", "--wait", "5").stdout
    assert "second is out of the facility" in said
    assert tilda.ssh("cat thesis").splitlines() == ["of head", f"second.{sandbox.domain}"], "its job came to its end"
    volumes = subprocess.run(["docker", "volume", "ls", "-q"], capture_output=True, text=True, check=True).stdout.split()
    assert not [name for name in volumes if "-second-" in name]


def test_a_storage_node_more_is_an_element_more(sandbox: Sandbox, tilda: Person, file: Path) -> None:
    here, _ = find(sandbox)
    store = Element(f"store.{sandbox.domain}", here.ca)
    assert sandbox.json("status", code=None)["endpoints"]["storage@store"] == store.url
    assert {row["name"] for row in json.loads(tilda.ssh("cat /etc/farmlet/storage.json"))["elements"]} >= {"head", "store"}
    token = tilda.authorise("storage.read:/ storage.modify:/users/tilda").access_token
    assert here.put("/users/tilda/file", token, b"of head") == 201
    assert store.get("/users/tilda/file", token) == 404, "elements are separate"
    given = {"Source": f"{here.url}/users/tilda/file", "TransferHeaderAuthorization": f"Bearer {token}", "Credential": "none"}
    assert store.ask("COPY", "/users/tilda/file", token, headers=given).copied
    assert store.ask("GET", "/users/tilda/file", token).body == b"of head"
    assert store.put("/users/olga/file", token, b"x") == 403
    only = tilda.authorise("storage.read:/", here.url).access_token
    assert (here.get("/users/tilda/file", only), store.get("/users/tilda/file", only)) == (200, 403), "each has an audience"


def test_a_storage_node_goes_only_when_it_is_lost(sandbox: Sandbox, file: Path) -> None:
    file.write_text(file.read_text().replace(STORE, ""))
    refused = sandbox.run("node", "remove", "store", code=2).stderr
    assert "storage.element has data here and nowhere else: /srv/farmlet/storage" in refused
    subprocess.run(["docker", "rm", "-f", sandbox.container("store")], capture_output=True, check=True)
    sandbox.run("node", "remove", "store", "--lost")
    sandbox.run("up")
    assert "storage@store" not in sandbox.json("status", code=None)["endpoints"]
    assert sandbox.run("plan").stdout == "nothing would change\n"


def test_what_has_data_stays(sandbox: Sandbox) -> None:
    refused = sandbox.run("node", "remove", "head", code=2).stderr
    assert "storage.element has data here and nowhere else: /srv/farmlet/storage" in refused
    assert "accounts.homes has data here and nowhere else: /home, /scratch" in refused
    assert "is the control node" in sandbox.run("node", "remove", "service", code=2).stderr
    assert "is not lost: it runs" in sandbox.run("node", "remove", "head", "--lost", code=2).stderr
