"""The kinds of sites that drones can be ordered at: `kind:` of a site in the facility file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from farmlet.parts.overlay.sites.htcondor import HTCondor
from farmlet.parts.overlay.sites.kind import Kind

if TYPE_CHECKING:
    from farmlet.facility.catalog import Issue
    from farmlet.facility.model import Facility

KINDS: Mapping[str, Kind] = {"htcondor": HTCondor()}


def validate_kinds(facility: Facility) -> Iterator[Issue]:
    """The sites of a kind that there is none of."""
    for site in facility.sites.values():
        if site.kind not in KINDS:
            what = f"{site.kind} is no kind of site that Farmlet can order drones at yet"
            yield ("sites", site.name, "kind"), what, f"kinds: {', '.join(KINDS)}"
