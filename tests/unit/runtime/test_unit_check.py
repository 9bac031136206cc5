"""What counts as a unit that runs, by what `systemctl show` says of it."""

from __future__ import annotations

import pytest

from farmlet.runtime import checks


@pytest.fixture(autouse=True)
def units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "UNITS", checks.Units())


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


def test_units_that_are_known_are_asked_for_together(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []

    def run(*command: str) -> str:
        asked.append(command[-2:] if "b.service" in command else command[-1:])
        return "\n".join(SHOWN.format("active") for name in command if name.endswith(".service"))

    monkeypatch.setattr(checks, "run", run)
    for unit in ("a.service", "b.service", "a.service", "b.service"):
        assert checks.check_unit(unit).startswith(f"{unit} is active")
    assert asked == [("a.service",), ("a.service", "b.service")]
    monkeypatch.setattr(checks, "FRESH", 0.0)
    checks.check_unit("a.service")
    assert asked[2:] == [("a.service", "b.service")]
