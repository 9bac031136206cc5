"""The issuer's signing keys: one PEM file each, mode 0600, in a folder of their own.

The newest key of the configured algorithm signs; every key of the folder is published and verifies.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

from joserfc.jwk import ECKey, Key, KeySet, RSAKey

from farmlet.errors import FarmletError
from farmlet.runtime import files

SUFFIX = ".pem"


def ensure_key(folder: Path, algorithm: str) -> bool:
    """Make a signing key for `algorithm` if the folder has none. Returns whether one was made."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(folder.glob(f"*-{algorithm}{SUFFIX}")):
        return False
    key = ECKey.generate_key("P-256") if algorithm == "ES256" else RSAKey.generate_key(3072)
    # the name sorts by age; the key's id is the RFC 7638 thumbprint, not the name
    files.write(folder / f"{int(time.time()):012d}-{algorithm}{SUFFIX}", key.as_pem(private=True), mode=0o600)
    return True


def ensure_secret(path: Path) -> bytes:
    """The secret of `path`, made first if there is no such file (0600)."""
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        files.write(path, os.urandom(32).hex().encode() + b"\n", mode=0o600)
    return path.read_bytes().strip()


class Ring:
    """The keys of a folder, read again when the folder changes, so that rotation needs no restart."""

    def __init__(self, folder: Path, algorithm: str) -> None:
        self.folder, self.algorithm = folder, algorithm
        self._lock = threading.Lock()
        self._stamp = -1
        self._keys: list[tuple[str, Key]] = []

    def signing(self, algorithm: str | None = None) -> Key:
        """The key that signs now, by default that of the configured algorithm. Raises FarmletError if there is none."""
        wanted = algorithm or self.algorithm
        for kind, key in reversed(self._load()):
            if kind == wanted:
                return key
        raise FarmletError(str(self.folder), f"no {wanted} key", "run `farmlet-identity keys ensure`")

    def verifying(self) -> KeySet:
        """All keys."""
        return KeySet([key for _, key in self._load()])

    def published(self) -> dict[str, Any]:
        """The JSON Web Key Set (RFC 7517), public halves only."""
        keys = self._load()
        return {
            "keys": [{**key.as_dict(private=False), "use": "sig", "alg": algorithm, "kid": key.kid} for algorithm, key in keys]
        }

    def _load(self) -> list[tuple[str, Key]]:
        with self._lock:
            stamp = self.folder.stat().st_mtime_ns
            if stamp != self._stamp:
                self._keys = [_load_key(path) for path in sorted(self.folder.glob(f"*{SUFFIX}"))]
                self._stamp = stamp
            return self._keys


def _load_key(path: Path) -> tuple[str, Key]:
    algorithm = path.stem.rpartition("-")[2]
    if algorithm not in ("ES256", "RS256"):
        raise FarmletError(str(path), "the name does not end in -ES256.pem or -RS256.pem")
    pem = path.read_bytes()
    key: Key = ECKey.import_key(pem) if algorithm == "ES256" else RSAKey.import_key(pem)
    key.ensure_kid()
    return algorithm, key
