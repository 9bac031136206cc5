"""What every kind of site has, and what must hold of a site without keeping `up` from its end."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from farmlet.facility.load import default_text, loads
from farmlet.parts.overlay import checks
from farmlet.parts.overlay.deploy import PART
from farmlet.parts.overlay.sites import KINDS
from farmlet.parts.part import Context, SiteAccess, Trust, find
from farmlet.runtime.checks import Failed

POOL: Any = {"trust": "example.org", "told": "/nonexistent/demand.json"}
REFUSED = "drone: wn17: this host has no bwrap\n"
TIER1 = SiteAccess("tier1", "tier1.example.net", "drone", "ssh-ed25519 AAAA", "CA")


def test_a_site_that_is_away_keeps_no_up_from_its_end() -> None:
    facility = loads(default_text(), "facility.yaml", find())
    context = Context(facility, facility.nodes[facility.controller], Trust("CA", {"tier1": TIER1}), "wheel")
    found = {check.name: check.external for check in PART.role("controller").checks(context)}
    assert found == {"overlay.controller": False, "overlay.demand": False, "overlay.site.tier1": True}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_the_check_of_each_kind_is_outside(kind: Any) -> None:
    check = kind.check(POOL, TIER1)
    assert check.external and check.name == "overlay.site.tier1" and kind.adapter


def test_a_site_that_does_not_answer_is_told_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(command: list[str], **options: Any) -> None:
        raise subprocess.TimeoutExpired(command, 9)

    monkeypatch.setattr(subprocess, "run", hang)
    with pytest.raises(Failed, match=r"^drone@tier1\.example\.net does not answer within 9 s$"):
        checks.check_site("tier1.example.net", "drone", "condor_q", "/none")


def test_a_site_that_says_nothing_is_told_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *given, **options: subprocess.CompletedProcess((), 0, "", ""))
    with pytest.raises(Failed, match="says nothing"):
        checks.check_site("tier1.example.net", "drone", "condor_q", "/none")


def test_drones_that_gave_up_are_told_with_their_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The question as a shell runs it, in the account's home."""
    for name, text in {"a": REFUSED, "b": REFUSED, "c": ""}.items():
        (tmp_path / f"farmlet-example.org/{name}.err").parent.mkdir(exist_ok=True)
        (tmp_path / f"farmlet-example.org/{name}.err").write_text(text)
    check = KINDS["htcondor"].check(POOL, TIER1)
    run = subprocess.run
    monkeypatch.setattr(
        subprocess, "run", lambda command, **options: run(["sh", "-c", command[-1]], **options | {"cwd": tmp_path})
    )
    with pytest.raises(Failed, match=r"^drone@tier1\.example\.net: drones give up: wn17: this host has no bwrap$"):
        checks.check_site(**check.args)
    for path in tmp_path.glob("*/*.err"):
        os.utime(path, (1, 1))
    with pytest.raises(Failed, match="condor_q: not found"):
        checks.check_site(**check.args)
