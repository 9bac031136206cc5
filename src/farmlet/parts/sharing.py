"""Who has what is published below /cvmfs without fetching it, as far as several parts speak of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from farmlet.facility import places

if TYPE_CHECKING:
    from farmlet.facility.model import Facility, Node


def is_shared(facility: Facility) -> bool | None:
    """What the facility file says of it; None if nothing."""
    found: bool | None = getattr(facility.parts.get("software"), "shared", None)
    return found


def fetches(facility: Facility, node: Node) -> bool:
    """Whether a node makes its own /cvmfs: containers of one machine have a volume, other hosts nothing, if nobody says else."""
    if "software.client" not in node.roles or "software.build" in node.roles or is_shared(facility):
        return False
    return node.connect != "container" or any(one.connect != "container" for one in facility.hosts("software.build"))


def serves(facility: Facility) -> bool:
    """Whether what is published can be fetched: by such nodes, and by drones of sites that do not have it."""
    shared = is_shared(facility)
    if not facility.has("software.build") or shared is not None:
        return facility.has("software.build") and shared is False
    away = any(site.connect != "container" for site in facility.sites.values())
    return away or any(fetches(facility, node) for node in facility.nodes.values())


def find_url(facility: Facility) -> str:
    """Where what is published can be fetched."""
    return f"https://{facility.host('software.build').fqdn}{places.SHARED}"
