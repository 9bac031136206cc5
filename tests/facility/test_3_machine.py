"""A member's own machine, with the clients of Debian 12 (this host, where it is one) and of Debian 13 (a container from the image
of `head`, which has most of them): each line of docs/howto/user/machine.md, and what it says of the clients' own faults."""

from __future__ import annotations

import re
import secrets
import shlex
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from person import PASSWORD, Person
from sandbox import Sandbox, until

from farmlet.engine.images.sources import python

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "unit" / "docs"))
from commands import CURL, blocks, scripts  # noqa: E402

GUIDE = ROOT / "docs" / "howto" / "user" / "machine.md"
DATA = ROOT / "docs" / "howto" / "user" / "data.md"
MACHINE, AGENT, MCCLI = (f"<!-- run: {kind} -->" for kind in ("machine", "agent", "mccli"))
VARIABLES = 1  # which block
ANALYSIS = "/opt/farmlet/analysis/lib/python3.13/site-packages"  # of the image: pip need not bring them again
pytestmark = [pytest.mark.facility, pytest.mark.usefixtures("running"), pytest.mark.timeout(600)]
# what a person types at a terminal is told here
WRAPPERS = {
    "ssh": 'exec /usr/bin/ssh -F "$SSH_CONFIG" "$@"',
    "scp": 'exec /usr/bin/scp -F "$SSH_CONFIG" "$@"',
    "oidc-gen": 'exec /usr/bin/oidc-gen "$@" --pw-file="$HOME/password" --prompt=none --no-url-call --confirm-default',
    "sudo": 'shift; exec apt-get -qq -y --no-install-recommends "$@"',  # apt
}
# command (after all of the page), exit statuses, words
FAULTS = [
    ("mkdir -p other && xrdcp -r roots://head.farmlet.test//users/ada/machine/run1 other", (54,), "is a directory"),
    ("xrdfs root://head.farmlet.test spaceinfo /users/ada", (51,), "Unable to validate"),
    ("xrdcp --tpc only $folder/run1/one root://tier1.sites.farmlet.test//users/ada/machine/t", (54,), "tpc not supported"),
    ("gfal-copy $folder/run1/one root://tier1.sites.farmlet.test//users/ada/machine/t", (95,), "tpc not supported"),
    ("gfal ls $web/none", (2,), "No such file"),
    ("gfal-ls $web", (1,), "403"),
    ("gfal copy file://$PWD/data.root $web/run1/one", (17,), "exists"),
    ("GFAL_PYTHONBIN=$HOME/fit/bin/python gfal-ls $folder", (1,), "ModuleNotFoundError"),
    ("dav put data.root $web/a && ! dav mv $web/a $web/b && dav get $web/b b && cmp b data.root", (0,), ""),
    ("! dav get $web/none none && test -e none -a ! -s none", (0,), "404"),
    ("dav cp $web/b https://tier1.sites.farmlet.test:8443/users/ada/machine/b", (255,), "403"),
    (
        'dav cp -H "TransferHeaderAuthorization: Bearer $(cat $BEARER_TOKEN_FILE)" $web/b '
        "https://tier1.sites.farmlet.test:8443/users/ada/machine/b",
        (0,),
        "",
    ),
    ("rclone mkdir lab:machine/p/q && rclone purge --retries 1 lab:machine/p", (1,), "405 Method Not Allowed"),
]
DEBIAN_12 = ("X509_CERT_FILE=$SSL_CERT_FILE; unset X509_CERT_DIR; xrdcp -f $folder/run1/one x", (51,), "TLS error")


@dataclass(frozen=True)
class Machine:
    """`prefix`: how a command gets there. `folder` is the home, of the same name on both sides."""

    person: Person
    folder: Path
    prefix: tuple[str, ...]
    packages: str

    def command(self, text: str, *variables: str) -> list[str]:
        text = text.replace("farmlet.test", self.person.sandbox.domain).replace("users/ada", f"users/{self.person.name}")
        given = [f"{name}={value}" for name, value in python().environment.items()]
        given += [f"HOME={self.folder}", f"PATH={self.folder}/bin:/usr/bin:/bin:/usr/sbin", f"PIP_CERT={self.folder}/sources.pem"]
        given += [
            f"OIDC_SOCK={self.folder}/socket",
            f"OIDC_CONFIG_DIR={self.folder}/agent",
            f"SSH_CONFIG={self.person.folder}/ssh_config",
        ]
        shell = ["bash", "-euo", "pipefail", "-c", f"cd {self.folder}\n{text}"]
        return [*self.prefix, "env", "-i", *given, *variables, *shell]

    def run(self, text: str, *variables: str) -> subprocess.CompletedProcess[str]:
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return subprocess.run(self.command(text, *variables), text=True, timeout=300, **pipes)  # type: ignore[call-overload,no-any-return]

    def do(self, text: str, *variables: str) -> str:
        done = self.run(text, *variables)
        assert done.returncode == 0, f"{text}\n{done.stdout}"
        return done.stdout


def is_bookworm() -> bool:
    return "VERSION_CODENAME=bookworm" in Path("/etc/os-release").read_text()


@pytest.fixture(scope="module")
def mabel(sandbox: Sandbox, running: Sandbox) -> Person:
    person = Person.join(sandbox, f"mabel{secrets.token_hex(2)}", "lab")
    until(lambda: person.try_ssh("true").returncode == 0, 30)
    return person


