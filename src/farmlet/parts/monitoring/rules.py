"""Alarms as units: rule, runbook and test stand in one file of `alerts/`. Deploy time only: needs ruamel.yaml."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from typing import Any, Literal, get_args

from ruamel.yaml import YAML

from farmlet.parts.monitoring.exporter import SOON
from farmlet.parts.monitoring.panels import RECORDED, fill, is_wide, name_record

PACKAGE = "farmlet.parts.monitoring"
NODE = "NODE"  # in the expression of a rule that each node has: its name
NODES, COUNT = "NODES", "COUNT"  # of one about all nodes: a pattern of their names, and how many they are
SECONDS = {"s": 1, "m": 60, "h": 3600}
Severity = Literal["critical", "warning", "none"]
WATCHDOG = "Watchdog"  # the one that fires while all is well, for who is told that it does


@dataclass(frozen=True)
class Runbook:
    """What somebody does who is woken by it: what it means, where to look, how to mend it."""

    meaning: str
    look: str
    mend: str


@dataclass(frozen=True)
class Alert:
    """One file of `alerts/`. `expr`: PromQL; `for_`: how long it must hold; `each`: "node" for a rule of each node's own, which
    sees the absence of numbers, "all" for one about all of them; `soon`: looked at each `SOON` seconds; severity `none`: nobody
    is to do anything; `tests`: as `tests/service/monitoring` runs them."""

    name: str
    expr: str
    for_: str
    severity: Severity
    summary: str
    runbook: Runbook
    each: str = ""
    soon: bool = False
    tests: tuple[Mapping[str, Any], ...] = ()

    def rules(self, nodes: Iterable[str], url: str) -> list[dict[str, Any]]:
        """For vmalert, as Prometheus has them. `url`: of the page with the runbooks."""
        notes = {"summary": self.summary, "runbook": f"{url}#{self.name}"}
        fixed = {"alert": self.name, "for": self.for_, "labels": {"severity": self.severity}, "annotations": notes}
        names = list(nodes)
        if self.each == "node":
            return [{**fixed, "expr": self.expr.replace(NODE, node)} for node in names]
        expr = self.expr
        if self.each == "all":
            expr = expr.replace(NODES, "|".join(map(re.escape, names))).replace(COUNT, str(len(names)))
        return [{**fixed, "expr": expr}]

    def show(self) -> dict[str, Any]:
        """What the page tells of it."""
        return {"name": self.name, "severity": self.severity, "runbook": asdict(self.runbook)}


def load() -> list[Alert]:
    """All alarms that are shipped, by name. Raises TypeError or ValueError for a file that lacks something."""
    folder = files(PACKAGE) / "alerts"
    texts = [path.read_text() for path in folder.iterdir() if path.name.endswith(".yaml")]
    return sorted((read(YAML(typ="safe").load(text)) for text in texts), key=lambda alert: alert.name)


def read(found: Mapping[str, Any]) -> Alert:
    """One alarm out of its file."""
    values = {("for_" if key == "for" else key): value for key, value in found.items()}
    alert = Alert(**{**values, "runbook": Runbook(**values["runbook"]), "tests": tuple(values.get("tests", ()))})
    if alert.severity not in get_args(Severity):
        raise ValueError(f"{alert.name}: severity is one of {', '.join(get_args(Severity))}")
    return alert


def widen(expr: str, seconds: int) -> str:
    """Its windows, made long enough for three numbers that come each `seconds`: in a window without any nothing is wrong."""

    def stretch(window: re.Match[str]) -> str:
        return f"[{max(int(window[1]) * SECONDS[window[2]], 3 * seconds)}s"

    return re.sub(r"\[(\d+)([smh])", stretch, expr)


def render(
    alerts: Sequence[Alert], nodes: Sequence[str], url: str, seconds: int, panels: Sequence[Mapping[str, Any]] = ()
) -> str:
    """vmalert's file of rules (JSON is YAML too), looked at each `seconds`, when numbers come. Of `panels` the lines are kept."""
    groups = []
    for name, every, soon in (("farmlet", seconds, False), ("soon", min(seconds, SOON), True)):
        rules = [rule for alert in alerts if alert.soon == soon for rule in alert.rules(nodes, url)]
        rules = [{**rule, "expr": widen(rule["expr"], seconds)} for rule in rules]
        groups.append({"name": name, "interval": f"{every}s", "rules": rules})
    if panels:
        window = max(4 * seconds, RECORDED)
        kept = [{"record": name_record(one), "expr": fill(one["query"], "", window)} for one in panels if is_wide(one)]
        groups.append({"name": "panels", "interval": f"{RECORDED}s", "rules": kept})
    return json.dumps({"groups": groups}, indent=1) + "\n"
