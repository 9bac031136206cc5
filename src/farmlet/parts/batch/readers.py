"""Who may look at the pool: tokens that read and do nothing else, and how they come to those who need them.

Collector and access points answer nobody whom they do not know. An access point has a signing key of its own, which signs for
it alone; `mint` makes a token of it that reads, the node's agent leaves it at the control node, and there `share` puts it with
those of the other access points and the collector's. All access points get them for their members, the control node for the
overlay. HTCondor takes a token only from a file of the user who asks, so `apply` gives each member a copy.

Runs as root, standard library only.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from farmlet.errors import FarmletError
from farmlet.runtime.files import write
from farmlet.runtime.issuer.jwt import peek
from farmlet.runtime.rows import read_members

LONGEST = 4096  # bytes of one token
FILE = "tokens"
MARK = ".done"


def find_key(token: str) -> str:
    """The name of the key that signed `token` (a JWT, RFC 7519), as its header says. Raises ValueError when it is none."""
    if not token.isascii() or any(letter.isspace() for letter in token) or token.count(".") != 2:
        raise ValueError("no token")
    return str(peek(token, 0).get("kid", "POOL"))


def share(own: Path, inbox: Path, outbox: Path, item: str, sources: Sequence[str], targets: Sequence[str]) -> list[str]:
    """Put the token in the file `own`, and those that the nodes `sources` left, into the outbox of `targets`; what went wrong.

    A node speaks for its own access point only: the key's name is the node's.
    """
    tokens, faults = [own.read_text().strip()], []
    for node in sources:
        path = inbox / node / item
        try:
            token = path.read_bytes()[:LONGEST].decode().strip()
            if find_key(token) != node:
                raise ValueError(f"not signed by the key {node}")
            tokens.append(token)
        except FileNotFoundError:
            faults.append(f"{node} has left no token yet")
        except (OSError, ValueError) as error:
            faults.append(f"{path}: {error}")
    data = "".join(f"{token}\n" for token in tokens).encode()
    for path in outbox.glob(f"*/{item}"):
        if path.parent.name not in targets:
            path.unlink()
    for node in targets:
        path = outbox / node / item
        if not path.exists() or path.read_bytes() != data:
            write(path, data, 0o640)
    return faults


def apply(data: bytes, tokens: str, folder: str, users: Sequence[str], members: bool, first_uid: int) -> None:
    """Give a copy of the file `tokens` to the accounts `users` of this node and, if `members`, to all who are active.

    `data` is the item `accounts`. Each finds theirs as `folder`/NAME/tokens. Raises FarmletError.
    """
    root, source = Path(folder), Path(tokens)
    if not source.exists():
        return  # it comes
    text = source.read_bytes()
    mark = hashlib.sha256(repr((text, data, users, members)).encode()).hexdigest()
    if (root / MARK).exists() and (root / MARK).read_text() == mark:
        return
    wanted = _find_users(users) | (_find_members(data, first_uid) if members else {})
    root.mkdir(parents=True, exist_ok=True)
    root.chmod(0o711)  # whatever the agent's umask is
    for path in root.iterdir():
        if path.is_dir() and path.name not in wanted:
            shutil.rmtree(path)
    for name, uid in wanted.items():
        _give(root / name, text, uid)
    write(root / MARK, mark.encode(), 0o600)


def _find_users(users: Sequence[str]) -> dict[str, int]:
    try:
        return {name: pwd.getpwnam(name).pw_uid for name in users}
    except KeyError as error:
        raise FarmletError("readers of the pool", f"an account is missing: {error}") from error


def _find_members(data: bytes, first_uid: int) -> dict[str, int]:
    rows: Sequence[Mapping[str, Any]] = [row for row in read_members(data, first_uid) if row["state"] == "active"]
    return {str(row["name"]): int(row["uid"]) for row in rows}


def _give(folder: Path, text: bytes, uid: int) -> None:
    """The folder stays root's, so nobody puts anything else there. Nothing is synced: it is made again from what is."""
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)
    new = folder / f".{FILE}"
    new.unlink(missing_ok=True)
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as stream:
        stream.write(text)
        os.fchown(handle, uid, -1)
    new.replace(folder / FILE)
