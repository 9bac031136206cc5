"""A pause in ordering drones at a site whose hosts give them up at once, which grows while they do.

A host that cannot keep jobs apart, or is broken, ends its drone within seconds, is free again and gets the next one. Without a
pause it would be ordered as fast as the site takes orders, for as long as jobs wait. Standard library only: it lives in TARDIS'
environment, and the check reads what it tells.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from farmlet.runtime.files import write

logger = logging.getLogger("cobald.runtime.farmlet.breaker")

SHORTEST, LONGEST = 30.0, 1800.0  # seconds of a pause
SURVIVED = 180.0  # seconds after which an order whose drone did not give up counts as a good one
MOST = 1000  # orders that are remembered


@dataclass
class Breaker:
    """For one site. `told`: a file for the check, there while drones give up: JSON {"until": seconds since 1970, "count",
    "reason"}. Times are seconds since 1970, so that they mean something there.
    """

    told: Path
    pause: float = 0.0
    until: float = 0.0
    count: int = 0  # drones that gave up since one did not
    orders: dict[str, float] = field(default_factory=dict)  # not yet judged: uuid → when

    def note(self, uuids: list[str], now: float) -> None:
        """These were ordered."""
        self.orders |= dict.fromkeys(uuids, now)
        for uuid in list(self.orders)[:-MOST]:
            del self.orders[uuid]

    def judge(self, gave_up: Mapping[str, str], now: float) -> None:
        """Of the orders these gave up, each with its reason. The pause doubles with every look that finds some, and ends once a
        drone has lived, or waits in the site's queue, for SURVIVED seconds."""
        reasons = [gave_up[uuid] for uuid in self.orders if uuid in gave_up]
        lived = [uuid for uuid, at in self.orders.items() if uuid not in gave_up and now - at >= SURVIVED]
        self.orders = {uuid: at for uuid, at in self.orders.items() if uuid not in gave_up and uuid not in lived}
        if lived and self.pause:
            self.pause, self.count = 0.0, 0
        if reasons:
            self.pause = min(max(SHORTEST, 2 * self.pause), LONGEST)
            self.until = now + self.pause
            self.count += len(reasons)
            logger.warning("no drones for %.0f s: %d gave up: %s", self.pause, self.count, reasons[-1])
            self._tell(reasons[-1])
        elif not self.pause:
            with suppress(OSError):
                self.told.unlink(missing_ok=True)

    def left(self, now: float) -> float:
        """Seconds until drones may be ordered again."""
        return max(0.0, min(self.until - now, LONGEST))  # a clock that was set back holds nobody up

    def _tell(self, reason: str) -> None:
        with suppress(OSError):  # a full disk must not keep drones from being ordered
            write(self.told, json.dumps({"until": self.until, "count": self.count, "reason": reason[:300]}).encode())
