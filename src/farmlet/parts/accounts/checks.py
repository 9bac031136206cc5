"""What must hold of directory, daemon and client. Standard library only."""

from __future__ import annotations

import json
import pwd
import random
import shutil
import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from farmlet.facility.places import USAGE
from farmlet.facility.sizes import show
from farmlet.parts.accounts.homes.homes import NODES, open_place
from farmlet.parts.accounts.homes.keeping import HIDDEN, SHARED
from farmlet.runtime.checks import TIMEOUT, Failed
from farmlet.runtime.disk.project import Project
from farmlet.runtime.rows import read

# StartTLS (RFC 4511 §4.14): message 1, extendedReq with its OID; the good answer has resultCode 0
START = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037"
STARTED = b"\x0a\x01\x00"
PASS_SECONDS = 900.0  # the daemon looks at everything every five minutes, and needs less than one for 10 000 members
ASKED = 50  # the newest accounts that a check asks for, and as many of the others: each is a search in the directory


def check_tls(host: str, ca: str, port: int = 636, start: bool = False) -> str:
    """The directory answers by TLS, with a certificate for its name that the authority `ca` vouches for.

    `ca`: PEM file, "" for the system's authorities. `start`: the port is plain, and TLS is asked for.
    """
    context = ssl.create_default_context(cafile=ca or None)
    try:
        with (
            socket.create_connection((host, port), timeout=TIMEOUT) as raw,
            _begin(raw, start) as plain,
            context.wrap_socket(plain, server_hostname=host) as connection,
        ):
            version = connection.version()
    except OSError as error:
        raise Failed(f"{host}:{port}: {error}") from error
    return f"{host}:{port} speaks {version}"


@contextmanager
def _begin(raw: socket.socket, start: bool) -> Iterator[socket.socket]:
    if start:
        raw.sendall(START)
        if STARTED not in raw.recv(4096):
            raise OSError("the directory refuses StartTLS")
    yield raw


def check_listing(path: str, seconds: float) -> str:
    """The daemon has written its list of accounts, and the directory holds the active ones of them: the newest and some others,
    each time other ones, are asked for.
    """
    try:
        accounts = [(row["uid"], row["name"], row["state"]) for row in read(Path(path).read_bytes())]
        age = time.time() - Path(path).stat().st_mtime
    except (OSError, ValueError) as error:
        raise Failed(f"{path}: {error}") from error
    active = [name for _, name, state in sorted(accounts, reverse=True) if state == "active"]
    missing = [name for name in _choose(active) if not _known(name)]
    if missing and age > seconds:  # sssd may need a moment with a new one
        raise Failed(f"the directory does not know {', '.join(missing[:5])}")
    return f"{len(accounts)} accounts"


def _choose(names: Sequence[str]) -> list[str]:
    rest = names[ASKED:]
    return [*names[:ASKED], *random.sample(rest, min(ASKED, len(rest)))]


