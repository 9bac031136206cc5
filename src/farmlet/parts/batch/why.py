"""Why a job is where it is, in words: pure functions over what its access point, the pool and the overlay said (`look` of both).

What members wrote is read by types, and shown without what a terminal would act on.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from farmlet.parts.batch.metrics import STATUS
from farmlet.runtime import ads

IDLE, RUNNING, REMOVED, COMPLETED, HELD, TRANSFERRING = 1, 2, 3, 4, 5, 6
MOST, LONGEST = 1e15, 600
AGAIN = "then `condor_release {id}`"
# HTCondor manual, HoldReasonCode
HOLDS = {
    1: "whoever held it, or an admin, lets it go on: `condor_release {id}`",
    3: f"its own periodic_hold says so: change what that is about with `condor_qedit`, {AGAIN}",
    4: "its owner stores a credential, `farmlet-credential`; it goes on by itself",
    6: f"its program could not be started: mend `executable` or `container_image`, {AGAIN}",
    12: f"a file could not be brought home: mend `output`, `error` or `transfer_output_files`, {AGAIN}",
    13: f"a file could not be sent: mend `transfer_input_files`, {AGAIN}",
    21: f"let it have more, `condor_qedit {{id}} RequestMemory MIB` or `RequestDisk KIB`, {AGAIN}",
    26: f"change what the reason names with `condor_qedit`, {AGAIN}; or `condor_rm {{id}}` and submit it anew",
    34: f"let it have more, `condor_qedit {{id}} RequestMemory MIB`, {AGAIN}",
}
OTHER_HOLD = f"mend what the reason names, {AGAIN}"
# of `condor_q -better-analyze`: a number, how many slots meet the condition, which may be of others by their numbers
STEP = re.compile(r"^\[(\d+)\] +(\d+|never|always)  (.+)$", re.MULTILINE)
OTHER_STEP = re.compile(r"\[(\d+)\]")
REPOSITORY = re.compile(r"\bHAS_?CVMFS_\w+", re.IGNORECASE)
SITE = re.compile(r'\bFarmletSite (?:is|==) "([^"]*)"')
OTHERWISE = "its owner changes `requirements`, with `condor_qedit` or in a new job"
SIZES = re.compile(r"\bRequest(Cpus|Memory|Disk)\b")  # told by what a whole slot has


@dataclass(frozen=True)
class Place:
    """What of the facility matters: `sites` by name, `repositories` as slots' attributes, shares by accounting group."""

    sites: Sequence[str] = ()
    repositories: Sequence[str] = ()
    shares: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Reason:
    """`code`: a word for programs; `next`: what to do, if there is anything."""

    code: str
    text: str
    next: str = ""


@dataclass(frozen=True)
class Told:
    """`since`: seconds since 1970; `site`: "" for the facility's own slots."""

    id: str
    node: str
    owner: str
    group: str
    state: str
    since: int
    site: str
    host: str
    reasons: tuple[Reason, ...]


def tell(number: str, node: str, found: Mapping[str, Any], overlay: Mapping[str, Any], place: Place) -> Told:
    """All about the job `number` at the access point `node`."""
    job: ads.Ad = found["job"]
    status = ads.whole(job, "JobStatus") or 0
    runs = status in (RUNNING, TRANSFERRING)
    reasons: Iterable[Reason] = ()
    if status == HELD:
        code = ads.whole(job, "HoldReasonCode") or 0
        reasons = [Reason("held", _text(job, "HoldReason"), HOLDS.get(code, OTHER_HOLD).format(id=number))]
    elif status == IDLE:
        reasons = _tell_idle(number, node, found, overlay, place)
    elif status in (REMOVED, COMPLETED):
        reasons = [_tell_end(job, status)]
    since = ads.whole(job, "JobCurrentStartDate") if runs else ads.whole(job, "EnteredCurrentStatus")
    where = _text(job, "RemoteHost" if runs else "LastRemoteHost") if status not in (IDLE, HELD) else ""
    site = ads.text(job, "MachineAttrFarmletSite0")
    return Told(
        *(number, node, _text(job, "Owner"), _text(job, "AcctGroup"), STATUS.get(status, "unknown"), since or 0),
        site=site if where and site in place.sites else "",
        host=where.rpartition("@")[2],
        reasons=tuple(reasons),
    )


def _tell_end(job: ads.Ad, status: int) -> Reason:
    if status == REMOVED:
        return Reason("removed", _text(job, "RemoveReason") or "no reason is told")
    signal, code = ads.whole(job, "ExitSignal"), ads.whole(job, "ExitCode")
    return Reason("ended", f"ended by signal {signal}" if job.get("ExitBySignal") is True else f"ended with exit code {code}")


def _tell_idle(number: str, node: str, found: Mapping[str, Any], overlay: Mapping[str, Any], place: Place) -> Sequence[Reason]:
    """What keeps it for good first; then what may pass; else that there is nothing."""
    job: ads.Ad = found["job"]
    local = job.get("WantLocal") is True
    slots = [slot for slot in found["slots"] if bool(ads.text(slot, "FarmletSite")) is not local]
    never = [*_tell_conditions(found["analysis"], slots, place), *_tell_size(job, slots)]
    if never:
        return never
    if any(str(one).startswith(f"{number} of ") and str(one).endswith(f" at {node}") for one in overlay.get("untaken", ())):
        text = "drones that were free for a minute did not take it, so it orders none for a quarter of an hour"
        return [Reason("untaken", text, f"`condor_q -better-analyze {number}` on {node} says which condition it is")]
    passing = [] if local else list(_tell_sites(overlay))
    if any(_fits(job, slot) for slot in slots):
        return [*passing, Reason("soon", "a slot is free for it: it is matched within seconds")]
    passing += _tell_busy(job, slots, place)
    return passing or [Reason("soon", "no slot is there yet: drones are ordered within seconds of a job's coming")]


