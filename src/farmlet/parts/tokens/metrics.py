"""What is counted of the jobs' credentials. Run by the node agent as root; standard library only. Of single members nothing."""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from farmlet.parts.tokens.credential import choose, read_end
from farmlet.parts.tokens.credmon import list_folders, list_times
from farmlet.parts.tokens.notes import REFUSED, WAITS
from farmlet.runtime.metrics import Sample

HELP = {
    "stored": "credentials that are looked after",
    "refused": "those their issuer took back",
    "waiting": "those that wait for their member at the issuer",
    "late": "those without a token that holds, though nothing is said against them",
}


def count_credentials(folder: str) -> list[Sample]:
    """The credentials of all members below `folder`, the credential directory, by state."""
    counts = dict.fromkeys(HELP, 0)
    for name in list_folders(Path(folder)):
        for state, count in _count(Path(name)):
            counts[state] += count
    return [Sample("tokens_credentials", count, {"state": state}, help="credentials of jobs") for state, count in counts.items()]


def _count(folder: Path) -> Iterable[tuple[str, int]]:
    times = list_times(str(folder))
    tops = choose(name for name in times if name.endswith(".top"))
    stems = [name.removesuffix(".top") for name in tops]
    waits = [stem for stem in stems if f"{stem}{WAITS}" in times]
    yield "stored", len(stems)
    yield "waiting", len(waits)
    yield "refused", sum(name.endswith(REFUSED) for name in times)
    yield "late", sum(_end(folder / f"{one}.use", times.get(f"{one}.use")) < time.time() for one in set(stems) - {*waits})


@lru_cache(maxsize=20000)
def _end(path: Path, changed: int | None) -> float:
    """When the token ends that was written when the file `changed`; 0 for none."""
    try:
        return read_end(path.read_bytes()) if changed else 0.0
    except OSError:
        return 0.0
