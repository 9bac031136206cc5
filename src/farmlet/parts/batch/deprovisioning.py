"""Deprovisioning of jobs: what agents do with the item `accounts`. Runs as root, standard library only."""

from __future__ import annotations

import re
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from farmlet.errors import FarmletError
from farmlet.runtime import ads
from farmlet.runtime.files import write
from farmlet.runtime.program import run
from farmlet.runtime.rows import FIRST_UID, read_members

SECONDS = 20
SHADOW_SECONDS = 6.0
# tells our holds from those of members and of HTCondor itself
CODE = 7001
# JobStatus: held; running, transferring output, suspended
HELD, RUNNING = 5, (2, 6, 7)
# those that were removed or completed are not out of the queue yet
QUEUED = "JobStatus =!= 3 && JobStatus =!= 4"
# as it is written: a member may write an expression there, which nobody is to evaluate
OURS = f'JobStatus =?= {HELD} && unparse(HoldReasonSubCode) =?= "{CODE}"'
REASON = "The membership of the job's owner has ended (Farmlet)."
# the agent's own /tmp is private, and HTCondor's tools say who they are by a file in the common one
OUTSIDE = ("systemd-run", "--quiet", "--wait", "--pipe", "--collect")


def apply(data: bytes, remove: bool = False, first_uid: int = FIRST_UID) -> None:
    """Hold the jobs of members who are not active, or `remove` them; release what was held for those who are back.

    Raises FarmletError when the queue does not answer.
    """
    states = {str(account["name"]): str(account["state"]) for account in read_members(data, first_uid)}
    jobs = _list(QUEUED)
    gone = {owner for owner, _ in jobs if states.get(owner, "active") != "active"}
    # whoever is removed does not come back
    ended = {owner for owner in gone if remove or states[owner] == "removed"}
    held = {owner for owner, status in jobs if owner in gone - ended and status != HELD}
    back = {owner for owner, _ in _list(OURS) if owner not in gone} if any(status == HELD for _, status in jobs) else set()
    if running := {owner for owner, status in jobs if owner in gone and status in RUNNING}:
        # at once: a hold asks first, and a job may take its time to answer
        _read(["condor_vacate_job", "-fast", "-constraint", f"{_of(running)} && JobStatus != {HELD}"])
    if ended:
        _read(["condor_rm", "-constraint", _of(ended), "-reason", REASON])
    if held:
        _read(["condor_hold", "-constraint", f"{_of(held)} && JobStatus != {HELD}", "-reason", REASON, "-subcode", str(CODE)])
    if ended or held:
        rows = read_members(data, first_uid)
        _await_shadows({int(account["uid"]) for account in rows if account["name"] in ended | held})
    if back:
        _read(["condor_release", "-constraint", f"{_of(back)} && {OURS}"])


def _await_shadows(uids: Collection[int]) -> None:
    """Wait until the jobs have been given up in order: killed shadows would leave jobs at sites to the end of their lease."""
    end = time.monotonic() + SHADOW_SECONDS
    while time.monotonic() < end:
        shadows = [status for status in Path("/proc").glob("[0-9]*/status") if _is_shadow(status, uids)]
        if not shadows:
            return
        time.sleep(0.2)


def _is_shadow(status: Path, uids: Collection[int]) -> bool:
    with suppress(OSError):
        text = status.read_bytes()  # a process may call itself by any bytes
        found = re.search(rb"^Uid:\t(\d+)", text, re.MULTILINE)
        return text.startswith(b"Name:\tcondor_shadow\n") and found is not None and int(found[1]) in uids
    return False


def revoke(data: bytes, domain: str, path: str, first_uid: int = FIRST_UID) -> None:
    """Have the central manager refuse tokens (IDTOKENS) of members who are not active: HTCondor's revocation expression."""
    gone = sorted(str(account["name"]) for account in read_members(data, first_uid) if account["state"] != "active")
    names = " ".join(f"{name}@{domain}" for name in gone)
    text = f'SEC_TOKEN_REVOCATION_EXPR = stringListMember(sub, "{names}", " ")\n' if gone else ""
    target = Path(path)
    if (target.read_text() if target.exists() else "") != text:
        write(target, text.encode(), 0o644)
        _read(["condor_reconfig"])


def _list(constraint: str) -> set[tuple[str, int | None]]:
    """Who has jobs in which status. Both are HTCondor's own: nothing of what members write is looked at here."""
    said = _read(["condor_q", "-all", "-allusers", "-constraint", constraint, "-attributes", "Owner,JobStatus", "-json"])
    try:
        found = ads.read(said)
    except ValueError as error:
        raise FarmletError("condor_q", f"an answer that cannot be read: {error}", "systemctl status condor") from error
    return {(owner, ads.whole(ad, "JobStatus")) for ad in found if (owner := ads.text(ad, "Owner"))}


def _of(owners: Collection[str]) -> str:
    """The constraint for these owners' jobs; names hold nothing that means anything in a ClassAd."""
    return f'stringListMember(Owner, "{",".join(sorted(owners))}", ",")'


def _read(words: list[str]) -> bytes:
    return run([*OUTSIDE, *words], words[0], "systemctl status condor", seconds=SECONDS)
