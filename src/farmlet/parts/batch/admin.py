"""What an admin asks of one job, answered by the access points and the overlay's node."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from farmlet.errors import CommandError, FarmletError, InputError
from farmlet.facility.names import accounting_group
from farmlet.parts.admin import Running
from farmlet.parts.batch.why import Place, Told, tell
from farmlet.parts.repositories import list_repositories, name_attributes
from farmlet.parts.units import NODE

if TYPE_CHECKING:
    from farmlet.facility.model import Facility

LOOK = (f"{NODE}/bin/python", "-I", "-m", "farmlet.parts.batch.look")
NUMBER = re.compile(r"[0-9]{1,9}\.[0-9]{1,9}")


def ask(running: Running, number: str, overlay: Mapping[str, Any]) -> list[Told]:
    """The jobs of that number, one of each access point that has it. `overlay`: what it said. Raises InputError, FarmletError."""
    facility = running.facility
    found = []
    for node in facility.hosts("batch.access"):
        try:
            said = json.loads(running.run(node.name, [*LOOK, number]))
        except CommandError as error:
            raise FarmletError(f"job {number}", " ".join(error.words) or error.what, "farmlet check batch") from error
        if said["job"]:
            found.append(tell(number, node.fqdn, said, overlay, _describe(facility)))
    if not found:
        what = "is in no queue, and in no history any more"
        raise InputError(f"job {number}", what, "its number is ClusterId.ProcId, as `condor_q -nobatch` shows it")
    return found


def _describe(facility: Facility) -> Place:
    shares = facility.rights.shares(facility.groups)
    parts = {accounting_group(path): share / sum(shares.values()) for path, share in shares.items()}
    return Place(sorted(facility.sites), name_attributes(list_repositories(facility)), parts)
