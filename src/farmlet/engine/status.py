"""What runs, as the node agents last reported it to the control API; one round trip to the control node."""

from __future__ import annotations

import json
import time
from typing import Any

from farmlet.engine.deployment import Deployment
from farmlet.errors import FarmletError
from farmlet.facility.places import CONTROL
from farmlet.parts.part import AGENT, find_notes

RESULTS = f"{CONTROL}/results"
STALE_SECONDS = 60  # agents report every 15 s
HEADS = f"""
import json, pathlib
print(json.dumps({{path.stem: json.loads(path.read_text()) for path in pathlib.Path("{RESULTS}").glob("*.json")}}))
"""


def endpoints(deployment: Deployment) -> dict[str, str]:
    """Where each service answers, by name, from this host."""
    facility = deployment.facility
    found = {"issuer": facility.issuer}
    for part in deployment.layout.parts.values():
        for role in part.roles:
            for node in facility.hosts(f"{part.name}.{role.name}"):
                # of two that are called the same, the first is meant
                found |= {name: url for name, url in role.endpoints(facility, node).items() if name not in found}
    others = deployment.storages() | {name: one.url for name, one in deployment.layout.elements().items()}
    return found | {f"storage@{name}": url for name, url in others.items()}


def status(deployment: Deployment) -> dict[str, Any]:
    """{"facility", "ok", "ca", "endpoints", "nodes", "parts", "notes"} (design §8); ages in seconds."""
    facility = deployment.facility
    results, fault = _results(deployment)
    nodes = [{"node": name, "state": _state(deployment, name, results)} for name in facility.nodes]
    parts = []
    for name in facility.nodes:
        found = results.get(name)
        if found is None:
            parts.append({"part": AGENT, "node": name, "state": "unknown", "evidence": fault or "no report yet", "age": 0})
            continue
        age = round(time.time() - found["at"])
        for row in found["results"]:
            state = "stale" if age > STALE_SECONDS else "ok" if row["ok"] else "failed"
            parts.append({"part": row["check"], "node": name, "state": state, "evidence": row["evidence"], "age": age})
    well = all(node["state"] == "running" for node in nodes) and all(part["state"] == "ok" for part in parts)
    ca = str(deployment.layout.authority().path)
    notes = find_notes(facility, deployment.layout.parts)
    told = {"endpoints": endpoints(deployment), "nodes": nodes, "parts": parts, "notes": notes}
    return {"facility": facility.name, "ok": well, "ca": ca, **told}


def _state(deployment: Deployment, name: str, results: dict[str, Any]) -> str:
    """A node that reported just now runs; its driver is asked only about others."""
    if name in results and time.time() - results[name]["at"] <= STALE_SECONDS:
        return "running"
    target = deployment.target(name)
    return target.driver.state(target.machine)


def _results(deployment: Deployment) -> tuple[dict[str, Any], str]:
    try:
        found: dict[str, Any] = json.loads(deployment.run(deployment.facility.controller, ["python3", "-c", HEADS], timeout=20))
    except FarmletError as error:
        return {}, error.what
    return found, ""
