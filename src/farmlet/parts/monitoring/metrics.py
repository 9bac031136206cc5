"""What is counted on every node. Run by the node agent as root; standard library only."""

from __future__ import annotations

import json
import os
import ssl
import time
from email.utils import parsedate_to_datetime
from http.client import HTTPException, HTTPSConnection
from pathlib import Path

from farmlet.runtime.checks import read_end
from farmlet.runtime.metrics import Sample


def measure_certificates(tasks: str) -> list[Sample]:
    """When each certificate ends that this node renews (those in the agent's tasks)."""
    rows = [row for path in sorted(Path(tasks).glob("*.json")) for row in json.loads(path.read_text()).get("renew", ())]
    help_ = "when it ends, since 1970"
    paths = [Path(row["path"]) for row in rows]
    found = {str(path): read_end(str(path), path.stat().st_mtime_ns) for path in paths if path.is_file()}
    name = "certificate_end_timestamp"
    return [Sample(name, end, {"path": path}, "seconds", help=help_) for path, end in found.items()]


def measure_backup(path: str) -> list[Sample]:
    """When the backup in the folder `path` was made, by its newest file; 0 where there is none, and what is empty is none. A file
    instead of a folder is one that is touched each time."""
    place = Path(path)
    try:
        files = [entry.stat() for entry in os.scandir(place) if entry.is_file()] if place.is_dir() else [place.stat()]
    except FileNotFoundError:
        files = []
    made = max((one.st_mtime for one in files if one.st_size or not place.is_dir()), default=0.0)
    return [Sample("backup_timestamp", made, {"path": path}, "seconds", help="when the last backup was made, since 1970")]


def measure_clock(host: str, ca: str) -> list[Sample]:
    """How far this node's clock is ahead of the control node's, by the `Date` of its reverse proxy, which tells whole seconds.

    Raises OSError where that does not answer.
    """
    connection = HTTPSConnection(host, timeout=5, context=ssl.create_default_context(cafile=ca))
    try:
        began = time.time()
        connection.request("HEAD", "/")
        date = connection.getresponse().headers["Date"]
        there = parsedate_to_datetime(date).timestamp()
    except (HTTPException, TypeError) as error:
        raise OSError(f"{host} tells no time: {error}") from error
    finally:
        connection.close()
    # from the moment of asking to that of the answer its clock showed some time in that second: within it nothing is off
    early, late = began - (there + 1), time.time() - there
    off = max(early, 0.0) or min(late, 0.0)
    return [Sample("clock_ahead", off, unit="seconds", help="of the control node's clock; 0 within a second")]
