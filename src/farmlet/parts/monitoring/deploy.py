"""Where monitoring stands: an exporter on every node, the store with its rules, alarms and page on the control node."""

from __future__ import annotations

from collections.abc import Iterator

from farmlet.facility.catalog import Issue
from farmlet.facility.model import Facility
from farmlet.parts.backup import Backup, keep_database
from farmlet.parts.monitoring import exporter, notifier, store
from farmlet.parts.monitoring.config import Section
from farmlet.parts.monitoring.grafana import deploy as grafana
from farmlet.parts.monitoring.grafana import installed
from farmlet.parts.part import Part, Role, find_lack


def validate(facility: Facility) -> Iterator[Issue]:
    yield from find_lack(facility, ("monitoring.exporter",), "monitoring.store")
    section = facility.parts.get("monitoring")
    for node in getattr(section, "backups", ()):
        if node not in facility.nodes:
            yield ("monitoring", "backups", node), f"{node} is no node of the file", f"its nodes: {', '.join(facility.nodes)}"
    named, role = getattr(section, "grafana", None), grafana.ROLE
    at = ("monitoring", "grafana")
    if facility.has(role) and (facility.external or facility.hosts(role) != facility.hosts("monitoring.store")):
        yield ("monitoring",), f"{role} is for the node of monitoring.store, beside an issuer of our own", ""
    if named and bool(named.url) == facility.has(role):
        what = "names a Grafana, and one is to be installed" if named.url else "names no Grafana"
        yield at, what, f"give its `url`, or add `{role}` to `runs` of a node"
    for path in named.roles if named else ():
        if path not in facility.groups:
            what = f"{path} is no group of the file"
            yield (*at, "roles"), what, f"its groups: {', '.join(facility.groups)}"


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
            "grafana",
            "named",
            store.configure_grafana,
            checks=lambda context: (*installed.check(), *grafana.check(context.facility)),
            routes=installed.ROUTES,
            endpoints=lambda facility, node: {"grafana": facility.url(grafana.ORIGIN)},
            data=(installed.DATA,),
            # dashboards that people made of ours, and who they are there
            backup=keep_database(f"{installed.DATA}/grafana.db", installed.DATA),
        ),
        Role("exporter", "every", exporter.configure, exporter.install, exporter.check, metrics=exporter.list_metrics, data=()),
    ),
)
