"""What an access point and the pool know of one job, as JSON: the node's half of `farmlet explain job`.

    python -I -m farmlet.parts.batch.look CLUSTER.PROC

{"job": ad or null, "analysis": what `condor_q -better-analyze` says of one that waits, "slots": ads}. Run by root on an access
point; standard library only.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from farmlet.errors import FarmletError
from farmlet.runtime import ads
from farmlet.runtime.program import run

IDLE = 1
SECONDS = 20.0  # of a query
THINKING = 10.0  # of the analysis, which evaluates what the job's owner wrote
ATTRIBUTES = (
    *("Owner", "JobStatus", "JobUniverse", "EnteredCurrentStatus", "QDate", "JobCurrentStartDate", "CompletionDate"),
    *("HoldReason", "HoldReasonCode", "RemoveReason", "ExitCode", "ExitBySignal", "ExitSignal", "WantLocal", "AcctGroup"),
    *("RequestCpus", "RequestMemory", "RequestDisk", "RemoteHost", "LastRemoteHost", "MachineAttrFarmletSite0"),
)
SLOT = (
    *("Name", "FarmletSite", "State", "Cpus", "Memory", "PartitionableSlot", "AccountingGroup"),
    *("TotalSlotCpus", "TotalSlotMemory", "TotalSlotDisk"),
)


def look(number: str) -> dict[str, Any]:
    """Raises FarmletError when the queue does not answer."""
    cluster, _, process = number.partition(".")
    wanted = ["-attributes", ",".join(ATTRIBUTES), "-json"]
    found = ads.read(_run("condor_q", "-allusers", "-constraint", f"ClusterId == {cluster} && ProcId == {process}", *wanted))
    if not found:
        found = ads.read(_run("condor_history", number, "-limit", "1", *wanted))
        return {"job": found[0] if found else None, "analysis": "", "slots": []}
    if ads.whole(found[0], "JobStatus") != IDLE:
        return {"job": found[0], "analysis": "", "slots": []}
    slots = ads.read(_run("condor_status", "-attributes", ",".join(SLOT), "-json"))
    return {"job": found[0], "analysis": _analyse(number), "slots": slots}


def _analyse(number: str) -> str:
    """ "" where it takes too long: an expression can."""
    try:
        return _run("condor_q", "-better-analyze", number, seconds=THINKING).decode(errors="replace")
    except FarmletError:
        return ""


def _run(*words: str, seconds: float = SECONDS) -> bytes:
    return run(words, hint="farmlet check batch", seconds=seconds)


def main(words: Sequence[str]) -> int:
    try:
        print(json.dumps(look(words[0])))
    except FarmletError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
