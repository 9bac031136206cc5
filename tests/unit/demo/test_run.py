"""The runner: steps are timed and told; the first that fails is named, with where to look."""

from __future__ import annotations

import json
import urllib.error
from collections.abc import Callable
from pathlib import Path

import pytest

from farmlet.demo import steps
from farmlet.demo.run import StepFailed, run
from farmlet.demo.stage import Member, Stage
from farmlet.demo.steps import STEPS, Play
from farmlet.errors import FarmletError


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    authorities = tmp_path / "ca.pem"
    authorities.write_text("")
    return Stage(
        issuer="https://127.0.0.1:9", host="127.0.0.1", storage="https://127.0.0.1:9", cafile=authorities,
        signer="https://127.0.0.1:9/ssh/sign", authority="ssh-ed25519 AAAA", names="*.farmlet.test",
        workdir=tmp_path / "work", cache=tmp_path / "cache", register=lambda name, group: "", pool=list,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def no_authorities(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runner's own work is tested here; no test of this file gets as far as TLS."""
    monkeypatch.setattr("farmlet.demo.run.Browser", lambda cafile: None)


def fail_with(error: BaseException) -> Callable[[Play], str]:
    def step(play: Play) -> str:
        raise error

    return step


def test_steps_are_timed_and_told(stage: Stage) -> None:
    told: list[str] = []

    def remember(play: Play) -> str:
        play.member.result["mass"] = 90.7
        return "well"

    report = run(stage, told.append, [(f"step {i}", remember) for i in range(len(STEPS))])
    said = json.loads(json.dumps(report.to_json()))
    assert said["ok"] is True
    assert set(said["steps"][0]) == {"name", "ok", "seconds", "evidence"}
    assert said["result"]["mass"] == 90.7 and said["result"]["member"].startswith("demo")
    assert len(told) == len(STEPS) and told[0].startswith("1/7 ok ") and told[0].endswith("step 0: well")
    assert report.summarise()[0] == f"plot: {stage.workdir / 'plot.png'}"
    assert any(f"ssh -F {stage.workdir}" in line for line in report.summarise())
    assert stage.workdir.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (FarmletError("ssh head", "no route to host", "farmlet logs access"), "ssh head: no route to host"),
        (urllib.error.URLError("connection refused"), "URLError: .*connection refused"),
        (TimeoutError("timed out"), "TimeoutError: timed out"),
    ],
)
def test_failure_names_the_step_and_where_to_look(stage: Stage, error: Exception, says: str) -> None:
    told: list[str] = []
    played = [
        ("first", lambda play: "well"),
        ("jobs run at the site", fail_with(error)),
        ("never", fail_with(AssertionError())),
    ]
    with pytest.raises(StepFailed, match=says) as caught:
        run(stage, told.append, played)
    assert caught.value.where == "demo step 2 (jobs run at the site)"
    assert "farmlet logs" in caught.value.hint and "farmlet status" in caught.value.hint
    said = caught.value.report.to_json()
    assert said["ok"] is False and [step["ok"] for step in said["steps"]] == [True, False]
    assert "FAILED" in told[-1]


def test_a_mistake_of_ours_is_not_hidden(stage: Stage) -> None:
    with pytest.raises(ZeroDivisionError):
        run(stage, print, [("broken", fail_with(ZeroDivisionError()))])


def test_dead_login_node(stage: Stage) -> None:
    """The real ssh against a port where nobody listens."""

    def log_in(play: Play) -> str:
        play.machine.config.write_text("Host *\n  Port 9\n  BatchMode yes\n  ConnectTimeout 5\n")
        return play.machine.ssh("id")

    with pytest.raises(StepFailed, match=r"demo step 1 \(log in\): ssh 127\.0\.0\.1: ssh failed \(255\): .*refused"):
        run(stage, print, [("log in", log_in)])


def test_drones_that_stay(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "POOL_PATIENCE", 0.0)
    busy = Stage(**{**stage.__dict__, "pool": lambda: ["slot1@tier1-1@node"]})
    with pytest.raises(StepFailed, match="1 drone slots are there: slot1@tier1-1@node"):
        run(busy, print, [("the drones leave", steps.await_empty)])


def test_secrets_are_not_shown() -> None:
    member = Member()
    member.token = "eyJ.secret"
    assert member.password not in repr(member) and "secret" not in repr(member)
    assert len({Member().name for _ in range(50)}) == 50
