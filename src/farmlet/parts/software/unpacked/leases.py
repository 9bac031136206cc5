"""What of the images is in use: by running jobs, on the facility's nodes and at sites, as the pool's collector has them, and by
running notebooks, as the agents of their nodes tell with the results of checks.

Slots advertise which image their job has and since when. Standard library only.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from farmlet.parts.images import IN_USE
from farmlet.runtime import ads
from farmlet.runtime.checks import Failed, run

NAMES = ("ContainerImage", "SingularityImage", "JobStart")
LATE = 600.0  # seconds after which what an agent has told is no answer
SLACK = 60.0  # seconds by which clocks may differ


@dataclass(frozen=True)
class Job:
    """A running job: the image that it names, and when it began (seconds since 1970; 0 if that is not known). Or a notebook,
    whose node names its image by the content."""

    image: str
    start: float


def read(pool: str, results: Iterable[str] = (), default: str = "") -> list[Job]:
    """All that runs in an image now; no jobs where there is no `pool`. `results`: files with what the agents of nodes with
    notebooks told; `default`: the image of jobs that name none, if they matter. Raises Failed or ValueError."""
    return [*_read_notebooks(results), *(_read_jobs(pool, default) if pool else ())]


def _read_notebooks(results: Iterable[str]) -> Iterator[Job]:
    for path in map(Path, results):
        try:
            told = json.loads(path.read_text())
            said = {row["check"]: row for row in told["results"]}[IN_USE]
        except (OSError, LookupError, ValueError, TypeError) as error:
            raise Failed(f"{path.stem} has not told what its notebooks use: {error!r}") from error
        if not said["ok"] or time.time() - told["at"] > LATE:
            raise Failed(f"{path.stem} does not tell what its notebooks use")
        yield from (Job(name, told["at"]) for name in said["evidence"].split()[2:])


def _read_jobs(pool: str, default: str) -> list[Job]:
    # it is the slots' word, and so a site's: what is odd there keeps an image, at worst
    named = "JobStart" if default else "ContainerImage =!= undefined || SingularityImage"
    asked = f"({ads.bound(*NAMES)}) && ({named} =!= undefined)"
    said = run("condor_status", "-pool", pool, "-constraint", asked, "-attributes", ",".join(NAMES), "-json")
    return [
        Job(image, ads.number(ad, "JobStart", 1e12) or 0.0)
        for ad in ads.read(said.encode())
        for image in list(filter(None, (ads.text(ad, name) for name in NAMES[:2]))) or [default]
        if image
    ]


def find_name(job: Job, area: Path) -> str:
    """What a job's image is called in the area; "" if it is elsewhere."""
    return job.image.rstrip("/").removeprefix(f"{area}/") if job.image.startswith(f"{area}/") else ""


def is_used(flat: str, names: Iterable[str], until: float, jobs: Iterable[Job], area: Path) -> bool:
    """Whether somebody may have begun in the root file system `flat`, which was shown as `names` until then."""
    known = set(names)
    for job in jobs:
        name = find_name(job, area)
        if job.image == flat or flat in name or (name in known and job.start <= until + SLACK):
            return True
    return False
