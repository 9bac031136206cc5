"""What `up` says of hosts that were away."""

from __future__ import annotations

import argparse
import json
from types import SimpleNamespace

import pytest

from farmlet.cli import up
from farmlet.errors import Errors, FarmletError

AWAY = FarmletError("node worker", "cannot log in by SSH", "`farmlet up` once more")
SICK = FarmletError("head: base.proxy", "no answer", "farmlet logs")


@pytest.fixture
def without_worker(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A deployment that is up but for the node `worker`."""
    facility = SimpleNamespace(name="tiny", external=False)
    made = SimpleNamespace(facility=facility, sandbox=SimpleNamespace(), report=SimpleNamespace(seconds=1.0))
    made.up, made.away = lambda: 3, {"worker": AWAY}
    monkeypatch.setattr(up, "open_deployment", lambda args: made)
    monkeypatch.setattr(up, "endpoints", lambda deployment: {"ssh": "head.tiny.test"})
    monkeypatch.setattr(up, "wait_healthy", lambda deployment: None)
    return made


@pytest.mark.usefixtures("without_worker")
@pytest.mark.parametrize("structured", [True, False])
def test_it_says_what_is_up_and_ends_with_1(structured: bool, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Errors) as caught:
        up.run(argparse.Namespace(retain=False, json=structured))
    assert caught.value.errors == (AWAY,) and caught.value.exit_code == 1
    said = capsys.readouterr().out
    assert json.loads(said)["away"] == ["worker"] if structured else "head.tiny.test" in said


@pytest.mark.usefixtures("without_worker")
def test_checks_that_fail_are_told_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def sick(deployment: object) -> None:
        raise Errors([SICK])

    monkeypatch.setattr(up, "wait_healthy", sick)
    with pytest.raises(Errors) as caught:
        up.run(argparse.Namespace(retain=False, json=False))
    assert caught.value.errors == (AWAY, SICK)
