"""A log-in by certificate beside one by `mccli` and motley-cue, on the same node; how soon new members and changes are felt.

In a sandbox of its own, in a temporary folder. Rounds of both ways are interleaved. Clocks are one machine's, and so are
clients and servers.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from record import ROOT, farmlet, record, timed

sys.path.insert(0, str(ROOT / "tests" / "facility"))
from person import PASSWORD, Person
from sandbox import Sandbox
from test_3_motley import VERSION, Client, read_claims

from farmlet.facility.load import default_text

ROUNDS, REPEATS, CROWD = 15, 20, 100
DOMAIN = "bench.test"


def wait(holds: Callable[[], bool], seconds: float = 60) -> float:
    """Seconds until it holds."""
    began = time.monotonic()
    while not holds():
        if time.monotonic() - began > seconds:
            raise SystemExit(f"not within {seconds} s")
        time.sleep(0.05)
    return time.monotonic() - began


def compare(person: Person, client: Client) -> None:
    """One log-in by each way after another; the token is there already, as the certificate is."""
    token = client.token()
    person.ssh("true"), client.run(token, "true")
    own, theirs = [], []
    for _ in range(ROUNDS):
        own.append(timed(lambda: person.ssh("true")))
        theirs.append(timed(lambda: client.run(token, "true")))
    record("log-in by certificate", "reported", "s", own, "ssh HOST true, from its start to its end")
    note = f"mccli {VERSION} ssh HOST true, its token given; motley-cue's answers are warm"
    record("log-in by mccli and motley-cue", "peer", "s", theirs, note)
    ratios = [one / other for one, other in zip(own, theirs, strict=True)]
    record("log-in by certificate ÷ by mccli", "≤ 0.5", "×", ratios, "of rounds that ran one after the other")


def crowd(person: Person) -> None:
    """Many at once, of one address: the clients as they are, and with an exchange of keys that costs them little.

    A client of Debian 12 works 0.15 s at its half of the post-quantum exchange. Real ones do it on machines of their own.
    """
    late, note = burst(person), "none failed; the clients run on the same cores"
    record(f"{CROWD} log-ins at once, 95th percentile, clients included", "reported", "s", [late], note)
    (person.folder / "ssh_config").open("a").write("  KexAlgorithms curve25519-sha256\n")
    late, note = burst(person), f"{note}, with a cheap exchange of keys (curve25519)"
    record(f"{CROWD} log-ins at once, 95th percentile", "≤ 10 s", "s", [late], note)


def burst(person: Person) -> float:
    """Seconds until 95 of 100 were in and out again."""
    started = time.monotonic()
    processes, ends = [person.start("true") for _ in range(CROWD)], dict[int, float]()
    while len(ends) < CROWD:
        for number, process in enumerate(processes):
            if number not in ends and process.poll() is not None:
                ends[number] = time.monotonic() - started
        time.sleep(0.02)
    if any(process.returncode for process in processes):
        raise SystemExit("log-ins failed")
    return sorted(ends.values())[CROWD * 95 // 100 - 1]


def welcome(sandbox: Sandbox, old: Person, mccli: Path) -> None:
    """Members nobody knew before, REPEATS times by each way: from the admin's word until they are in."""
    own, theirs = [], []
    for _ in range(REPEATS):
        person, join = register(sandbox, old)
        began = time.monotonic()
        person.browser.join(join, person.name, PASSWORD)
        person.take_certificate()
        wait(lambda person=person: person.try_ssh("true").returncode == 0)
        own.append(time.monotonic() - began)
        person, join = register(sandbox, old)
        began = time.monotonic()
        person.browser.join(join, person.name, PASSWORD)
        client, token = Client(person, mccli), Client(person, mccli).token()
        wait(lambda client=client, token=token: client.enters(token))
        theirs.append(time.monotonic() - began)
    note = "from the end of `farmlet user add`: joining by the link, device flow{} and log-in; 90th percentile {:.2f} s"
    record("approved → log-in works", "≤ 5 s (p90)", "s", own, note.format(", certificate", worst(own)))
    record("approved → log-in by mccli works", "≤ 5 s (p90)", "s", theirs, note.format("", worst(theirs)))


def register(sandbox: Sandbox, old: Person) -> tuple[Person, str]:
    """A person whom the admin has just approved, at a machine that knows the facility as that of `old` does; and their link."""
    name = f"new{secrets.token_hex(4)}"
    person = Person(sandbox, name, sandbox.folder / "people" / name, sleep=time.sleep)
    person.folder.mkdir(parents=True)
    shutil.copy(old.folder / "known_hosts", person.folder)
    return person, sandbox.json("user", "add", name, "--group", "lab")["join"]


