"""How secrets of clients are stored."""

# mypy: allow-subclassing-any

from __future__ import annotations

import hashlib
import hmac
from typing import Any

from django.contrib.auth.hashers import BasePasswordHasher, make_password


class RandomSecretHasher(BasePasswordHasher):
    """Salted SHA-256, for secrets that are 256 random bits: there is nothing to guess, so nothing needs to be slow.

    Never for a password a person chose.
    """

    algorithm = "farmlet_random"

    def encode(self, password: str, salt: str) -> str:
        digest = hashlib.sha256(f"{salt}${password}".encode()).hexdigest()
        return f"{self.algorithm}${salt}${digest}"

    def decode(self, encoded: str) -> dict[str, Any]:
        algorithm, salt, digest = encoded.split("$", 2)
        return {"algorithm": algorithm, "salt": salt, "hash": digest}

    def verify(self, password: str, encoded: str) -> bool:
        return hmac.compare_digest(encoded, self.encode(password, self.decode(encoded)["salt"]))

    def harden_runtime(self, password: str, encoded: str) -> None:
        """One round of SHA-256 has no runtime to harden."""


def hash_secret(secret: str | None) -> str:
    """What is stored of a client's secret; of None something that no secret fits."""
    return str(make_password(secret, hasher=RandomSecretHasher.algorithm))
