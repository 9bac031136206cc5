"""The state folder beside the facility file: the deploy key, the authorities, what was made. 0700, ignored by git.

Nothing here is needed by a running facility; whoever holds it is root on the nodes (design §9).
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from farmlet.errors import FarmletError, InputError
from farmlet.runtime.files import rename, sync, write
from farmlet.runtime.program import run

FOLDER = ".farmlet"


class Store:
    """The state folder `<facility folder>/.farmlet`; `name` is the facility it belongs to."""

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / FOLDER / name
        self.name = name

    def ensure(self) -> None:
        """Make the folder; safe to repeat."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            for folder in (self.path.parent, self.path):
                folder.chmod(0o700)
            write(self.path.parent / ".gitignore", b"*\n")
        except OSError as error:
            raise FarmletError(str(self.path), f"cannot make the state folder: {error.strerror}") from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the facility for one command. The lock ends with the process, so a killed `up` leaves none behind.

        The handle may be inherited: the program that changes nodes holds the lock too, for as long as it lives.
        """
        self.ensure()
        path = self.path / "lock"
        with path.open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                held = path.exists() and os.path.samestat(path.stat(), os.fstat(handle.fileno()))
            except BlockingIOError:
                held = False
            if not held:  # or the lock of a folder that was purged in between
                raise InputError(
                    f"facility {self.name}",
                    "another farmlet command is changing it right now",
                    "wait for it to end, then repeat yours",
                )
            os.set_inheritable(handle.fileno(), True)
            yield

    def load(self) -> dict[str, Any]:
        """What the last `up` made and applied; empty when there was none."""
        path = self.path / "state.json"
        if not path.exists():
            return {}
        try:
            loaded: dict[str, Any] = json.loads(path.read_text())
        except ValueError as error:
            raise FarmletError(str(path), f"is not readable: {error}", "remove the file; `farmlet up` makes it anew") from error
        return loaded

    def save(self, **values: Any) -> None:
        """Merge `values` into state.json, atomically."""
        write(self.path / "state.json", json.dumps(self.load() | values, indent=1, sort_keys=True).encode(), 0o600)

    @property
    def key(self) -> Path:
        """The deploy key (private half): root on every node by SSH."""
        return self.path / "deploy"

    def ensure_key(self) -> str:
        """The public half of the deploy key, made at first use."""
        public = self.key.with_suffix(".pub")
        if not self.key.exists():
            # made elsewhere and moved here, so that a kill never leaves half a key
            with tempfile.TemporaryDirectory(dir=self.path) as folder:
                made = Path(folder) / "deploy"
                run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"farmlet deploy {self.name}", "-f", str(made)])
                for half, place in ((made.with_suffix(".pub"), public), (made, self.key)):
                    sync(half)
                    rename(half, place)
        elif not public.exists():
            write(public, run(["ssh-keygen", "-y", "-P", "", "-f", str(self.key)]))
        return public.read_text().strip()

    @property
    def known(self) -> Path:
        """known_hosts of the nodes, as the drivers found them."""
        return self.path / "known_hosts"

    def exists(self) -> bool:
        return self.path.exists()

    def remove(self) -> None:
        """Forget the facility. The outer folder goes too when no other facility lives in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        outer = self.path.parent
        if outer.exists() and {entry.name for entry in outer.iterdir()} <= {".gitignore"}:
            shutil.rmtree(outer, ignore_errors=True)


def is_root() -> bool:
    return os.geteuid() == 0
