"""`down --purge` leaves the host as it was, to the byte of its hosts file."""

from __future__ import annotations

import pytest
from conftest import Sandbox, snapshot

pytestmark = [pytest.mark.facility, pytest.mark.timeout(600)]


def test_purge_leaves_nothing(sandbox: Sandbox) -> None:
    sandbox.run("down", "--purge")
    after = snapshot()
    for what, before in sandbox.before.items():
        assert after[what] == before, what
    assert not (sandbox.folder / ".farmlet").exists()
    assert "nothing to do" in sandbox.run("down", "--purge").stdout
