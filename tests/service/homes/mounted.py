"""Homes that another node keeps, over NFSv4: run by test_kernel.py inside its machine, where the kernel can serve and mount.

The server's folders are /homes, which is /ext4/homes mounted there, and /scratch, a file system; files and options are those
that Farmlet writes for the two nodes; /head/... is where the log-in node has them. Both nodes are this one.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from farmlet.parts.accounts import checks
from farmlet.parts.accounts.homes import homes, keeping
from farmlet.runtime.checks import Failed
from farmlet.runtime.disk.project import ATTRIBUTES, SETXATTR

MIB = 1 << 20
PLACES = {"home": (Path("/homes"), Path("/head/homes")), "scratch": (Path("/scratch"), Path("/head/scratch"))}
SERVER, CLIENT = ([str(pair[number]) for pair in PLACES.values()] for number in (0, 1))
ADA, BOB = 20001, 20002
GROUPS = range(30001, 30021)  # of ada: more than a client can name


def row(name: str, uid: int) -> dict[str, Any]:
    space = {"home": 20 * MIB, "scratch": 30 * MIB}
    return {"name": name, "uid": uid, "gid": uid, "state": "active", "login": True, "space": space, "left": 0}


ROWS = json.dumps([row("ada", ADA), row("bob", BOB)]).encode()


@pytest.fixture(scope="module", autouse=True)
def served() -> None:
    """What the server's agent does."""
    homes.apply(ROWS, SERVER[0], SERVER[1], "files", first_uid=20000, flush=False, logins=False)


def as_member(uid: int, action: Callable[[], object], groups: list[int] | None = None) -> str:
    """Do it as a member; "" or the name of the error it ended with."""
    reading, writing = os.pipe()
    if not (child := os.fork()):
        os.setgroups(groups or [])
        os.setgid(uid), os.setuid(uid)
        try:
            action()
        except OSError as error:
            os.write(writing, type(error).__name__.encode() + f" {error.errno} {error.strerror}".encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading) as stream:
        return stream.read()


def look(folder: Path) -> list[Path]:
    return list(folder.iterdir())


