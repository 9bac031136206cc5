"""What of the area is in use: the images of running jobs, on the facility's nodes and at sites, as the pool's collector has them.

Slots advertise which image their job has and since when. Standard library only.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from farmlet.runtime import ads
from farmlet.runtime.checks import run

NAMES = ("ContainerImage", "SingularityImage", "JobStart")
SLACK = 60.0  # seconds by which clocks may differ


@dataclass(frozen=True)
class Job:
    """A running job: the image that it names, and when it began (seconds since 1970; 0 if that is not known)."""

    image: str
    start: float


def read(pool: str) -> list[Job]:
    """The jobs that run now in an image that they name; none where there is no `pool`. Raises Failed or ValueError."""
    if not pool:
        return []
    # it is the slots' word, and so a site's: what is odd there keeps an image, at worst
    asked = f"({ads.bound(*NAMES)}) && (ContainerImage =!= undefined || SingularityImage =!= undefined)"
    said = run("condor_status", "-pool", pool, "-constraint", asked, "-attributes", ",".join(NAMES), "-json")
    return [
        Job(image, ads.number(ad, "JobStart", 1e12) or 0.0)
        for ad in ads.read(said.encode())
        for name in NAMES[:2]
        if (image := ads.text(ad, name))
    ]


def find_name(job: Job, area: Path) -> str:
    """What a job's image is called in the area; "" if it is elsewhere."""
    return job.image.rstrip("/").removeprefix(f"{area}/") if job.image.startswith(f"{area}/") else ""


def is_used(flat: str, names: Iterable[str], until: float, jobs: Iterable[Job], area: Path) -> bool:
    """Whether a job may have begun in the root file system `flat`, which was shown as `names` until then."""
    known = set(names)
    for job in jobs:
        name = find_name(job, area)
        if flat in name or (name in known and job.start <= until + SLACK):
            return True
    return False
