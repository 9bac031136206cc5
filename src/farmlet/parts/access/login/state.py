"""What is remembered of a log-in, whole at any moment, and changed by one process at a time."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from farmlet.errors import FarmletError
from farmlet.parts.access.login.places import Place
from farmlet.runtime.files import write

RENEW = 2 / 3  # of a lifetime, after which a new one is fetched
PATIENCE = 60.0  # seconds between attempts while the facility does not answer
WAIT = 20.0  # seconds for another process that renews


@dataclass(frozen=True)
class Span:
    """From when until when something is good, in seconds since 1970. (0, 0): it is not there."""

    start: float = 0.0
    end: float = 0.0

    def due(self, now: float) -> bool:
        return now >= self.start + (self.end - self.start) * RENEW


@dataclass(frozen=True)
class State:
    """One log-in. `issuer`, `client` and `data` (scopes, space-separated, "" for none) are what a renewal asks with.

    `refresh_token` is "" once the issuer takes it no more; `bearer` is where programs look for the token; `nodes` are the
    log-in hosts, `tried` the time of the last attempt that failed.
    """

    url: str
    title: str
    issuer: str
    client: str
    data: str
    user: str = ""
    refresh_token: str = field(default="", repr=False)
    certificate: Span = Span()
    token: Span = Span()
    bearer: str = ""
    nodes: tuple[str, ...] = ()
    tried: float = 0.0

    @property
    def spans(self) -> dict[str, Span]:
        """What is to be had here, by name: `certificate`, and `token` if there is anything to open with it."""
        return {"certificate": self.certificate} | ({"token": self.token} if self.data else {})


def find_due(place: Place, known: State, now: float) -> tuple[str, ...]:
    """What should be renewed, because of its age or because a file of it is gone: `certificate`, `token`."""
    files = {"certificate": place.made, "token": (place.token,)}
    return tuple(name for name, span in known.spans.items() if span.due(now) or not all(path.exists() for path in files[name]))


def load(place: Place) -> State:
    """Raises FarmletError where it cannot be read."""
    try:
        raw = json.loads(place.state.read_text())
        spans = {name: Span(**raw[name]) for name in ("certificate", "token")}
        values: dict[str, Any] = {**raw, **spans, "nodes": tuple(raw["nodes"])}
        return State(**values)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise FarmletError(str(place.state), f"cannot be read: {error}", "log in anew: farmlet login URL") from error


def save(place: Place, state: State, **changes: object) -> State:
    """Write the state with these changes; what is there afterwards."""
    changed = replace(state, **changes)  # type: ignore[arg-type]
    write(place.state, (json.dumps(asdict(changed), indent=1) + "\n").encode(), 0o600)
    return changed


def create(place: Place) -> None:
    """The folder, nobody else's. Raises FarmletError."""
    try:
        place.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        place.folder.chmod(0o700)
    except OSError as error:
        raise FarmletError(
            str(place.folder), f"cannot be made: {error.strerror}", "or name another by XDG_CONFIG_HOME"
        ) from error


@contextmanager
def locked(place: Place) -> Iterator[None]:
    """Only one process at a time: a refresh token is good once. Raises FarmletError after WAIT seconds."""
    handle = os.open(place.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + WAIT
    try:
        while not _take(handle):
            if time.monotonic() > deadline:
                raise FarmletError(place.name, "another farmlet is still renewing it", f"fuser {place.lock} names it")
            time.sleep(0.05)
        yield
    finally:
        os.close(handle)


def _take(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def cafile(place: Place) -> str | None:
    """The authority that this facility is trusted by, None for the system's."""
    return str(place.authorities) if place.authorities.exists() else None


def read_own(path: Path) -> str:
    """What a file of this person holds; "" for none, for somebody else's and for a symbolic link."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return ""
    with os.fdopen(handle, errors="replace") as stream:
        return stream.read(1 << 16).strip() if os.fstat(handle).st_uid == os.geteuid() else ""
