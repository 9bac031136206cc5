"""The runner: steps are timed and told; the first that fails is named, with where to look."""

from __future__ import annotations

import json
import ssl
import subprocess
import urllib.error
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from farmlet.demo import steps
from farmlet.demo.browser import Browser
from farmlet.demo.machine import Machine
from farmlet.demo.run import StepFailed, run
from farmlet.demo.stage import Guest, Member, Stage
from farmlet.demo.steps import STEPS, Play
from farmlet.errors import FarmletError, InputError
from farmlet.runtime.oauth import Started
from indigo import BATCH, MEMBERS, Iam


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

    stage = replace(stage, links={"its jobs": "https://monitoring.farmlet.test/?page=queue"})
    report = run(stage, told.append, [(f"step {i}", remember) for i in range(len(STEPS))])
    said = json.loads(json.dumps(report.to_json()))
    assert said["ok"] is True
    assert set(said["steps"][0]) == {"name", "ok", "seconds", "evidence"}
    assert said["result"]["mass"] == 90.7 and said["result"]["member"].startswith("demo")
    assert len(told) == len(STEPS) and told[0].startswith("1/9 ok ") and told[0].endswith("step 0: well")
    assert report.summarise()[0] == f"plot: {stage.workdir / 'plot.png'}"
    assert said["links"] == stage.links and report.summarise()[1] == "its jobs: https://monitoring.farmlet.test/?page=queue"
    assert any(f"ssh -F {stage.workdir}" in line for line in report.summarise())
    assert stage.workdir.stat().st_mode & 0o777 == 0o700


def test_password_and_key_are_the_members_own_and_no_gits(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.workdir.mkdir(mode=0o755)
    subprocess.run(["git", "init", "-q", stage.workdir.parent], check=True)
    monkeypatch.setattr("farmlet.demo.run.Browser", lambda cafile: SimpleNamespace(join=lambda *given: None))
    password = stage.workdir / "password"
    for _ in range(2):  # the second time there is a password, which somebody opened
        run(stage, lambda line: None, [("join", steps.join), ("key", lambda play: play.machine.make_key())])
        assert password.stat().st_mode & 0o777 == 0o600
        password.chmod(0o644)
        stage.workdir.chmod(0o755)
    assert (stage.workdir / "id_ed25519").stat().st_mode & 0o777 == 0o600
    run(stage, lambda line: None, [])
    assert stage.workdir.stat().st_mode & 0o777 == 0o700
    shown = subprocess.run(["git", "status", "--short"], cwd=stage.workdir.parent, capture_output=True, text=True, check=True)
    assert "work" not in shown.stdout, "git would take it in"


def test_a_folder_of_something_else_is_left_as_it_is(stage: Stage) -> None:
    stage.workdir.mkdir()
    (stage.workdir / "thesis.tex").touch()
    stage.workdir.chmod(0o755)
    with pytest.raises(InputError, match="others can look into it"):
        run(stage, lambda line: None, [])
    stage.workdir.chmod(0o700)
    run(stage, lambda line: None, [])
    assert [path.name for path in stage.workdir.iterdir()] == ["thesis.tex"]


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


def test_all_have_one_image_and_the_same_versions() -> None:
    same = [(where, "analysis 0123456789abcdef", "python 3") for where in ("jobs at tier1", "jobs at tier1", "shell")]
    assert steps.compare(same) == "image analysis 0123456789ab with python 3 in jobs at tier1, shell"
    with pytest.raises(FarmletError, match=r"not the same everywhere: .*; notebook has analysis 0123456789abcdef: python 4"):
        steps.compare([*same, ("notebook", "analysis 0123456789abcdef", "python 4")])


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


@pytest.fixture
def iam() -> Iterator[Iam]:
    found = Iam()
    found.add("Zoë.Müller", "vo/lab/production")
    yield found
    found.close()


def play_at(iam: Iam, stage: Stage, shown: list[str]) -> Play:
    """A play at the stand-in for an INDIGO IAM, whose member allows whatever is shown."""

    def show(started: Started) -> None:
        shown.append(started.verification_uri_complete)
        iam.grants.allow(started.user_code, "Zoë.Müller")

    folders = {"/vo/lab/production": "/data"}
    guest = Guest(MEMBERS, BATCH, "wlcg.groups", folders, show)
    authorities = Path(ssl.get_default_verify_paths().cafile or "")
    there = replace(stage, issuer=iam.issuer, guest=guest, cafile=authorities)
    sent: list[bytes] = []
    machine = SimpleNamespace(
        make_key=lambda: "key", sign_key=lambda key, token: "zoe-muller", sent=sent,
        ssh=lambda script, given=b"", timeout=0: sent.append(given) or "uid=1(zoe-muller) gid=1(zoe-muller)",
    )  # fmt: skip
    return Play(there, Member(), cast(Machine, machine), cast(Browser, None))


def test_a_member_of_an_external_issuer_plays_by_two_consents(iam: Iam, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    shown: list[str] = []
    play = play_at(iam, stage, shown)
    assert "data go to /data" in steps.meet(play)
    assert "zoe-muller" in steps.log_in(play) and play.member.home(stage).endswith("/data/zoe-muller/demo")
    audiences = [one.claims["aud"] for one in iam.grants.tokens.values() if one.claims["client_id"] == MEMBERS]
    assert "ssh" in audiences
    steps.hand_over(play)
    assert len(shown) == 2 and play.machine.sent[-1].decode().strip() in iam.grants.refreshes  # type: ignore[attr-defined]
    assert play.member.refresh not in repr(play.member)
    iam.leave("Zoë.Müller", "vo/lab/production")
    with pytest.raises(FarmletError, match="none of these may write to storage"):
        steps.meet(play_at(iam, stage, shown))
