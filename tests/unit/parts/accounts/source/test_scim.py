"""How the reader of SCIM goes about its connections."""

from __future__ import annotations

import io
import ssl
from pathlib import Path
from typing import Any

import pytest

from farmlet.errors import FarmletError
from farmlet.parts.accounts.source import scim


def test_authorities_are_read_once_and_anew_after_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    used: list[Any] = []
    answers: list[Any] = [b"{}", b"{}", ssl.SSLCertVerificationError("self-signed"), b"{}"]

    def make(**_: Any) -> object:
        made.append(object())
        return made[-1]

    def answer(*_: Any, context: object, **__: Any) -> io.BytesIO:
        used.append(context)
        found = answers[len(used) - 1]
        if isinstance(found, Exception):
            raise found
        return io.BytesIO(found)

    monkeypatch.setattr(scim.ssl, "create_default_context", make)
    monkeypatch.setattr(scim.urllib.request, "urlopen", answer)
    reader = scim.Reader("https://iam.example.org", "reader", tmp_path / "secret")
    monkeypatch.setattr(reader, "_current", lambda timeout: "token")
    for _ in range(2):
        reader.get("/scim/Users")
    with pytest.raises(FarmletError, match="self-signed"):
        reader.get("/scim/Users")
    reader.get("/scim/Users")
    assert used == [made[0], made[0], made[0], made[1]]
