"""What differs: a node's wanted resources against what the probe sees there, in one round trip."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from typing import Any

from farmlet.engine.nodes.driver import Machine, NodeDriver
from farmlet.errors import FarmletError
from farmlet.parts.resources import Certificate, Command, Environment, Farmlet, File, Resource, Unit, Wanted


@dataclass(frozen=True)
class Target:
    """A node and all that it should have: `install` (what an image holds) and `configure`, role by role, in order."""

    machine: Machine
    driver: NodeDriver
    install: tuple[Wanted, ...]
    configure: tuple[Wanted, ...]
    authority: str = ""  # PEM of the authority that signs this node's certificates

    @property
    def name(self) -> str:
        return self.machine.name

    @property
    def wanted(self) -> tuple[Wanted, ...]:
        return self.install + self.configure


@dataclass(frozen=True)
class Change:
    """One resource of `node` that is not as wanted, and why. `fingerprint` is what a unit or step is stamped with."""

    node: str
    role: str
    resource: Resource
    reason: str
    fingerprint: str

    @property
    def stamp(self) -> str:
        return f"{self.role}: {self.resource.label}"

    def to_json(self) -> dict[str, str]:
        return {"node": self.node, "role": self.role, "what": self.resource.label, "reason": self.reason}


@dataclass(frozen=True)
class Seen:
    """What one look at a node found: the changes it needs and the public keys it shows."""

    changes: tuple[Change, ...]
    keys: Mapping[str, str] = field(default_factory=dict)


def spec(role: Wanted, resource: Resource, authority: str) -> dict[str, Any]:
    """What the probe must know of a resource: all but the contents of files."""
    found = {key: value for key, value in asdict(resource).items() if key not in ("content", "requirements", "run")}
    found |= {
        "kind": type(resource).__name__,
        "label": resource.label,
        "stamp": f"{role.role}: {resource.label}",
        "digest": resource.digest,
    }
    if isinstance(resource, File):
        found["sha256"] = hashlib.sha256(resource.data).hexdigest()
    if isinstance(resource, Unit | Command):
        found["fingerprint"] = fingerprint(role, resource)
    if isinstance(resource, Certificate):
        found |= {"authority": authority, "renew_days": resource.renew_days}
    return found


def fingerprint(role: Wanted, resource: Resource) -> str:
    """What a unit runs with, or a step was done for: everything before it in its role, and itself."""
    return hashlib.sha256(f"{role.fingerprint(resource)}{resource.digest}".encode()).hexdigest()


def observe(target: Target) -> Seen:
    """Look at a running node. One process there, one round trip."""
    pairs = [(role, resource) for role in target.wanted for resource in role.resources]
    question = {"resources": [spec(role, resource, target.authority) for role, resource in pairs]}
    text = target.driver.shell(target.machine).run(["python3", "-c", source("probe")], json.dumps(question))
    try:
        answer = json.loads(text)
    except ValueError as error:
        hint = f"is its disk full? farmlet node exec {target.name} -- df -h"
        raise FarmletError(f"node {target.name}", f"what it says of itself cannot be read: {text[:200]!r}", hint) from error
    findings = {int(index): reason for index, reason in answer["findings"].items()}
    return Seen(tuple(_changes(target.name, pairs, findings)), answer["keys"])


def _changes(node: str, pairs: Sequence[tuple[Wanted, Resource]], findings: Mapping[int, str]) -> list[Change]:
    """The findings as changes; a unit or an unconditional step follows a change before it in its role, and Farmlet follows
    its environment, whose making anew takes it out."""
    changes: list[Change] = []
    touched: set[str] = set()
    environments: set[str] = set()
    for index, (role, resource) in enumerate(pairs):
        reason = findings.get(index)
        follows = (isinstance(resource, Unit) and resource.running) or (isinstance(resource, Command) and not resource.unless)
        if reason is None and follows and role.role in touched:
            reason = "follows what changes before it"
        if reason is None and isinstance(resource, Farmlet) and resource.path in environments:
            reason = "goes with what its environment does not require"
        if reason is not None:
            if isinstance(resource, Environment):
                environments.add(resource.path)
            changes.append(Change(node, role.role, resource, reason, fingerprint(role, resource)))
            touched.add(role.role)
    return changes


def source(name: str) -> str:
    """The text of a program of this folder that runs on nodes."""
    return files("farmlet.engine.payload").joinpath(f"{name}.py").read_text()
