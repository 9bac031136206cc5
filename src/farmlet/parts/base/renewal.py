"""The node renews its own certificates, long before they end: nobody has to run `up` for that. Standard library only.

It asks the renewal authority on the control node (`authority`), and proves who it is by the certificate it has. The key stays;
the service that shows the certificate is told. A certificate that `up` put there is renewed like any other.
"""

from __future__ import annotations

import ssl
import stat
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from farmlet.errors import FarmletError
from farmlet.parts.base.client import Client
from farmlet.parts.base.ledger import Ledger
from farmlet.runtime.files import write
from farmlet.runtime.program import run

DUE_DAYS = 15  # half of a certificate's life; its check fails at 10, and `up` would make it anew below that
DAY = 86400.0


@dataclass(frozen=True)
class Renewable:
    """A certificate of this node with its key, what it is for, and the command that tells its service (none: it looks itself)."""

    path: Path
    key: Path
    names: tuple[str, ...]
    client: bool = False
    reload: tuple[str, ...] = ()


class Renewer:
    """`ca`: whom the node trusts (path); `ledger`: remembers a service that has still to be told. `clock` is for tests."""

    def __init__(self, client: Client, ca: str, ledger: Ledger, clock: Callable[[], float] = time.time) -> None:
        self._client, self._ca, self._ledger, self._clock = client, ca, ledger, clock

    def work(self, certificates: Iterable[Renewable]) -> list[str]:
        """Renew what is due; returns what went wrong, which is to be tried again."""
        faults = []
        for one in certificates:
            try:
                self._ensure(one)
            except Exception as error:  # one certificate's trouble must not keep the others back
                faults.append(f"certificate {one.path}: {error}")
        return faults

    def _ensure(self, one: Renewable) -> None:
        name = f"certificate {one.path}"
        if not one.path.exists():
            return  # `up` has still to make it
        end = find_end(one.path.read_bytes())
        if end - self._clock() <= DUE_DAYS * DAY:
            request = _openssl("req", "-new", "-key", str(one.key), "-subj", "/CN=renewal")
            made = self._client.renew(request.decode(), one.names, one.client)
            self._validate(made, one.key, end)
            info = one.path.stat()
            self._ledger.note(name, "renewed")
            write(one.path, made, stat.S_IMODE(info.st_mode), (info.st_uid, info.st_gid))
        if self._ledger.has(name, "renewed"):
            if one.reload:
                run(one.reload, " ".join(one.reload[:2]))
            self._ledger.note(name, "in use")

    def _validate(self, made: bytes, key: Path, end: float) -> None:
        """Refuse what would be worse than what is there: a service that cannot start, clients who do not believe it."""
        if find_end(made) < end + DAY:
            raise FarmletError("renewal", "the authority's certificate expires soon", "farmlet up")
        if _openssl("x509", "-noout", "-pubkey", data=made) != _openssl("pkey", "-in", str(key), "-pubout"):
            raise FarmletError("renewal", "the answer is for another key")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "chain.pem"
            path.write_bytes(made)
            moment = ["-attime", str(int(self._clock())), "-no-CApath", "-no-CAstore"]
            _openssl("verify", *moment, "-CAfile", self._ca, "-untrusted", str(path), str(path))


def find_end(certificate: bytes) -> float:
    """When the first certificate of a chain (PEM) ends, in seconds since 1970. Raises FarmletError."""
    text = _openssl("x509", "-noout", "-enddate", data=certificate).decode()
    return float(ssl.cert_time_to_seconds(text.strip().removeprefix("notAfter=")))


def _openssl(*words: str, data: bytes = b"") -> bytes:
    return run(["openssl", *words], f"openssl {words[0]}", data=data, environment={"LC_ALL": "C"})
