"""What the CVMFS client counts of each repository. Run by the node agent; standard library only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from farmlet.parts.software.cvmfs.stat import read_stat
from farmlet.runtime.checks import Failed
from farmlet.runtime.metrics import Sample

KIB, MINUTE, PERCENT = 1024, 60, 0.01
Kind = Literal["gauge", "counter"]
# column of `cvmfs_config stat` → name, unit, kind, how many units one of it is, words
COLUMNS: dict[str, tuple[str, str, Kind, float, str]] = {
    "ONLINE": ("cvmfs_online", "", "gauge", 1, "whether the client reaches a server: 1 or 0"),
    "REVISION": ("cvmfs_revision", "", "gauge", 1, "which state of the repository is mounted"),
    "EXPIRES(M)": ("cvmfs_expires", "seconds", "gauge", MINUTE, "until the client looks for a newer state"),
    "UPTIME(M)": ("cvmfs_uptime", "seconds", "gauge", MINUTE, "since the repository was mounted"),
    "MEM(K)": ("cvmfs_memory", "bytes", "gauge", KIB, "memory of the client"),
    "CACHEUSE(K)": ("cvmfs_cache_used", "bytes", "gauge", KIB, "what is in the cache, of all repositories together"),
    "CACHEMAX(K)": ("cvmfs_cache_limit", "bytes", "gauge", KIB, "what may be in the cache"),
    "NOFDUSE": ("cvmfs_open", "files", "gauge", 1, "files that are open"),
    "NOFDMAX": ("cvmfs_open_limit", "files", "gauge", 1, "files that may be open"),
    "NOIOERR": ("cvmfs_io_errors", "", "counter", 1, "reads that failed"),
    "HITRATE(%)": ("cvmfs_hit", "ratio", "gauge", PERCENT, "how many of the reads the cache answered"),
    "RX(K)": ("cvmfs_received", "bytes", "counter", KIB, "what came over the network"),
}


def measure(repositories: Sequence[str]) -> list[Sample]:
    """Of each repository that is mounted; of the others that they are not."""
    return [sample for name in repositories for sample in measure_one(name)]


def measure_one(repository: str) -> Iterator[Sample]:
    labels = {"repository": repository}
    try:
        stat = read_stat(repository)
    except Failed:
        stat = {}
    yield Sample("cvmfs_mounted", bool(stat), labels, help="whether the client tells of the repository: 1 or 0")
    for column, (name, unit, kind, factor, words) in COLUMNS.items():
        try:
            value = float(stat[column]) * factor
        except (KeyError, ValueError):  # `n/a` before anything was read
            continue
        yield Sample(name, value, labels, unit, kind, words)
