"""What a facility's own store answers."""

from __future__ import annotations

import json
import shlex
from typing import Any

from sandbox import Sandbox

from farmlet.parts.monitoring.store import SOCKET


def ask(sandbox: Sandbox, query: str) -> list[dict[str, Any]]:
    words = f"curl -sSf --unix-socket {SOCKET} http://store/api/v1/query --data-urlencode {shlex.quote(f'query={query}')}"
    found: list[dict[str, Any]] = json.loads(sandbox.exec("service", words))["data"]["result"]
    return found


def find_alarms(sandbox: Sandbox, window: str) -> list[dict[str, str]]:
    """What fired within that, but for what tests break on purpose."""
    query = f'max_over_time(ALERTS{{alertstate="firing",severity!="none",name!="farmlet-probe.service"}}[{window}])'
    return [row["metric"] for row in ask(sandbox, query)]
