"""What the overlay's node says of drones that may come, for an admin who asks about one job."""

from __future__ import annotations

import json
from typing import Any

from farmlet.facility import places
from farmlet.parts.admin import Running
from farmlet.parts.overlay.deploy import REGISTRY, TOLD
from farmlet.parts.overlay.sites.kind import find_pause
from farmlet.parts.units import NODE


def ask(running: Running) -> dict[str, Any]:
    """As `look` has it; {} without sites. Raises CommandError."""
    facility = running.facility
    if not facility.sites or not facility.has("overlay.controller"):
        return {}
    pauses = {name: find_pause(TOLD, name) for name in facility.sites}
    given = {"registry": REGISTRY, "told": TOLD, "gates": places.GATES, "pauses": pauses}
    words = [f"{NODE}/bin/python", "-I", "-m", "farmlet.parts.overlay.look", json.dumps(given)]
    found: dict[str, Any] = json.loads(running.run(facility.host("overlay.controller").name, words))
    return found
