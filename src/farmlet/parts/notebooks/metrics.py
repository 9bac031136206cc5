"""What is counted of notebooks. Run by the node agent as root; standard library only. Of single members nothing."""

from __future__ import annotations

from collections import Counter

from farmlet.facility.places import NOTEBOOK
from farmlet.runtime.checks import run
from farmlet.runtime.metrics import Sample

STATES = ("running", "exited", "created")  # of a container, as Docker says


def count_servers() -> list[Sample]:
    """The members' servers by state, as Docker has them."""
    said = Counter(run("docker", "ps", "--all", "--filter", f"label={NOTEBOOK}", "--format", "{{.State}}").split())
    counts = {state: said[state] for state in STATES} | {"other": sum(said[one] for one in {*said} - {*STATES})}
    return [Sample("notebooks_servers", count, {"state": state}, help="notebooks") for state, count in counts.items()]
