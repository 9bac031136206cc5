"""What is counted of notebooks. Run by the node agent as root; standard library only. Of single members nothing."""

from __future__ import annotations

from collections import Counter

from farmlet.facility.places import NOTEBOOK, SERVER
from farmlet.runtime.checks import run
from farmlet.runtime.metrics import Sample

STATES = ("running", "exited", "created")  # of a container, as Docker says
ALIKE = {"failed": "exited", "start": "created", "start-pre": "created"}  # of a unit, as systemd says


def count_servers(spawner: str = "docker") -> list[Sample]:
    """The members' servers by state, as Docker or systemd has them."""
    if spawner == "systemd":
        rows = run("systemctl", "list-units", "--all", "--plain", "--no-legend", f"{SERVER}*.service").splitlines()
        said = Counter(ALIKE.get(state, state) for state in (row.split()[3] for row in rows))
    else:
        said = Counter(run("docker", "ps", "--all", "--filter", f"label={NOTEBOOK}", "--format", "{{.State}}").split())
    counts = {state: said[state] for state in STATES} | {"other": sum(said[one] for one in {*said} - {*STATES})}
    return [Sample("notebooks_servers", count, {"state": state}, help="notebooks") for state, count in counts.items()]
