"""The demo's batch jobs: the submit file, the wait for them, and what proves that they ran where they should."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from itertools import pairwise
from string import Template
from typing import Any

from farmlet.demo.machine import Machine
from farmlet.errors import FarmletError

HELD = 5  # JobStatus of a held job (HTCondor manual, job ClassAd attributes)
HISTORY = "ProcId,ExitCode,ExitBySignal,LastRemoteHost,MachineAttrFarmletSite0"
SITE = "# only at a site, never on the facility's own nodes\nrequirements      = (TARGET.FarmletSite =!= undefined)"
OWN = "# only on the facility's own nodes\nMy.WantLocal      = true"
DEVIATION = 1e-6  # GeV: the recorded masses carry 8 to 10 digits


class _Submit(Template):
    """Placeholders are `@@name`: the dollar belongs to HTCondor."""

    delimiter = "@@"


def cut_rows(rows: int, jobs: int) -> list[tuple[int, int]]:
    """`jobs` slices first ≤ i < last that cover `rows` rows once; sizes differ by one at most."""
    edges = [rows * index // jobs for index in range(jobs + 1)]
    return list(pairwise(edges))


def render_submit(image: str, storage: str, slices: Sequence[tuple[int, int]], own: bool = False) -> str:
    """The submit description: one job for each slice of rows; `own`: one that stays here. `storage` is the directory's URL."""
    text = (files("farmlet.demo") / "analysis" / "jobs.sub").read_text()
    lines = "\n".join(f"{first}, {last}" for first, last in slices)
    return _Submit(text).substitute(
        image=image, storage=storage, slices=lines, where=OWN if own else SITE, name="own" if own else "$(Process)"
    )


@dataclass(frozen=True)
class Done:
    """A job of the history: `host` is the slot it ran in, `site` what that slot said of itself."""

    number: int
    code: int | None
    host: str
    site: str

    @classmethod
    def load(cls, row: dict[str, Any]) -> Done:
        """From a job's ClassAd as condor_history prints it; what the job never had is empty."""
        host, site = row.get("LastRemoteHost", ""), row.get("MachineAttrFarmletSite0", "")
        return cls(row["ProcId"], row.get("ExitCode"), host, "" if site == "undefined" else site)


@dataclass
class Batch:
    """A submitted cluster of `jobs` jobs. `seen`: drone slots seen meanwhile; `first`: seconds until the first."""

    machine: Machine
    folder: str
    cluster: int
    jobs: int
    seen: set[str] = field(default_factory=set)
    first: float = 0.0

    @classmethod
    def submit(cls, machine: Machine, folder: str, jobs: int, said: str) -> Batch:
        """`said`: by condor_submit of jobs.sub, first."""
        match = re.search(r"^(\d+)\.\d+ - \d+\.(\d+)", said, re.MULTILINE)
        if match is None or int(match[2]) + 1 != jobs:
            raise FarmletError("condor_submit", f"did not make {jobs} jobs: {said.strip()[:200]}")
        return cls(machine, folder, int(match[1]), jobs)

    def wait(self, pool: Callable[[], Sequence[str]], patience: float, pause: float = 1.0) -> list[Done]:
        """All jobs of the history once every one ended well. Raises FarmletError for a held or failed job, or late."""
        began = time.monotonic()
        while True:
            slots = set(pool())
            if slots and not self.seen:
                self.first = time.monotonic() - began
            self.seen |= slots
            queue, done = self.load_state()
            self.check(queue, done)
            if len(done) == self.jobs:
                return done
            if time.monotonic() - began > patience:
                what = f"{len(done)} of {self.jobs} jobs ended in {patience:.0f} s; {len(slots)} drone slots now"
                raise FarmletError(f"cluster {self.cluster}", what, "farmlet logs service; farmlet status")
            time.sleep(pause)

    def load_state(self) -> tuple[list[dict[str, Any]], list[Done]]:
        """Jobs still in the queue, and those in the history."""
        said = self.machine.ssh(
            f"condor_q {self.cluster} -json -attributes ProcId,JobStatus,HoldReason && echo --- && "
            f"condor_history {self.cluster} -json -attributes {HISTORY}",
            timeout=45,
        )
        queue, history = (json.loads(part.strip() or "[]") for part in said.split("---\n", 1))
        return queue, sorted(map(Done.load, history), key=lambda job: job.number)

    def check(self, queue: Sequence[dict[str, Any]], done: Sequence[Done]) -> None:
        for row in queue:
            if row.get("JobStatus") == HELD:
                raise self.fail(row["ProcId"], f"is held: {row.get('HoldReason', 'no reason given')}")
        for job in done:
            if job.code != 0:
                said = self.machine.ssh(f"tail -c 400 {self.folder}/jobs/{job.number}.err || true").strip()
                raise self.fail(job.number, f"ended with {job.code} in {job.host or 'no slot'}: {said}")

    def fail(self, number: int, what: str) -> FarmletError:
        return FarmletError(f"job {self.cluster}.{number}", what, f"condor_q -better-analyze {self.cluster}.{number}")

    def load_reports(self) -> list[dict[str, Any]]:
        """The line of JSON that each job printed, by job number."""
        said = self.machine.ssh(f"cd {self.folder}/jobs && for i in $(seq 0 {self.jobs - 1}); do cat $i.out; done")
        reports = [dict(json.loads(line)) for line in said.splitlines() if line.startswith("{")]
        if len(reports) != self.jobs:
            what = f"{len(reports)} of {self.jobs} jobs reported"
            raise FarmletError(f"cluster {self.cluster}", what, f"see {self.folder}/jobs/*.out")
        return reports

    def load_own(self) -> dict[str, Any]:
        """What the job on a slot of the facility's own printed. Raises FarmletError while there is nothing."""
        said = self.machine.ssh(f"cat {self.folder}/jobs/own.out 2>/dev/null || true")
        if not said.startswith("{"):
            error = self.machine.ssh(f"tail -c 400 {self.folder}/jobs/own.err 2>/dev/null || true").strip()
            raise FarmletError("the job on a slot of our own", f"did not report: {error}", "farmlet check batch")
        return dict(json.loads(said))


def check_reports(reports: Sequence[dict[str, Any]], done: Sequence[Done], rows: int) -> dict[str, int]:
    """Summed counts by cut. Raises FarmletError unless every row was read once, masses agree, and all ran at a site."""
    for job in done:
        if not job.site:
            raise FarmletError(f"job {job.number}", f"ran in {job.host}, which is at no site", "farmlet check overlay")
    for number, report in enumerate(reports):
        if report["image"] == "none":
            raise FarmletError(f"job {number}", f"ran outside the software image on {report['host']}")
        if report["deviation"] > DEVIATION:
            raise FarmletError(f"job {number}", f"masses differ by {report['deviation']} GeV from the recorded ones")
    counts = {cut: sum(report["counts"][cut] for report in reports) for cut in reports[0]["counts"]}
    if counts["rows"] != rows:
        raise FarmletError("jobs", f"they read {counts['rows']} rows of {rows}")
    return counts
