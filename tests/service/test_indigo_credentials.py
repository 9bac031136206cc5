"""Credentials for jobs that an INDIGO IAM gave: what ends them, what only hinders them, and what their members are told."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from farmlet.parts.tokens import checks, notes, queue, renewer
from farmlet.parts.tokens.credmon import Monitor
from farmlet.parts.tokens.source import ROTATING, Issuers
from farmlet.runtime.checks import Failed
from farmlet.runtime.oauth import DeviceFlow
from indigo import BATCH, Client, Iam
from indigo.client import DEVICE

pytestmark = pytest.mark.service
SCOPES = "offline_access wlcg wlcg.groups"


@pytest.fixture
def iam(monkeypatch: pytest.MonkeyPatch) -> Iterator[Iam]:
    monkeypatch.setattr(renewer, "BACKOFF", (0.0, 0.0))
    running = Iam()
    running.add("ada", "collaboration/lab")
    running.person = "ada"
    running.clients.add(Client("rotating", tuple(SCOPES.split()), (DEVICE, "refresh_token")))
    yield running
    running.close()


def store(iam: Iam, root: Path, client: str = BATCH) -> Path:
    flow = DeviceFlow(iam.issuer, client)
    token = flow.wait(flow.start(SCOPES), lambda seconds: None).refresh_token
    top = root / "ada" / "farmlet.top"
    top.parent.mkdir(exist_ok=True)
    top.write_text(json.dumps({"issuer": iam.issuer, "client_id": client, "refresh_token": token}))
    return top


def held(top: Path) -> str:
    return str(json.loads(top.read_text())["refresh_token"])


def renew(monitor: Monitor, top: Path) -> bool:
    """Whether there is another token then."""
    use = top.with_suffix(".use")
    before = use.read_bytes() if use.exists() else b""
    if before:
        os.utime(use, (0, 0))
    monitor.sweep()
    return use.exists() and use.read_bytes() != before


def end(top: Path) -> None:
    """The token's time is over."""
    use = top.with_suffix(".use")
    use.write_bytes(b"h.eyJleHAiOjF9.s")
    os.utime(use, (0, 0))


def test_a_policy_to_sign_hinders_a_credential_and_ends_none(iam: Iam, tmp_path: Path) -> None:
    top, monitor = store(iam, tmp_path), Monitor(tmp_path, Issuers([iam.issuer]))
    assert renew(monitor, top)
    iam.publish()
    assert not renew(monitor, top)
    assert top.exists() and top.with_suffix(".use").exists() and queue.find_fault(top.parent, "farmlet") == ""
    end(top)  # what was made before serves to its end
    monitor.sweep()
    reason = f"User ada needs to sign AUP for this organization in order to proceed. Sign it: {iam.issuer}iam/aup/sign"
    assert (
        queue.find_fault(top.parent, "farmlet")
        == f"There is no token for farmlet now, and the job goes on by itself later: {reason}"
    )
    assert notes.tell(top) == f"no token for your jobs and sessions until then: {reason}"
    assert top.exists() and not top.with_suffix(".refused").exists()
    iam.sign("ada")
    assert renew(monitor, top)
    assert queue.find_fault(top.parent, "farmlet") == notes.tell(top) == ""


def test_a_suspension_hinders_it_until_it_is_lifted(iam: Iam, tmp_path: Path) -> None:
    top, monitor = store(iam, tmp_path), Monitor(tmp_path, Issuers([iam.issuer]))
    assert renew(monitor, top)
    iam.find("ada")["active"] = False
    assert not renew(monitor, top) and top.exists()
    assert "User ada is not active. Ask the administrators" in notes.tell(top)
    iam.find("ada")["active"] = True
    assert renew(monitor, top) and not notes.tell(top)


@pytest.mark.parametrize("how", ["revoked", "expired", "deleted"])
def test_what_is_over_is_taken_away_and_told(iam: Iam, tmp_path: Path, how: str) -> None:
    top, monitor = store(iam, tmp_path), Monitor(tmp_path, Issuers([iam.issuer]))
    assert renew(monitor, top)
    token = held(top)
    if how == "revoked":
        iam.grants.revoke(iam.clients.known[BATCH], token)
    elif how == "expired":
        iam.grants.refreshes[token].until = 1.0
    else:
        iam.remove("ada")
    renew(monitor, top)
    assert not top.exists(), "the next submission asks anew"
    assert "invalid_token); store it anew: farmlet-credential" in notes.tell(top)
    assert token not in top.with_suffix(".refused").read_text(), "an IAM repeats it in its words"
    end(top)
    monitor.sweep()
    assert f"its issuer has ended it: {iam.issuer}token: invalid_token" in queue.find_fault(top.parent, "farmlet")
    assert ", 1 refused by their issuer (ada/farmlet)" in checks.count(tmp_path)
    if how != "deleted":
        store(iam, tmp_path)
        assert renew(monitor, top) and not notes.tell(top)


def test_an_answer_that_is_lost_costs_nothing_where_refresh_tokens_are_reused(iam: Iam, tmp_path: Path) -> None:
    top, monitor = store(iam, tmp_path), Monitor(tmp_path, Issuers([iam.issuer]))
    iam.lose = 1
    assert renew(monitor, top), "it is asked again in the same moment"
    assert checks.check_rotation(str(tmp_path / ROTATING), iam.issuer)


def test_where_they_rotate_a_lost_answer_is_told_as_what_it_is_and_the_check_finds_the_setting(iam: Iam, tmp_path: Path) -> None:
    top, monitor = store(iam, tmp_path, "rotating"), Monitor(tmp_path, Issuers([iam.issuer]))
    first = held(top)
    assert renew(monitor, top) and held(top) != first
    path = str(tmp_path / ROTATING)
    with pytest.raises(Failed, match=r"client rotating rotates its refresh tokens .*“reuse refresh token”"):
        checks.check_rotation(path, iam.issuer)
    again = Monitor(tmp_path, Issuers([iam.issuer]))  # started anew, and nothing is due
    again.sweep()
    with pytest.raises(Failed, match="client rotating"):
        checks.check_rotation(path, iam.issuer)
    iam.lose = 1
    assert not renew(monitor, top) and not top.exists()
    assert "invalid_token, after an answer of it was lost on the way); store it anew" in notes.tell(top)
    iam.clients.known["rotating"].reuse_refresh_token = True
    top = store(iam, tmp_path, "rotating")
    assert renew(again, top)
    assert checks.check_rotation(path, iam.issuer)


def test_a_question_that_never_came_there_is_asked_again_at_once(iam: Iam, tmp_path: Path) -> None:
    """What cannot be told from a lost answer; where they rotate it is the one that can be helped."""
    top, monitor = store(iam, tmp_path, "rotating"), Monitor(tmp_path, Issuers([iam.issuer]))
    iam.drop = 1
    assert renew(monitor, top) and not notes.tell(top)
