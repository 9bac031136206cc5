"""Stand-in sites: independent resource providers in containers, beside a sandbox and not part of its facility."""

from __future__ import annotations

from typing import TYPE_CHECKING

from farmlet.errors import InputError

if TYPE_CHECKING:
    from farmlet.engine.layout import StandIn
    from farmlet.facility.model import Facility


def standins(facility: Facility) -> tuple[StandIn, ...]:
    """A stand-in for each site of the file that says `connect: container`. Raises InputError for a kind there is none of yet."""
    found: list[StandIn] = []
    for site in facility.sites.values():
        if site.connect != "container":
            continue
        if site.kind != "htcondor":
            raise InputError(f"site {site.name}", f"there is no stand-in of kind {site.kind} yet", "use kind: htcondor")
        from farmlet.standins.htcondor import Tier1

        found.append(Tier1(site, facility))
    return tuple(found)
