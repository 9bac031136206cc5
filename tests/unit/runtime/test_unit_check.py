"""What counts as a unit that runs, by what `systemctl show` says of it."""

from __future__ import annotations

import pytest

from farmlet.runtime import checks

SHOWN = "ActiveState={}\nSubState=some\nNRestarts=2\nResult=success\n"


@pytest.mark.parametrize("state", ["active", "reloading"])
def test_a_unit_that_serves_is_well(state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "run", lambda *command: SHOWN.format(state))
    assert checks.check_unit("some.service") == f"some.service is {state} (some), restarted 2 times"


@pytest.mark.parametrize("state", ["inactive", "failed", "activating", "deactivating"])
def test_one_that_does_not_is_told(state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "run", lambda *command: SHOWN.format(state))
    with pytest.raises(checks.Failed, match=f"some.service is {state}"):
        checks.check_unit("some.service")
