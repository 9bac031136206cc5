"""Tokens for jobs: asked for when they are needed, no wider than the site's corner; of an issuer that is away, seldom."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from farmlet.errors import FarmletError
from farmlet.parts.sitetests.tokens import PAUSE, Minter
from farmlet.runtime import oauth


def test_a_token_is_used_as_long_as_it_is_good_for_a_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, now, away = list[str](), [1000.0], [False]

    def obtain(issuer: str, client: str, secret: str, scope: str, *, audience: str) -> oauth.Tokens:
        asked.append(scope)
        if away[0]:
            raise oauth.Unreachable(issuer, "does not answer")
        return oauth.Tokens(f"t{len(asked)}", "", 3600, scope)

    monkeypatch.setattr(oauth, "obtain", obtain)
    (tmp_path / "secret").write_text("s\n")
    minter = Minter("https://i", tmp_path / "secret", "https://e", lambda: now[0])

    def mint(site: str) -> str:
        return asyncio.run(minter.mint(site, 1200.0))

    assert (mint("a"), mint("a"), mint("b")) == ("t1", "t1", "t2")
    assert asked[0] == "storage.read:/.farmlet/sitetests/a storage.modify:/.farmlet/sitetests/a"
    now[0] += 2401  # less than a job may take is left
    assert mint("a") == "t3"
    away[0] = True
    now[0] += 2401
    for _ in range(3):
        with pytest.raises(FarmletError, match="does not answer"):
            mint("a")
    assert len(asked) == 4
    now[0] += PAUSE
    away[0] = False
    assert mint("a") == "t5"
