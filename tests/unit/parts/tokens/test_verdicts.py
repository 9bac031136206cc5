"""Which of an issuer's words end a credential or a wish, and which are about the facility's own lists."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from rotation import Issuer, derive, held, store, watch

from farmlet.parts.tokens import credmon, queue, renewer
from farmlet.parts.tokens.source import Issuers

NEW, OLD = "https://new.example.org", "https://old.example.org"


def due(top: Path) -> None:
    os.utime(top.with_suffix(".use"), (0, 0))


@pytest.mark.parametrize("code", ["invalid_scope", "invalid_target"])
def test_what_is_usual_is_no_members_fault(tmp_path: Path, issuer: Issuer, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    monkeypatch.setattr(renewer, "BACKOFF", (0.05, 0.1))
    top = store(tmp_path, issuer.url, "alice.0")
    monitor = watch(tmp_path, issuer, OLD)
    monitor.sweep()
    token = top.with_suffix(".use").read_bytes()
    due(top)
    issuer.fault = (400, code)
    for _ in range(3):
        monitor.sweep()
        time.sleep(0.15)
    assert issuer.asked.count("alice.1") > 1, "it is asked again"
    assert held(top) == "alice.1" and not top.with_suffix(".refused").exists()
    assert top.with_suffix(".use").read_bytes() == token
    issuer.fault = None
    monitor.sweep()
    assert held(top) == "alice.2" and top.with_suffix(".use").read_bytes() != token


@pytest.mark.parametrize(
    ("code", "wish", "final"),
    [
        ("invalid_scope", {"scopes": "storage.read:/x"}, True),
        ("invalid_scope", {"audience": NEW}, False),
        ("invalid_target", {"scopes": "storage.read:/x"}, False),
        ("invalid_target", {"audience": NEW}, True),
    ],
)
def test_a_wish_ends_by_what_it_names_itself(
    tmp_path: Path, issuer: Issuer, code: str, wish: dict[str, str], final: bool
) -> None:
    top = store(tmp_path, issuer.url, "alice.0")
    monitor = watch(tmp_path, issuer, OLD)
    monitor.sweep()
    narrow = derive(top, "in", **wish)
    issuer.fault = (400, code)
    monitor.sweep()
    assert held(top) == "alice.1" and not top.with_suffix(".refused").exists()
    assert narrow.exists() is not final
    if final:
        assert code in json.loads(narrow.with_suffix(".refused").read_text())["reason"]


def test_a_job_is_held_with_the_reason_that_its_credential_was_ended_at_the_issuer(tmp_path: Path, issuer: Issuer) -> None:
    """What its member did on the issuer's page, or somebody did for them, in words that do not need RFC 6749."""
    top = store(tmp_path, issuer.url, "alice.0")
    narrow = derive(top, "in")
    monitor = watch(tmp_path, issuer)
    monitor.sweep()
    issuer.live["alice"] = -1
    due(top)
    monitor.sweep()
    assert queue.find_fault(top.parent, "farmlet") == "", "what was made of it lives to its end"
    for use in (top.with_suffix(".use"), narrow.with_suffix(".use")):
        use.write_bytes(b"h.eyJleHAiOjF9.s")
    monitor.sweep()
    for service in ("farmlet", "farmlet_in"):
        begin = f"There is no credential for {service} any more (its issuer has ended it: {issuer.url}/token: invalid_grant: "
        assert queue.find_fault(top.parent, service) == begin + "used or unknown). Store one anew: farmlet-credential"


def test_a_job_is_held_with_the_reason_that_its_wish_was_refused(tmp_path: Path, issuer: Issuer) -> None:
    top = store(tmp_path, issuer.url, "alice.0")
    monitor = watch(tmp_path, issuer)
    monitor.sweep()
    derive(top, "in")
    issuer.fault = (400, "invalid_scope")
    monitor.sweep()
    said = queue.find_fault(top.parent, "farmlet_in")
    assert f"({issuer.url}/token: invalid_scope)" in said and "ended" not in said and not queue.find_fault(top.parent, "farmlet")


def test_the_usual_audience_is_one_of_our_own_issuer(tmp_path: Path, issuer: Issuer, other: Issuer) -> None:
    mine, theirs = store(tmp_path, issuer.url, "alice.0"), store(tmp_path, other.url, "bob.0")
    monitor = credmon.Monitor(tmp_path, Issuers([issuer.url, other.url]), OLD)
    monitor.sweep()
    assert (issuer.wanted, other.wanted) == ([OLD], [])
    assert mine.with_suffix(".use").exists() and theirs.with_suffix(".use").exists()
    derive(theirs, "in", audience=NEW)
    monitor.sweep()
    assert other.wanted == [NEW]
