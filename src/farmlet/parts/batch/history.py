"""What jobs used that have left the queue, counted from HTCondor's history as it grows. Run by the node agent as root; standard
library only.

The file is read on from where the last reading ended, so that each job counts once and nothing is asked of the access point. A
line is an attribute, `***` ends a job (HTCondor manual, HISTORY); a text has no newline in it, so nobody ends a job early.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from farmlet.parts.batch.metrics import find_group, find_site
from farmlet.runtime import ads
from farmlet.runtime.files import write
from farmlet.runtime.metrics import Sample

BLOCK = 16 * 1024 * 1024  # bytes of one reading
WANTED = frozenset(
    {
        *("JobStatus", "ExitCode", "QDate", "JobStartDate", "RemoteWallClockTime", "RemoteUserCpu", "RemoteSysCpu"),
        *("CpusProvisioned", "AcctGroup", "MachineAttrFarmletSite0", "JobUniverse"),
    }
)
END = re.compile(rb"^\*\*\* [^\n]*\n", re.MULTILINE)
TEXT = re.compile(rb'"[^"\\]*"')
YEAR = 366 * 86400.0
CORES = 4096.0
QUICK = 60.0  # seconds: a job that fails within has met a machine where none works, if others did too
HELP = {
    "batch_ended_jobs": "jobs that left the queue",
    "batch_quick_failures": f"jobs that failed within {QUICK:.0f} s",
    "batch_starts": "jobs of these that had begun",
    "batch_waited": "how long they had waited for it",
    "batch_cpu": "what they used of processors",
    "batch_core": "what they had of processors",
}
UNITS = {"batch_waited": "seconds", "batch_cpu": "seconds", "batch_core": "seconds"}

Key = tuple[str, str, str, str]  # name of the number, group, site, result


def measure(history: str, state: str, groups: Collection[str], sites: Collection[str]) -> list[Sample]:
    """Counters since the facility was made. `history`: HTCondor's file; `state`: what is kept between two readings."""
    kept, path = _load(Path(state)), Path(history)
    counts = defaultdict[Key, float](float, {(str(a), str(b), str(c), str(d)): value for (a, b, c, d), value in kept["counts"]})
    for ad in _read_on(path, kept):
        _count(ad, counts, groups, sites)
    saved = {"inode": kept["inode"], "offset": kept["offset"], "counts": [[key, value] for key, value in counts.items()]}
    Path(state).parent.mkdir(parents=True, exist_ok=True)
    write(Path(state), json.dumps(saved).encode(), 0o600)
    return [_describe(key, value) for key, value in sorted(counts.items())]


def _describe(key: Key, value: float) -> Sample:
    name, group, site, result = key
    labels = {"group": group, "site": site} | ({"result": result} if result else {})
    return Sample(name, value, labels, UNITS.get(name, ""), "counter", HELP[name])


def _load(path: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        found = json.loads(path.read_bytes())
        if isinstance(found, dict) and {"inode", "offset", "counts"} <= found.keys():
            return found
    return {"inode": 0, "offset": 0, "counts": []}


def _read_on(path: Path, kept: dict[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The jobs since the last time; `kept` tells afterwards how far it was read. What HTCondor put aside is ended first."""
    if not path.exists():
        return
    inode = path.stat().st_ino
    if kept["inode"] and kept["inode"] != inode:
        for old in path.parent.glob(f"{path.name}.*"):
            if old.stat().st_ino == kept["inode"]:
                yield from _read_file(old, kept)
    if kept["inode"] != inode:
        kept |= {"inode": inode, "offset": 0}
    yield from _read_file(path, kept)


def _read_file(path: Path, kept: dict[str, Any]) -> Iterator[Mapping[str, Any]]:
    with path.open("rb") as stream:
        stream.seek(kept["offset"])
        data = stream.read(BLOCK)
    begin = 0
    for end in END.finditer(data):
        yield _parse(data[begin : end.start()])
        begin = end.end()
    # a job that fills a whole block is not waited for
    kept["offset"] += begin or (len(data) if len(data) == BLOCK else 0)


def _parse(text: bytes) -> Mapping[str, Any]:
    ad = dict[str, Any]()
    for line in text.splitlines():
        name, _, value = line.partition(b" = ")
        if (key := name.decode(errors="replace")) not in WANTED or len(value) > ads.LONGEST:
            continue
        if TEXT.fullmatch(value):
            ad[key] = value[1:-1].decode(errors="replace")
        else:
            with suppress(ValueError):  # an expression, or undefined
                ad[key] = int(value) if value.lstrip(b"-").isdigit() else float(value)
    return ad


def _count(ad: Mapping[str, Any], counts: dict[Key, float], groups: Collection[str], sites: Collection[str]) -> None:
    if ads.whole(ad, "JobUniverse") == 7:  # a workflow's own program, on the access point
        return
    began, queued = (ads.number(ad, name, 1e11) for name in ("JobStartDate", "QDate"))
    group, site = find_group(ad, groups), "none" if began is None else find_site(ad, sites)
    wall = ads.number(ad, "RemoteWallClockTime", YEAR) or 0.0
    result = "removed" if ad.get("JobStatus") == 3 else "ok" if ad.get("ExitCode") == 0 else "failed"
    counts["batch_ended_jobs", group, site, result] += 1
    counts["batch_quick_failures", group, site, ""] += result == "failed" and wall < QUICK
    if began is None:
        return
    counts["batch_starts", group, site, ""] += 1
    counts["batch_waited", group, site, ""] += min(max(began - (queued or began), 0.0), YEAR)
    had = wall * (ads.number(ad, "CpusProvisioned", CORES) or 1.0)
    used = sum(ads.number(ad, name, YEAR * CORES) or 0.0 for name in ("RemoteUserCpu", "RemoteSysCpu"))
    counts["batch_core", group, site, ""] += had
    counts["batch_cpu", group, site, ""] += min(used, 2 * had)  # more is somebody's word, not a use
