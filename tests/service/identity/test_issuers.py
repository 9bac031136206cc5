"""One credential monitor and two real issuers: ours, and one that the facility file names besides (`tokens: {issuers: …}`)."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from credentials import ELEMENT, store
from issuer import Service, claims, found

from farmlet.parts.tokens.credmon import Monitor
from farmlet.parts.tokens.source import Issuers
from farmlet.parts.tokens.storer import Request

pytestmark = [pytest.mark.service, pytest.mark.once]
ANY = "https://wlcg.cern.ch/jwt/v1/any"


@pytest.fixture
def houses(tmp_path: Path) -> Iterator[tuple[Service, Service]]:
    """Each has a client `batch`, which theirs lets ask for one audience, as it knows nothing of our storage."""
    folders = [tmp_path / name for name in ("ours", "theirs")]
    for folder in folders:
        folder.mkdir()
    with found(folders[0]) as ours, found(folders[1]) as theirs:
        ours.do("client", "ensure", "batch", "--public", "--grant=device,refresh", f"--audience={ANY}", f"--audience={ELEMENT}")
        yield ours, theirs


def read(top: Path) -> dict[str, object]:
    return claims(top.with_suffix(".use").read_text())


def renew(monitor: Monitor, *tops: Path) -> None:
    for top in tops:
        os.utime(top.with_suffix(".use"), (0, 0))
    monitor.sweep()


def test_each_credential_is_renewed_at_its_own_issuer(tmp_path: Path, houses: tuple[Service, Service]) -> None:
    ours, theirs = houses
    both = tmp_path / "both.pem"
    both.write_text("".join(Path(house.cafile).read_text() for house in houses))
    root = tmp_path / "credentials"
    root.mkdir()
    ada = store(ours, ours.join("ada", "lab")[0], root / "ada", "batch")
    # the same person has one of each, and narrower tokens of the foreign one
    foreign = store(theirs, theirs.join("ada", "lab")[0], root / "there", "batch").rename(ada.with_name("elsewhere.top"))
    narrow = ada.with_name(f"{Request('elsewhere', 'in').name}.top")
    narrow.write_text(json.dumps({"of": "elsewhere", "scopes": "storage.read:/users/ada"}))
    monitor = Monitor(root, Issuers([ours.issuer, theirs.issuer], str(both)), ELEMENT)
    monitor.sweep()
    before = [read(top) for top in (ada, foreign, narrow)]
    assert [one["iss"] for one in before] == [ours.issuer, theirs.issuer, theirs.issuer]
    assert [one["aud"] for one in before] == [ELEMENT, ANY, ANY]
    assert before[2]["scope"] == "storage.read:/users/ada"
    renew(monitor, ada, foreign, narrow)
    after = [read(top) for top in (ada, foreign, narrow)]
    assert all(old["jti"] != new["jti"] and old["iss"] == new["iss"] for old, new in zip(before, after, strict=True))
    # the end of one is nothing to the other, nor is an issuer that is away
    token = json.loads(foreign.read_text())["refresh_token"]
    assert theirs.request("/revoke", {"client_id": "batch", "token": token}).status == 200
    renew(monitor, ada, foreign)
    assert not foreign.exists() and ada.exists() and read(ada)["jti"] != after[0]["jti"]
    last = read(ada)["jti"]
    os.kill(theirs.pid, signal.SIGKILL)
    renew(monitor, ada)
    assert read(ada)["jti"] != last
