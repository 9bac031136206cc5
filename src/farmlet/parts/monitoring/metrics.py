"""What is counted on every node. Run by the node agent as root; standard library only."""

from __future__ import annotations

import json
import ssl
from functools import lru_cache
from pathlib import Path

from farmlet.runtime.checks import run
from farmlet.runtime.metrics import Sample


def measure_certificates(tasks: str) -> list[Sample]:
    """When each certificate ends that this node renews (those in the agent's tasks)."""
    rows = [row for path in sorted(Path(tasks).glob("*.json")) for row in json.loads(path.read_text()).get("renew", ())]
    help_ = "when it ends, since 1970"
    paths = [Path(row["path"]) for row in rows]
    found = {str(path): _find_end(str(path), path.stat().st_mtime_ns) for path in paths if path.is_file()}
    name = "certificate_end_timestamp"
    return [Sample(name, end, {"path": path}, "seconds", help=help_) for path, end in found.items()]


@lru_cache(maxsize=64)
def _find_end(path: str, changed: int) -> int:
    """Asked once for each time that the file was `changed`."""
    end = run("openssl", "x509", "-in", path, "-noout", "-enddate").strip().removeprefix("notAfter=")
    return ssl.cert_time_to_seconds(end)