def follow(sandbox: Sandbox, person: Person) -> None:
    """Suspended and back, REPEATS times: what a member feels, seen by trying again and again."""
    refused, back = [], []
    for _ in range(REPEATS):
        sandbox.run("user", "suspend", person.name)
        refused.append(wait(lambda: person.try_ssh("true").returncode == 255))
        sandbox.run("user", "resume", person.name)
        back.append(wait(lambda: person.try_ssh("true").returncode == 0))
    note = "from the end of the command to the first log-in that {}; a try takes as long as a log-in"
    record("suspended → log-in refused", "≤ 10 s", "s", refused, note.format("fails"))
    record("active → log-in works", "≤ 5 s (p90)", "s", back, note.format("works"))


def follow_by_token(sandbox: Sandbox, client: Client) -> None:
    """Back again, REPEATS times: until `mccli` lets the member in, with a token that is got only then."""
    seconds = []
    for _ in range(REPEATS):
        sandbox.run("user", "suspend", client.person.name)
        sandbox.run("user", "resume", client.person.name)
        began = time.monotonic()
        token = client.token()
        wait(lambda token=token: client.enters(token))
        seconds.append(time.monotonic() - began)
    note = f"as above, by `mccli`: token by device flow and log-in included; 90th percentile {worst(seconds):.2f} s"
    record("active → log-in by mccli works", "≤ 5 s (p90)", "s", seconds, note)


def follow_groups(sandbox: Sandbox, person: Person) -> None:
    """Into a group and out of it, REPEATS times: until the node, the accounting groups and the next token say so."""
    look = ["docker", "exec", sandbox.container("head"), "sh", "-c"]
    look += [f"id -Gn {person.name}; grep '^[*] *{person.name} ' /etc/condor/farmlet-groups.map"]
    tokens, seconds = person.authorise("openid wlcg.groups offline_access"), []

    def has(there: bool) -> bool:
        nonlocal tokens
        said = subprocess.run(look, capture_output=True, text=True).stdout
        if {"lab-production" in said, "lab_production" in said} != {there}:
            return False
        tokens = person.refresh(tokens)
        return ("/lab/production" in str(read_claims(tokens.access_token)["wlcg.groups"])) is there

    for number in range(REPEATS):
        sandbox.run("user", "leave" if number % 2 else "join", person.name, "--group", "lab/production")
        seconds.append(wait(lambda there=not number % 2: has(there)))
    note = "from the end of the command until `id` on the node, HTCondor's map of groups and a refreshed token agree; "
    record("group joined or left → everywhere", "≤ 5 s (p90)", "s", seconds, f"{note}90th percentile {worst(seconds):.2f} s")


def worst(seconds: list[float]) -> float:
    """The 90th percentile."""
    return sorted(seconds)[len(seconds) * 9 // 10 - 1]


@contextmanager
def facility() -> Iterator[Sandbox]:
    """A sandbox of its own, up; or that of the folder $FARMLET_SANDBOX, which stays, for work on single figures."""
    if there := os.environ.get("FARMLET_SANDBOX"):
        names = json.loads(farmlet("validate", "--json", folder=Path(there)))
        yield Sandbox(Path(there), names["name"], names["domain"])
        return
    with tempfile.TemporaryDirectory(prefix="farmlet-bench-") as name:
        folder = Path(name)
        text = default_text().replace("name: lab ", "name: bench ").replace("domain: farmlet.test", f"domain: {DOMAIN}")
        (folder / "facility.yaml").write_text(text)
        try:
            farmlet("up", folder=folder)
            yield Sandbox(folder, "bench", DOMAIN)
        finally:
            farmlet("down", "--purge", folder=folder)


@contextmanager
def fetch_mccli() -> Iterator[Path]:
    """The program, as it is on PyPI, in an environment of its own."""
    with tempfile.TemporaryDirectory(prefix="farmlet-mccli-") as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([f"{folder}/bin/pip", "install", "--quiet", f"mccli=={VERSION}"], check=True)
        yield Path(folder) / "bin" / "mccli"


def main() -> None:
    with fetch_mccli() as mccli, facility() as sandbox:
        person = Person.join(sandbox, f"grace{secrets.token_hex(2)}", "lab")
        wait(lambda: person.try_ssh("true").returncode == 0)
        client = Client(person, mccli)
        compare(person, client)
        crowd(person)
        welcome(sandbox, person, mccli)
        follow(sandbox, person)
        follow_by_token(sandbox, client)
        follow_groups(sandbox, person)


if __name__ == "__main__":
    main()
