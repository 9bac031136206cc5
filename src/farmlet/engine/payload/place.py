"""Runs ON a node (standard library only), for `steps.py` beside it: puts files, directories, keys and certificates in place.

Run by itself it makes the keys that certificates on its standard input (JSON) lack, and prints the requests for them.
Whatever is written is written beside its target and renamed over it.
"""

import grp
import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from typing import Any

HERE = os.path.dirname(os.path.abspath(sys.argv[0]))
STAMPS = os.environ.get("FARMLET_STAMPS", "/var/lib/farmlet/stamps.json")
COMMON_NAME = 64  # characters a certificate's common name may have (RFC 5280, ub-common-name)


def write(path: str, data: bytes, mode: int, owner: str = "root", group: str = "root") -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = path + ".farmlet-new"
    # the folder may belong to a service: what was planted there is removed, never followed
    if os.path.lexists(temporary):
        os.remove(temporary)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with os.fdopen(os.open(temporary, flags, 0o600), "wb") as handle:
        handle.write(data)
        handle.flush()
        give(handle.fileno(), mode, owner, group)
        os.fsync(handle.fileno())
    os.replace(temporary, path)
    folder = os.open(os.path.dirname(path), os.O_RDONLY)
    try:
        os.fsync(folder)  # or a power failure takes the new name back, while the stamp says that it is there
    finally:
        os.close(folder)


def give(handle: int, mode: int, owner: str, group: str) -> None:
    """Owner first: a change of owner takes special mode bits away."""
    os.fchown(handle, pwd.getpwnam(owner).pw_uid, grp.getgrnam(group).gr_gid)
    os.fchmod(handle, mode)


def attribute(path: str, mode: int, owner: str, group: str, flags: int = 0) -> None:
    """Set mode and owner of what is there; a link is refused, or root would give away what it points to."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | flags)
    try:
        if not flags and os.fstat(handle).st_nlink > 1:
            raise OSError("%s has another name too; its owner is not changed" % path)
        give(handle, mode, owner, group)
    finally:
        os.close(handle)


def blob(name: str) -> bytes:
    with open(os.path.join(HERE, name), "rb") as handle:
        return handle.read()


def directory(item: "dict[str, Any]") -> None:
    os.makedirs(item["path"], exist_ok=True)
    attribute(item["path"], item["mode"], item["owner"], item["group"], os.O_DIRECTORY)


def file(item: "dict[str, Any]") -> None:
    write(item["path"], blob(item["blob"]), item["mode"], item["owner"], item["group"])


def absent(item: "dict[str, Any]") -> None:
    if os.path.isdir(item["path"]) and not os.path.islink(item["path"]):
        shutil.rmtree(item["path"])
    elif os.path.lexists(item["path"]):
        os.remove(item["path"])


def random(item: "dict[str, Any]") -> None:
    if os.path.lexists(item["path"]):
        attribute(item["path"], item["mode"], item["owner"], item["group"])
    else:
        write(item["path"], os.urandom(item["size"]).hex().encode(), item["mode"], item["owner"], item["group"])


def keypair(item: "dict[str, Any]") -> None:
    """Both halves are made in a folder of root's own; the public one is placed first, for it can be had from the other."""
    path, owner = item["path"], item["owner"]
    group = grp.getgrgid(pwd.getpwnam(owner).pw_gid).gr_name
    if not os.path.lexists(path):
        with tempfile.TemporaryDirectory() as folder:
            made = os.path.join(folder, "key")
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", item["comment"], "-f", made)
            for ending, mode in ((".pub", 0o644), ("", 0o600)):
                with open(made + ending, "rb") as handle:
                    write(path + ending, handle.read(), mode, owner, group)
    elif not os.path.lexists(path + ".pub"):
        write(path + ".pub", run("ssh-keygen", "-y", "-P", "", "-f", path), 0o644, owner, group)
    attribute(path, 0o600, owner, group)


def run(*command: str) -> bytes:
    return subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE).stdout


def certificate(item: "dict[str, Any]") -> None:
    write(item["path"], blob(item["blob"]), 0o644)
    attribute(item["key"], item["mode"], item["owner"], item["group"])


def request(item: "dict[str, Any]") -> str:
    """A certificate request for the key of `item`, which is made where it is missing. The key never leaves the node."""
    if not os.path.lexists(item["key"]):
        write(item["key"], run("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"), 0o600)
    subject = "/CN=" + item["names"][0][:COMMON_NAME]
    return run("openssl", "req", "-new", "-key", item["key"], "-subj", subject).decode()


def stamps() -> "dict[str, str]":
    try:
        with open(STAMPS) as handle:
            found = json.load(handle)
            return found if isinstance(found, dict) else {}
    except (OSError, ValueError):
        return {}


def remember(values: "dict[str, str]") -> None:
    write(STAMPS, json.dumps(values, indent=1).encode(), 0o600)


def stamp(name: str, fingerprint: str) -> None:
    """Remember that a unit runs with, or a step was done for, this configuration."""
    remember({**stamps(), name: fingerprint})


def forget(names: "list[str]") -> None:
    """The opposite, before anything is changed."""
    remember({name: value for name, value in stamps().items() if name not in names})


if __name__ == "__main__":
    json.dump([request(item) for item in json.loads(sys.stdin.read())], sys.stdout)
