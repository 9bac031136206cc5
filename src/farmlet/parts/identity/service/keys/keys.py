"""The issuer's signing keys: one PEM file each, mode 0600, in a folder of their own.

A file's name says when the key was made and for which algorithm; nothing else is kept about it. Of each algorithm the
newest key signs that has been published long enough, or the oldest where none has. Every key of the folder is published
and verifies. `rotation` makes and deletes them.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from joserfc.jwk import ECKey, Key, KeySet, RSAKey

from farmlet.errors import FarmletError
from farmlet.runtime import files
from farmlet.runtime.tokens import ALGORITHMS

SUFFIX = ".pem"
# seconds a key is published before it signs, at least; those who verify keep keys for less: our Verifier 60 s, libscitokens
# 600 s. Where the facility names an element that keeps them longer, its configuration says so (`Lifetimes.published`)
PUBLISHED_FIRST = 3600


@dataclass(frozen=True)
class Slot:
    """A key's file. `made` in seconds since the epoch."""

    path: Path
    made: int
    algorithm: str

    def ripe(self, ahead: int) -> int:
        """When it may sign although there is an older key: `ahead` seconds after it was made."""
        return self.made + ahead


def scan(folder: Path) -> list[Slot]:
    """The keys of the folder, oldest first. Raises FarmletError for a name that is not one of ours."""
    found = []
    for path in folder.glob(f"*{SUFFIX}"):
        made, _, algorithm = path.stem.partition("-")
        if not made.isdecimal() or algorithm not in ALGORITHMS:
            raise FarmletError(str(path), "is not a name of a signing key", "take it out of this folder")
        found.append(Slot(path, int(made), algorithm))
    return sorted(found, key=lambda slot: (slot.made, slot.algorithm))


def find_signing(slots: Sequence[Slot], algorithm: str, now: float, ahead: int = PUBLISHED_FIRST) -> Slot | None:
    """The key of `algorithm` that signs at `now`; `slots` as `scan` gives them, published `ahead` seconds before they sign."""
    own = [slot for slot in slots if slot.algorithm == algorithm]
    ripe = [slot for slot in own if slot.ripe(ahead) <= now]
    return next(iter(ripe[-1:] or own[:1]), None)


def ensure_keys(folder: Path, now: float | None = None) -> list[Slot]:
    """Make a key for each algorithm that has none; returns those made.

    Both kinds are there always: access tokens are signed by the configured one, and OpenID Connect Core §15.1 lets every
    relying party expect RS256.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    known = {slot.algorithm for slot in scan(folder)}
    return [make_key(folder, algorithm, now) for algorithm in ALGORITHMS if algorithm not in known]


def make_key(folder: Path, algorithm: str, now: float | None = None) -> Slot:
    """A new key, younger than every other of its kind."""
    last = max((slot.made for slot in scan(folder) if slot.algorithm == algorithm), default=0)
    made = max(int(time.time() if now is None else now), last + 1)
    key = ECKey.generate_key("P-256") if algorithm == "ES256" else RSAKey.generate_key(3072)
    # the name sorts by age; the key's id is the RFC 7638 thumbprint, not the name
    path = folder / f"{made:012d}-{algorithm}{SUFFIX}"
    files.write(path, key.as_pem(private=True), mode=0o600)
    return Slot(path, made, algorithm)


def ensure_secret(path: Path) -> bytes:
    """The secret of `path`, made first if there is no such file (0600)."""
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        files.write(path, os.urandom(32).hex().encode() + b"\n", mode=0o600)
    return path.read_bytes().strip()


class Ring:
    """The keys of a folder, read again when the folder changes, so that rotation needs no restart. Thread-safe."""

    def __init__(self, folder: Path, algorithm: str, ahead: int = PUBLISHED_FIRST) -> None:
        self.folder, self.algorithm, self.ahead = folder, algorithm, ahead
        self._lock = threading.Lock()
        self._stamp = -1
        self._keys: dict[Slot, Key] = {}
        self._set = KeySet([])

    def signing(self, algorithm: str | None = None) -> Key:
        """The key that signs now, by `algorithm` or the configured one. Raises FarmletError if there is none."""
        keys, kind = self.held(), algorithm or self.algorithm
        slot = find_signing(list(keys), kind, time.time(), self.ahead)
        if slot is None:
            raise FarmletError(str(self.folder), f"no {kind} key", "run `farmlet-identity keys ensure`")
        return keys[slot]

    def verifying(self) -> KeySet:
        """All keys."""
        self.held()
        return self._set

    def published(self) -> dict[str, Any]:
        """The JSON Web Key Set (RFC 7517), public halves only."""
        found = self.held().items()
        return {
            "keys": [{**key.as_dict(private=False), "use": "sig", "alg": slot.algorithm, "kid": key.kid} for slot, key in found]
        }

    def held(self) -> dict[Slot, Key]:
        """All keys, oldest first."""
        with self._lock:
            stamp = self.folder.stat().st_mtime_ns
            if stamp != self._stamp:
                self._keys = self._load()
                self._set = KeySet(list(self._keys.values()))
                # a folder's clock ticks slowly: what changes within a tick of the last change would never be seen
                self._stamp = stamp if time.time_ns() - stamp > 1_000_000_000 else -1
            return self._keys

    def _load(self) -> dict[Slot, Key]:
        found = {}
        for slot in scan(self.folder):
            try:
                found[slot] = self._keys.get(slot) or _load_key(slot)
            except FileNotFoundError:  # deleted this very moment
                continue
        return found


def _load_key(slot: Slot) -> Key:
    pem = slot.path.read_bytes()
    key: Key = ECKey.import_key(pem) if slot.algorithm == "ES256" else RSAKey.import_key(pem)
    key.ensure_kid()
    return key
