"""`farmlet node exec` through a real sshd, as a person and as a script use it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from farmlet.engine.store import Store
from waiting import find_port, until

pytestmark = [pytest.mark.service, pytest.mark.skipif(os.getuid() != 0, reason="root logs in on the loopback")]

FILE = """\
farmlet: 1
facility: {{name: tiny, domain: tiny.test}}
nodes:
  head: {{connect: ssh, address: 127.0.0.1, port: {port}, host_key: {key}, runs: [access, batch, software, storage]}}
  away: {{connect: ssh, address: 127.0.0.1, port: 1, host_key: {key}, runs: [identity, accounts, tokens]}}
groups:
  tiny: {{login: true}}
"""


@pytest.fixture(scope="module")
def facility(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a facility that is up as far as this command sees: `head` is an sshd on the loopback."""
    folder = tmp_path_factory.mktemp("exec")
    store = Store(folder, "tiny")
    store.ensure()
    store.ensure_key()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "host")], check=True)
    port = find_port()
    key = " ".join((folder / "host.pub").read_text().split()[:2])
    (folder / "facility.yaml").write_text(FILE.format(port=port, key=key))
    store.known.write_text(f"[127.0.0.1]:{port} {key}\n")
    (folder / "config").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {folder}/host\nPidFile none\nStrictModes no\nUsePAM no\n"
        f"AuthorizedKeysFile {store.key}.pub\nPermitRootLogin prohibit-password\nPasswordAuthentication no\n"
    )
    server = ["/usr/sbin/sshd", "-D", "-f", str(folder / "config"), "-E", str(folder / "log")]
    command = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs none /run && mkdir /run/sshd && exec "$@"', "sh", *server]
    with subprocess.Popen(command) as process:
        until(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0)
        yield folder
        process.terminate()


def runs(pid: str) -> bool:
    """Whether it does, and is not only waiting to be asked how it ended."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def start(folder: Path, *words: str, text: str = "") -> subprocess.Popen[str]:
    # a test run in the background ignores interrupts, and so would what it starts
    return subprocess.Popen(
        [sys.executable, "-m", "farmlet.cli.main", "node", "exec", *words], cwd=folder, start_new_session=True, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip


def run(folder: Path, *words: str, text: str = "") -> tuple[int, str, str]:
    process = start(folder, *words)
    out, err = process.communicate(text, timeout=60)
    return process.returncode, out, err


def test_its_exit_status_is_the_commands(facility: Path) -> None:
    assert run(facility, "head", "--", "sh", "-c", "echo out; echo err >&2; exit 7") == (7, "out\n", "err\n")
    assert run(facility, "head", "--", "true") == (0, "", "")
    code, _, err = run(facility, "head", "--", "no-such-command")
    assert code == 127 and "no-such-command" in err


def test_it_reads_what_is_given_to_it(facility: Path) -> None:
    assert run(facility, "head", "--", "cat", text="price $5\n") == (0, "price $5\n", "")


def test_as_json(facility: Path) -> None:
    code, out, _ = run(facility, "--json", "head", "--", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert code == 3 and json.loads(out) == {"node": "head", "code": 3, "output": "out\n", "errors": "err\n"}


def test_what_looks_like_an_option_is_the_commands(facility: Path) -> None:
    assert run(facility, "head", "echo", "--json", "-v") == (0, "--json -v\n", "")


def test_a_node_that_does_not_answer_is_called_by_its_name(facility: Path) -> None:
    code, out, err = run(facility, "away", "--", "true")
    assert code == 1 and out == "" and "node away: " in err
    code, out, _ = run(facility, "--json", "away", "--", "true")
    assert code == 1 and json.loads(out)["errors"][0]["where"] == "node away"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_the_command_there(facility: Path, tmp_path: Path, number: signal.Signals) -> None:
    """With all it started, however stubborn."""
    made = tmp_path / "pids"
    script = f'trap "" INT TERM; sleep 300 & echo $! > {made}.new; echo $$ >> {made}.new; mv {made}.new {made}; wait; sleep 300'
    process = start(facility, "head", "--", "sh", "-c", script)
    until(made.exists)
    os.killpg(process.pid, number)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert [pid for pid in made.read_text().split() if runs(pid)] == []
