"""What a node's agent has to do, as the parts on that node wrote it: `/etc/farmlet/agent.d/*.json`, all merged.

    {"publish": {item: path},
     "deliver": {item: {"path", "mode": "0600", "owner", "group", "then": [argv, …]}},
     "apply": {item: {"call": "module:function", "args": {…}, "again": false}},
     "checks": [{"name", "call": "module:function", "args": {…}, "seconds": 10}],
     "metrics": [{"name", "call": "module:function", "args": {…}, "watch": path}],
     "renew": [{"path", "key", "names", "client", "reload": argv}]}

The files go by their names' order, but what is applied `again` and again comes last: it mends what the others could not.
Only these files, which root writes on the node itself, say where an item goes and what is run; the control API sends contents.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from farmlet.errors import FarmletError
from farmlet.parts.base.renewal import Renewable

CHECK_SECONDS = 10.0  # what a check may take that says nothing else


@dataclass(frozen=True)
class Delivery:
    """Where an item's bytes go, and the commands that are run after they changed."""

    path: Path
    mode: int
    owner: str
    group: str
    then: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class Call:
    """A function by name with its keyword arguments. For `apply` `name` is the item, whose bytes the function takes first.

    `again`: it is called now and then although nothing changed, for what it looks at changes by itself. `seconds`: how long
    a check may take. `watch`: a file; a metric counts again as soon as that changes.
    """

    name: str
    target: str
    args: Mapping[str, Any] = field(default_factory=dict)
    again: bool = False
    seconds: float = CHECK_SECONDS
    watch: str = ""

    def resolve(self) -> Callable[..., Any]:
        """The function. Raises FarmletError when there is none of that name."""
        module, _, function = self.target.partition(":")
        try:
            found: Callable[..., Any] = getattr(importlib.import_module(module), function)
        except (ImportError, AttributeError, ValueError) as error:
            raise FarmletError(f"task {self.name}", f"no function {self.target}: {error}") from error
        return found


@dataclass(frozen=True)
class Tasks:
    """All of a node's tasks; `faults` are the files that could not be read, and why."""

    publish: Mapping[str, Path]
    deliver: Mapping[str, Delivery]
    apply: tuple[Call, ...]
    checks: tuple[Call, ...]
    metrics: tuple[Call, ...] = ()
    renew: tuple[Renewable, ...] = ()
    faults: tuple[str, ...] = ()


def sign(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """What changes whenever a file in `folder` does: cheap enough to ask every second."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            info = path.stat()
        except OSError:
            continue
        found.append((path.name, info.st_mtime_ns, info.st_ino))
    return tuple(found)


def load(folder: Path) -> Tasks:
    """Read all files of `folder`. A file that cannot be read is a fault told, not a reason to leave the others undone."""
    publish: dict[str, Path] = {}
    deliver: dict[str, Delivery] = {}
    apply: list[Call] = []
    checks: list[Call] = []
    metrics: list[Call] = []
    renew: list[Renewable] = []
    faults: list[str] = []
    for path in sorted(folder.glob("*.json")):
        try:
            data = json.loads(path.read_text())
            publish |= {item: Path(source) for item, source in data.get("publish", {}).items()}
            deliver |= {item: _delivery(spec) for item, spec in data.get("deliver", {}).items()}
            apply += [_call(item, spec) for item, spec in data.get("apply", {}).items()]
            checks += [_call(spec["name"], spec) for spec in data.get("checks", ())]
            metrics += [_call(spec["name"], spec) for spec in data.get("metrics", ())]
            renew += [_renewable(spec) for spec in data.get("renew", ())]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            faults.append(f"{path}: {error!r}")
    apply.sort(key=lambda call: call.again)
    return Tasks(publish, deliver, tuple(apply), tuple(checks), tuple(metrics), tuple(renew), tuple(faults))


def _delivery(spec: Mapping[str, Any]) -> Delivery:
    return Delivery(
        path=Path(spec["path"]),
        mode=int(spec.get("mode", "0644"), 8),
        owner=spec.get("owner", "root"),
        group=spec.get("group", "root"),
        then=tuple(tuple(argv) for argv in spec.get("then", ())),
    )


def _renewable(spec: Mapping[str, Any]) -> Renewable:
    words = (tuple(spec["names"]), bool(spec["client"]), tuple(spec["reload"]))
    return Renewable(Path(spec["path"]), Path(spec["key"]), *words)


def _call(name: str, spec: Mapping[str, Any]) -> Call:
    return Call(
        name,
        spec["call"],
        dict(spec.get("args", {})),
        again=bool(spec.get("again")),
        seconds=float(spec.get("seconds", CHECK_SECONDS)),
        watch=str(spec.get("watch", "")),
    )