@pytest.fixture(scope="module", params=["debian12", "debian13"])
def machine(request: pytest.FixtureRequest, mabel: Person) -> Iterator[Machine]:
    home = mabel.folder / request.param
    (home / "bin").mkdir(parents=True)
    for name, line in WRAPPERS.items():
        (home / "bin" / name).write_text(f"#!/bin/sh\n{line}\n")
        (home / "bin" / name).chmod(0o755)
    (home / "password").write_text("not told\n")
    (home / "sources.pem").write_bytes(python().bundle)
    if request.param == "debian12":
        if not is_bookworm():
            pytest.skip("this host is no Debian 12")
        yield Machine(mabel, home, (), sysconfig.get_path("purelib"))
        return
    name = mabel.sandbox.container("machine")
    subprocess.run(["docker", "rm", "-f", name], capture_output=True)  # of a run that was killed
    image = ask(["docker", "inspect", "-f", "{{.Config.Image}}", mabel.sandbox.container("head")])
    network = ["--network", f"farmlet-{mabel.sandbox.name}", "--volume", "/etc/hosts:/etc/hosts:ro"]
    volume = ["--volume", f"{mabel.folder}:{mabel.folder}"]
    ask(["docker", "run", "--detach", "--init", "--name", name, *network, *volume, "--entrypoint", "sleep", image, "3600"])
    try:
        made = Machine(mabel, home, ("docker", "exec", name), ANALYSIS)
        made.do(f"apt-get -qq update && {scripts(GUIDE)[0]}")
        yield made
    finally:
        subprocess.run(["docker", "rm", "-f", name], capture_output=True)


def ask(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout.strip()


@pytest.fixture(scope="module")
def evening(machine: Machine) -> str:
    """All of the page in one shell, as a person would type it; what it said. Files `fault.N` and `code.N` are of `FAULTS`."""
    given = "mkdir -p run1/sub; echo 1 > run1/one; echo 2 > run1/sub/two; head -c 3000000 /dev/urandom > data.root"
    first, second, *rest = blocks(GUIDE, MACHINE)
    lines = [
        given,
        first,
        "cat sources.pem >> authorities/all.pem",  # where pip's index has an authority of its own
        second,
        *blocks(GUIDE, AGENT),
        *rest,
        "cmp data.root copy.root; cmp run1/one copy.txt; diff -r run1 back/run1",
    ]
    lines += [
        *blocks(DATA, CURL),
        "echo all well",
        "set +e",
        *(f"( {one[0]}\n) > fault.{at} 2>&1; echo $? > code.{at}" for at, one in enumerate(faults(machine))),
    ]
    path = machine.folder / "said"
    with path.open("w") as said:
        command = machine.command("\n".join([*lines, "kill $OIDCD_PID"]), f"PYTHONPATH={machine.packages}")
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
    try:
        machine.person.browser.allow(wait_for_page(machine, process, path), machine.person.name, PASSWORD)
        process.wait(300)
    finally:
        process.kill()
        process.wait()
    return path.read_text()


def faults(machine: Machine) -> list[tuple[str, tuple[int, ...], str]]:
    return [*FAULTS, *([] if machine.prefix else [DEBIAN_12])]


def wait_for_page(machine: Machine, process: subprocess.Popen[bytes], path: Path) -> str:
    """The address at which oidc-agent's request is allowed."""
    deadline = time.monotonic() + 90
    while not (found := re.search(r"enter the code:\s*(\S+)", path.read_text())):
        assert process.poll() is None and time.monotonic() < deadline, path.read_text()
        time.sleep(0.2)
    return f"{machine.person.issuer}/device/?user_code={found[1]}"


def test_each_line_of_the_page(machine: Machine, evening: str) -> None:
    assert "\nall well\n" in evening, evening
    assert evening.count("x: [1, 2, 3]") + evening.count("x: 1}") >= 2, evening


def test_what_is_said_of_faults_is_so(machine: Machine, evening: str) -> None:
    """One that is mended upstream can leave the page."""
    wrong = []
    for at, (command, codes, words) in enumerate(faults(machine)):
        code, said = (machine.folder / f"code.{at}").read_text(), (machine.folder / f"fault.{at}").read_text()
        if int(code) not in codes or words not in said:
            wrong.append(f"{command}: {code}{said}")
    assert not wrong, "\n".join(wrong)


def test_the_page_names_all_packages(machine: Machine) -> None:
    words = shlex.split(scripts(GUIDE)[0])
    assert words[:3] == ["sudo", "apt", "install"]
    machine.do(f"dpkg --status {' '.join(words[3:])} > /dev/null")


def test_mccli(machine: Machine, evening: str) -> None:
    """Of Debian 12 in test_3_motley.py."""
    if not machine.prefix:
        return
    audience = f"ssh_head.{machine.person.sandbox.domain}"
    token = machine.folder / "ssh.token"
    token.write_text(machine.person.authorise("openid", audience).access_token)
    known = machine.folder / "known_config"
    known.write_text(f"Host *\n  UserKnownHostsFile {machine.person.folder}/known_hosts\n  GlobalKnownHostsFile none\n")
    trust = f"{blocks(GUIDE, MACHINE)[VARIABLES]}\nexport SSH_CONFIG={known} ACCESS_TOKEN=$(cat {token})\n"
    said = machine.do(trust + blocks(GUIDE, MCCLI)[0])
    assert f"({machine.person.name})" in said and "UNVERIFIED" not in said
    said = machine.run(f"{trust}unset SSL_CERT_FILE\n~/mccli/bin/mccli ssh head.farmlet.test id").stdout
    assert "UNVERIFIED" in said and f"({machine.person.name})" in said
    assert "Issuer is not trusted" in machine.run(f"{trust}~/mccli/bin/mccli info head.farmlet.test").stdout
