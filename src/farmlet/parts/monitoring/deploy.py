"""Where monitoring stands: an exporter on every node, the store with its rules, alarms and page on the control node."""

from __future__ import annotations

from collections.abc import Iterator

from farmlet.facility.catalog import Issue
from farmlet.facility.model import Facility
from farmlet.parts.backup import Backup
from farmlet.parts.monitoring import exporter, notifier, store
from farmlet.parts.monitoring.config import Section
from farmlet.parts.part import Part, Role, find_lack


def validate(facility: Facility) -> Iterator[Issue]:
    yield from find_lack(facility, ("monitoring.exporter",), "monitoring.store")
    section = facility.parts.get("monitoring")
    for node in getattr(section, "backups", ()):
        if node not in facility.nodes:
            yield ("monitoring", "backups", node), f"{node} is no node of the file", f"its nodes: {', '.join(facility.nodes)}"
    named = getattr(section, "grafana", None)
    for path in named.roles if named else ():
        if path not in facility.groups:
            what = f"{path} is no group of the file"
            yield ("monitoring", "grafana", "roles"), what, f"its groups: {', '.join(facility.groups)}"


PART = Part(
    name="monitoring",
    summary="numbers of every node in one store, a page that shows them, alarms by mail",
    section=Section,
    needs=("base", "identity"),
    validate=validate,
    roles=(
        Role(
            "store",
            "control",
            store.configure,
            store.install,
            store.check,
            routes=store.ROUTES,
            endpoints=lambda facility, node: {"monitoring": facility.url(store.ORIGIN)},
            data=(store.DATA, notifier.STATE),
            # what Alertmanager has told and who silenced what; numbers of the past are many and decide nothing
            backup=Backup(copy=(notifier.STATE,)),
        ),
        Role(
            "exporter",
            "every",
            exporter.configure,
            exporter.install,
            exporter.check,
            metrics=exporter.list_metrics,
            data=(),
        ),
    ),
)