def fill(path: Path, size: int) -> None:
    with path.open("wb", buffering=0) as stream:
        for _ in range(size // MIB):
            stream.write(os.urandom(MIB))
            os.fsync(stream.fileno())


@pytest.mark.parametrize("kind", PLACES)
def test_members_write_up_to_their_limit(kind: str) -> None:
    there, here = (folder / "ada" for folder in PLACES[kind])
    assert as_member(ADA, lambda: fill(here / "data", 5 * MIB)) == ""
    assert (there / "data").stat().st_uid == ADA and (there / "data").stat().st_size == 5 * MIB
    said = as_member(ADA, lambda: fill(here / "more", 60 * MIB))
    assert "Disk quota exceeded" in said or "No space left on device" in said
    assert as_member(ADA, (here / "more").unlink) == ""


def test_members_move_nothing_into_another_project() -> None:
    """So projects bind where nobody logs in to the server."""

    def charge() -> None:
        number = os.open(Path(CLIENT[0], "ada"), os.O_RDONLY)
        fcntl.ioctl(number, SETXATTR, ATTRIBUTES.pack(0, 0, 0, 0, 0))

    said = as_member(ADA, charge)
    assert said.startswith((f"OSError {errno.ENOTTY} ", f"OSError {errno.EOPNOTSUPP} ")), said


def test_log_in_tells_use_and_limit(tmp_path: Path) -> None:
    assert as_member(BOB, lambda: fill(Path(CLIENT[0], "bob", "data"), 10 * MIB)) == ""
    time.sleep(4)  # for as long a client keeps what it knew of a folder
    keeping.look(ROWS, CLIENT[0], CLIENT[1], str(tmp_path / "usage"))
    told = dict(line.split(" ", 2)[::2] for line in (tmp_path / "usage").read_text().splitlines() if " home " in line)
    assert told["bob"].startswith("10M of 20M used, 50 %"), told


def test_members_see_nothing_of_each_other_and_root_of_a_log_in_node_is_nobody() -> None:
    assert as_member(BOB, lambda: look(Path(CLIENT[0], "ada"))).startswith("PermissionError")
    for action in (lambda: look(Path(CLIENT[0], "ada")), lambda: Path(CLIENT[0], "made").mkdir()):
        with pytest.raises(PermissionError):
            action()
    assert as_member(ADA, lambda: os.chown(Path(CLIENT[0], "ada", "data"), BOB, BOB)).startswith("PermissionError")


def test_all_groups_of_a_member_count_not_only_sixteen() -> None:
    common = Path(SERVER[0], "common")
    common.mkdir(mode=0o750)
    os.chown(common, 0, GROUPS[-1])
    assert as_member(ADA, lambda: look(Path(CLIENT[0], "common")), [*GROUPS]) == ""
    assert as_member(BOB, lambda: look(Path(CLIENT[0], "common")), [*GROUPS]).startswith("PermissionError"), (
        "the server knows whose groups these are"
    )


def test_the_check_sees_the_mount() -> None:
    source = f"files.farmlet.test:{SERVER[0]}"
    assert source in checks.check_mount(source, CLIENT[0])


def test_programs_of_others_get_no_rights_by_a_setuid_bit() -> None:
    program = Path(SERVER[0], "bob", "id")
    program.write_bytes(Path("/usr/bin/id").read_bytes())
    program.chmod(0o4755)
    Path(SERVER[0], "bob").chmod(0o755)
    said = subprocess.run(
        ["setpriv", f"--reuid={ADA}", f"--regid={ADA}", "--clear-groups", str(Path(CLIENT[0], "bob", "id")), "-u"],
        capture_output=True,
        text=True,
    )
    assert said.stdout.strip() == str(ADA), said.stderr


def test_who_writes_while_the_server_is_away_waits_and_loses_nothing() -> None:
    path = Path(CLIENT[0], "ada", "patient")
    subprocess.run(["rpc.nfsd", "0"], check=True)
    script = f"import os; f = open({str(path)!r}, 'wb'); f.write(b'all'); f.flush(); os.fsync(f.fileno())"
    words = ["setpriv", f"--reuid={ADA}", f"--regid={ADA}", "--clear-groups", sys.executable, "-c", script]
    with subprocess.Popen(words) as writer:
        timer = threading.Timer(5, lambda: subprocess.run(["rpc.nfsd", "4"], check=True))
        timer.start()
        time.sleep(3)
        assert writer.poll() is None, "it waits"
        assert writer.wait(timeout=200) == 0
    assert Path(SERVER[0], "ada", "patient").read_bytes() == b"all"


def test_nothing_listens_but_nfs() -> None:
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path("/proc/net", name).read_text().splitlines()[1:]]
    assert {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == "0A"} == {2049}


def test_strangers_are_let_in_nowhere() -> None:
    """From an address that belongs to no node, though the server is reached by it."""
    words = ["ip", "netns", "exec", "stranger", "mount", "-t", "nfs4", "-o", "nfsvers=4.2,soft,timeo=50,retrans=1"]
    done = subprocess.run([*words, f"10.9.0.1:{SERVER[0]}", "/mnt"], capture_output=True, text=True)
    assert (done.returncode and "denied" in done.stderr) or "No such file" in done.stderr, done.stderr


def test_a_folder_that_is_no_file_system_of_its_own_is_not_served() -> None:
    """/ext4/plain is exported to this very node, in the words of the others."""
    words = ["mount", "-t", "nfs4", "-o", "nfsvers=4.2,soft,timeo=50,retrans=1", "files.farmlet.test:/ext4/plain", "/mnt"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode and ("denied" in done.stderr or "No such file" in done.stderr), done.stderr


def test_what_up_asks_and_the_check_know_file_systems_of_their_own() -> None:
    for script, folder in zip(json.loads(Path("/opt/own.json").read_text()), SERVER, strict=True):
        assert subprocess.run(["bash", "-ec", script]).returncode == 0, folder
        for other in ("/ext4/plain", "/", "/nothing"):
            assert subprocess.run(["bash", "-ec", script.replace(f"-M {folder} ", f"-M {other} ")]).returncode, other
    assert checks.check_own(SERVER).startswith("/homes and /scratch: mounted")
    with pytest.raises(Failed, match="/ext4/plain: no file system of its own"):
        checks.check_own([*SERVER, "/ext4/plain"])