def _tell_conditions(analysis: str, slots: Sequence[ads.Ad], place: Place) -> Iterator[Reason]:
    """Conditions that no slot meets. While there is no slot of the kind, only what none will ever meet."""
    for condition in _find_unmet(analysis):
        names, sites = sorted(set(REPOSITORY.findall(condition))), SITE.findall(condition)
        if unknown := [name for name in names if name not in place.repositories]:
            text = f"no slot is asked for the CVMFS repository of {clean(', '.join(unknown))}"
            yield Reason("repository", text, "name it in `software: {cvmfs: {repositories: …}}` of the facility file")
        elif sites and not set(sites) & set(place.sites):
            yield Reason("site", f"the facility has no site {clean(sites[0])}", f"sites: {', '.join(place.sites) or 'none'}")
        elif condition == "false":
            yield Reason("condition", "its own `requirements` are false", OTHERWISE)
        elif not slots or SIZES.search(condition):
            continue
        elif names:
            text = f"no slot that is there now has {', '.join(names)}"
            yield Reason("repository", text, f"condor_status -af FarmletSite {names[0]}")
        elif "HasSIF" in condition:
            text = "hosts of the site need squashfuse and /dev/fuse; images below /cvmfs/unpacked do without"
            yield Reason("image", "no slot that is there now mounts image files (.sif)", text)
        else:
            yield Reason("condition", f"no slot that is there now meets {clean(condition)}", OTHERWISE)


def _find_unmet(analysis: str) -> list[str]:
    """The conditions that no slot meets, without those beside which another one will do."""
    steps = {number: (count in ("0", "never"), condition) for number, count, condition in STEP.findall(analysis)}
    whole = {number: OTHER_STEP.findall(condition) for number, (_, condition) in steps.items()}
    spared = {part for number, parts in whole.items() if not steps[number][0] for part in parts}
    return [text for number, (unmet, text) in steps.items() if unmet and not whole[number] and number not in spared]


def _tell_size(job: ads.Ad, slots: Sequence[ads.Ad]) -> Iterator[Reason]:
    """What it asks for that no whole slot has."""
    for wish, total, words in (
        ("RequestCpus", "TotalSlotCpus", "request_cpus = {:.0f}"),
        ("RequestMemory", "TotalSlotMemory", "request_memory = {:.0f}"),
        ("RequestDisk", "TotalSlotDisk", "request_disk = {:.0f}K"),
    ):
        wanted = ads.number(job, wish, MOST)
        known = [most for slot in slots if (most := ads.number(slot, total, MOST)) is not None]
        if wanted is not None and known and wanted > max(known):
            text = f"no slot that is there now has {words.format(wanted)}; the largest: {max(known):.0f}"
            yield Reason("size", text, f"its owner asks for less: `condor_qedit`, attribute {wish}")


def _tell_sites(overlay: Mapping[str, Any]) -> Iterator[Reason]:
    """What becomes of drones for it."""
    for name, site in overlay.get("sites", {}).items():
        if site["closed"]:
            text = f"site {name} is closed to new drones: {clean(site['closed'])}"
            yield Reason(
                "closed",
                text,
                f"farmlet sitetest list; once it is well, `farmlet sitetest open {name}` ends what was closed by hand",
            )
        elif site["pause"]:
            yield Reason("pause", f"site {name}{clean(site['pause'])}", "farmlet check overlay")
        elif ordered := site["ordered"]:
            count = f"{len(ordered)} drones were" if len(ordered) > 1 else "a drone was"
            yield Reason("ordered", f"{count} ordered at site {name}, {show(min(ordered))}, and did not come yet")


def _tell_busy(job: ads.Ad, slots: Sequence[ads.Ad], place: Place) -> Iterator[Reason]:
    """Who has the slots that it could have."""
    used = Counter[str]()
    for slot in slots:
        if ads.text(slot, "State") == "Claimed":
            used[ads.text(slot, "AccountingGroup").partition(".")[0]] += ads.whole(slot, "Cpus") or 0
    if used:
        who = ", ".join(f"{clean(name) or 'nobody'} {count}" for name, count in used.most_common(5))
        group = ads.text(job, "AcctGroup")
        share = f"; {group} has a share of {place.shares[group]:.0%} of the pool" if group in place.shares else ""
        yield Reason("busy", f"all slots for it are in use (cores by group: {who}){share}")


def _fits(job: ads.Ad, slot: ads.Ad) -> bool:
    wishes = (
        (ads.number(job, wish, MOST) or 0, ads.number(slot, wish[7:], MOST) or 0) for wish in ("RequestCpus", "RequestMemory")
    )
    return slot.get("PartitionableSlot") is True and ads.text(slot, "State") == "Unclaimed" and all(a <= b for a, b in wishes)


def show(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def clean(text: str) -> str:
    """One line, of characters that no terminal acts on."""
    return "".join(letter if letter.isprintable() else " " for letter in text)[:LONGEST].strip()


def _text(ad: ads.Ad, name: str) -> str:
    return clean(ads.text(ad, name))
