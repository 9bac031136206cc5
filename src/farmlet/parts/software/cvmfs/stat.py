"""What `cvmfs_config stat` says of one mounted repository: a line of names and one of values."""

from __future__ import annotations

from itertools import pairwise

from farmlet.runtime.checks import Failed, run


def read_stat(repository: str) -> dict[str, str]:
    """The values by the names of their columns, e.g. `NOIOERR`, `RX(K)`. Raises Failed."""
    lines = [line.split() for line in run("cvmfs_config", "stat", repository).splitlines() if line.strip()]
    for names, values in pairwise(lines):
        if "REVISION" in names and "ONLINE" in names and len(names) == len(values):
            return dict(zip(names, values, strict=True))
    raise Failed(f"cvmfs_config stat {repository} says nothing of use: is it mounted?")