def _known(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def check_secret(path: str, user: str, client: str, issuer: str) -> str:
    """The secret of our client at an external issuer is where the daemon, which is `user`, reads it, and nobody else can."""
    return _check_place(path, user, f"the secret of the client {client} of {issuer}")


def check_password(path: str, user: str, whose: str, where: str) -> str:
    """The password of our account in an existing directory is where the daemon reads it, and nobody else can."""
    return _check_place(path, user, f"the password of {whose} at {where}")


def _check_place(path: str, user: str, what: str) -> str:
    place = Path(path)
    if not place.is_file() or not place.read_text().strip():
        raise Failed(f"{path} is missing or empty: put {what} there")
    if place.group() != user or place.stat().st_mode & 0o777 != 0o640:
        raise Failed(f"{path} is not for {user} alone: chown root:{user} {path}; chmod 640 {path}")
    return f"{path} holds {what}"


def check_record(path: str, seconds: float) -> str:
    """The members of an external issuer were read within the last `seconds`."""
    try:
        found = json.loads(Path(path).read_text())
        issuer, count, age = found["issuer"], len(found["members"]), time.time() - found["at"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Failed(f"no members were read yet ({error}): journalctl -u farmlet-accounts") from error
    if age > seconds:
        raise Failed(
            f"{issuer} was last read {age:.0f} s ago, the members known then still count: journalctl -u farmlet-accounts"
        )
    return f"{count} members of {issuer}, read {age:.0f} s ago"


def check_faults(path: str) -> str:
    """At its last pass, PASS_SECONDS ago at most, the daemon could do for every member what was to be done."""
    try:
        faults = list(map(str, json.loads(Path(path).read_text())))
        age = time.time() - Path(path).stat().st_mtime
    except (OSError, ValueError, TypeError) as error:
        raise Failed(f"the daemon has not finished a pass ({error}): journalctl -u farmlet-accounts") from error
    if faults:
        raise Failed(
            "; ".join(fault.replace("\n", " ") for fault in faults[:3]) + (f"; {len(faults) - 3} more" if faults[3:] else "")
        )
    if age > PASS_SECONDS:
        raise Failed(f"the daemon has not finished a pass for {age:.0f} s: journalctl -u farmlet-accounts")
    return "nothing is in the way of any account"


def check_names() -> str:
    """The node asks sssd for accounts and groups."""
    lines = [line.partition("#")[0].partition(":") for line in Path("/etc/nsswitch.conf").read_text().splitlines()]
    sources = {name.strip(): words.split() for name, _, words in lines}
    missing = [name for name in ("passwd", "group") if "sss" not in sources.get(name, ())]
    if missing:
        raise Failed(f"/etc/nsswitch.conf does not name sss for {' and '.join(missing)}")
    return "accounts and groups are asked of sssd"


def check_homes(
    folder: str, kind: str, nodes: Sequence[str] = (), usage: str = USAGE, percent: int = 2, logins: bool = True
) -> str:
    """There is room for what members write: their disk has more than `percent` left; all of `nodes` have the same folders.

    The limits, if there are any, hold against members who would get round them; `logins`: whether they log in to this node.
    Tells of limits and of the archive.
    """
    if not Path(folder).is_dir():
        return f"nobody has a {kind} folder yet"
    if apart := sorted(set(nodes) - {path.name for path in Path(folder, NODES).glob("*")}):
        raise Failed(f"{', '.join(apart)} and this node each have a {folder} of their own: mount one file server on all of them")
    place, disk = open_place(folder, 0, 0), shutil.disk_usage(folder)
    told = f"{folder}: {show(disk.free)} free of {show(disk.total)}"
    if disk.free * 100 <= disk.total * percent:
        raise Failed(f"{told}: it is full, for everybody")
    lines = Path(usage).read_text().splitlines() if Path(usage).exists() else []
    mine = [words for name, own, words in (line.split(" ", 2) for line in lines) if own == kind]
    hidden = mine.count(HIDDEN)
    limited = sum(1 for words in mine if not words.endswith((SHARED, HIDDEN)))
    if limited and logins and type(place.quotas) is Project:
        raise Failed(f"{told}; members can get round its limits, by changing the project of files: mount it with usrquota too")
    archived = len(list(place.archive.iterdir())) if place.archive.is_dir() else 0
    shared = f"; the same on {', '.join(nodes)}" if len(nodes) > 1 else ""
    over = f"; {hidden} cannot be looked at, where something is mounted over them" if hidden else ""
    return f"{told}; {limited} of {len(mine)} members have limits ({place.quotas.name}); {archived} in the archive{shared}{over}"


def check_mount(source: str, folder: str, mounts: str = "/proc/self/mountinfo") -> str:
    """`folder` is mounted from `source` (HOST:PATH) by NFS, and answers; tells how much is free."""
    try:
        disk = shutil.disk_usage(folder)  # mounts it
    except OSError as error:
        raise Failed(f"{folder} cannot be reached on {source}: {error.strerror}") from error
    lines = [line.partition(" - ") for line in Path(mounts).read_text().splitlines()]
    found = [there.split(" ")[1] for line, _, there in lines if line.split(" ")[4] == folder and there.startswith("nfs4 ")]
    if found != [source]:
        raise Failed(
            f"{folder} is {', '.join(found) or 'of this node'}, and should be {source}: log out all members and `farmlet up`"
        )
    return f"{folder} is {source}: {show(disk.free)} free of {show(disk.total)}"


SYSTEM = ("/", "/etc", "/opt", "/root", "/usr", "/var")  # what is no members' business on a node that serves their homes


def check_own(folders: Sequence[str], mounts: str = "/proc/self/mountinfo") -> str:
    """Each of the folders, which other nodes mount, is a file system apart from the node's own; none other is to be served."""
    rows = [line.split(" ") for line in Path(mounts).read_text().splitlines()]
    mounted = {row[4]: row[2] for row in rows}  # of several at one place the last is on top
    system = {mounted.get(place) for place in SYSTEM}  # None among them: a folder that is not mounted at all
    shared = [folder for folder in folders if mounted.get(folder) in system | {None}]
    if shared:
        raise Failed(f"{' and '.join(shared)}: no file system of its own: mount it (`farmlet up` tells why), then exportfs -ra")
    return f"{' and '.join(folders)}: mounted, and apart from the node's own"
