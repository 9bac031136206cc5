"""Jobs at the end of memberships: what agents do with the item `accounts`. Runs as root, standard library only."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from farmlet.errors import FarmletError
from farmlet.runtime.files import write
from farmlet.runtime.rows import read

SECONDS = 20
SHADOW_SECONDS = 6.0
# tells our holds from those of members and of HTCondor itself
CODE = 7001
# JobStatus: held; running, transferring output, suspended; removed or completed, but not out of the queue yet
HELD, RUNNING, ENDED = "5", ("2", "6", "7"), ("3", "4")
REASON = "The membership of the job's owner has ended (Farmlet)."
# the agent's own /tmp is private, and HTCondor's tools say who they are by a file in the common one
OUTSIDE = ("systemd-run", "--quiet", "--wait", "--pipe", "--collect")


def apply(data: bytes, remove: bool = False) -> None:
    """Hold the jobs of members who are not active, or `remove` them; release what was held for those who are back.

    Raises FarmletError when the queue does not answer.
    """
    states = {str(account["name"]): str(account["state"]) for account in read(data)}
    queued = _read(["condor_q", "-all", "-allusers", "-af", "Owner", "JobStatus", "HoldReasonSubCode"])
    jobs = [line.split() for line in queued.splitlines()]
    jobs = [row for row in jobs if row[1] not in ENDED]
    gone = {owner for owner, _, _ in jobs if states.get(owner, "active") != "active"}
    # whoever is removed does not come back
    ended = {owner for owner in gone if remove or states[owner] == "removed"}
    held = {owner for owner, status, _ in jobs if owner in gone - ended and status != HELD}
    back = {owner for owner, status, code in jobs if owner not in gone and (status, code) == (HELD, str(CODE))}
    if running := {owner for owner, status, _ in jobs if owner in gone and status in RUNNING}:
        # at once: a hold asks first, and a job may take its time to answer
        _read(["condor_vacate_job", "-fast", "-constraint", f"{_of(running)} && JobStatus != {HELD}"])
    if ended:
        _read(["condor_rm", "-constraint", _of(ended), "-reason", REASON])
    if held:
        _read(["condor_hold", "-constraint", f"{_of(held)} && JobStatus != {HELD}", "-reason", REASON, "-subcode", str(CODE)])
    if ended or held:
        _await_shadows({int(account["uid"]) for account in read(data) if account["name"] in ended | held})
    if back:
        _read(["condor_release", "-constraint", f"{_of(back)} && JobStatus == {HELD} && HoldReasonSubCode =?= {CODE}"])


def _await_shadows(uids: Collection[int], proc: Path = Path("/proc")) -> None:
    """Wait until the jobs have been given up in order: killed shadows would leave jobs at sites to the end of their lease."""
    end = time.monotonic() + SHADOW_SECONDS
    while time.monotonic() < end:
        shadows = [status for status in proc.glob("[0-9]*/status") if _is_shadow(status, uids)]
        if not shadows:
            return
        time.sleep(0.2)


def _is_shadow(status: Path, uids: Collection[int]) -> bool:
    with suppress(OSError):
        text = status.read_text()
        found = re.search(r"^Uid:\t(\d+)", text, re.MULTILINE)
        return text.startswith("Name:\tcondor_shadow\n") and found is not None and int(found[1]) in uids
    return False


def revoke(data: bytes, domain: str, path: str) -> None:
    """Have the central manager refuse tokens (IDTOKENS) of members who are not active: HTCondor's revocation expression."""
    gone = sorted(str(account["name"]) for account in read(data) if account["state"] != "active")
    names = " ".join(f"{name}@{domain}" for name in gone)
    text = f'SEC_TOKEN_REVOCATION_EXPR = stringListMember(sub, "{names}", " ")\n' if gone else ""
    target = Path(path)
    if (target.read_text() if target.exists() else "") != text:
        write(target, text.encode(), 0o644)
        _read(["condor_reconfig"])


def _of(owners: Collection[str]) -> str:
    """The constraint for these owners' jobs; names hold nothing that means anything in a ClassAd."""
    return f'stringListMember(Owner, "{",".join(sorted(owners))}", ",")'


def _read(words: list[str]) -> str:
    try:
        done = subprocess.run([*OUTSIDE, *words], capture_output=True, text=True, timeout=SECONDS, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FarmletError(words[0], str(error), "systemctl status condor") from error
    if done.returncode:
        raise FarmletError(words[0], (done.stderr or done.stdout).strip()[-300:], "systemctl status condor")
    return done.stdout
