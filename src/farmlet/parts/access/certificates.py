"""OpenSSH certificates by `ssh-keygen`. Standard library only. Formats: OpenSSH's PROTOCOL.certkeys and sshd(8)."""

from __future__ import annotations

import base64
import os
import re
import secrets
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path

from farmlet.errors import FarmletError, InputError
from farmlet.runtime.program import run

KINDS = (
    "ssh-ed25519",
    "sk-ssh-ed25519@openssh.com",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)
LINE_BYTES = 2048
# what a member's certificate permits: a terminal, and the tunnels that editors and notebooks on the log-in node need
PERMITS = ("permit-pty", "permit-port-forwarding")


def parse(text: str) -> str:
    """The key `kind base64` of one public key line, without its comment. Raises InputError in words for all else."""
    where = "public key"
    if len(text) > LINE_BYTES or len(text.strip().splitlines()) != 1:
        raise InputError(where, "is not one line of an OpenSSH public key", "send the content of a file like id_ed25519.pub")
    words = text.split()
    if words[0] not in KINDS:
        raise InputError(where, "is of a type that is not signed here", "make one with `ssh-keygen -t ed25519`")
    if len(words) < 2:
        raise InputError(where, "has no key in it")
    try:
        blob = base64.b64decode(words[1], validate=True)
    except ValueError:
        raise InputError(where, "is not base64") from None
    length = int.from_bytes(blob[:4])
    if blob[4 : 4 + length] != words[0].encode():  # RFC 4253 §6.6: the blob says its own kind
        raise InputError(where, "names another type than it contains")
    return f"{words[0]} {words[1]}"


@dataclass(frozen=True)
class Request:
    """What is to be signed: `identity` goes into sshd's log, `validity` is ssh-keygen's -V."""

    key: str
    identity: str
    principals: Sequence[str]
    validity: str
    host: bool = False


def sign(authority: Path, request: Request) -> str:
    """The certificate line for `request`, by the private key at `authority`. Raises FarmletError when it fails.

    ssh-keygen works on files: a directory of our own holds them, nothing secret among them.
    """
    for word in (request.identity, *request.principals):
        if not re.fullmatch(r"[A-Za-z0-9._:@/+=-]+", word) or word.startswith("-"):
            raise InputError("certificate", f"{word!r} cannot stand in a certificate")
    options = ["-h"] if request.host else ["-O", "clear", *(word for name in PERMITS for word in ("-O", name))]
    with tempfile.TemporaryDirectory(prefix="farmlet-ssh-") as folder:
        public = Path(folder) / "key.pub"
        public.write_text(request.key + "\n")
        command = ["ssh-keygen", "-q", "-s", str(authority), "-I", request.identity, "-n", ",".join(request.principals)]
        command += ["-V", request.validity, "-z", str(secrets.randbits(63)), *options, str(public)]
        run(command, seconds=10)
        # without its comment, which is the name of our temporary file
        return " ".join((Path(folder) / "key-cert.pub").read_text().split()[:2])


@dataclass(frozen=True)
class Described:
    """What a certificate says: fingerprints of key and signer, its principals, and its end."""

    key: str
    signer: str
    principals: tuple[str, ...]
    end: datetime


@lru_cache(maxsize=64)
def describe(certificate: str) -> Described:
    """Read a certificate line with `ssh-keygen -L`. Raises FarmletError for what is none."""
    done = subprocess.run(
        ["ssh-keygen", "-L", "-f", "-"],
        input=certificate,
        capture_output=True,
        text=True,
        timeout=10,
        env=os.environ | {"TZ": "UTC0"},
    )
    text = done.stdout
    key = re.search(r"Public key: \S+ (\S+)", text)
    signer = re.search(r"Signing CA: \S+ (\S+)", text)
    end = re.search(r"Valid: from \S+ to (\S+)", text)
    names = re.search(r"Principals: *((?:\n {16,}\S+)+)", text)
    if not (key and signer and end):
        raise FarmletError("certificate", "is not an OpenSSH certificate")
    principals = tuple(names.group(1).split()) if names else ()
    return Described(key.group(1), signer.group(1), principals, datetime.fromisoformat(end.group(1) + "+00:00"))


@lru_cache(maxsize=64)
def fingerprint(key: str) -> str:
    """`SHA256:…` of a public key line, as ssh-keygen writes it."""
    return run(["ssh-keygen", "-l", "-f", "-"], "public key", data=key.encode(), seconds=10).decode().split()[1]
