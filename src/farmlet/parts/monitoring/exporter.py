"""What every node has: its exporter, and the agent that scrapes it and hands the numbers in.

Members run code on some nodes, so nothing of this listens on the node's loopback: exporter and agent meet in a private network,
where systemd opens two sockets. Behind one is the exporter, which itself sees the node; behind the other the way to the store,
the only one that leads out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from farmlet.parts import units
from farmlet.parts.part import Check, Context, Metric
from farmlet.parts.render import render
from farmlet.parts.resources import Account, Certificate, Command, Directory, File, Packages, Resource, Unit

PACKAGE = "farmlet.parts.monitoring"
USER, AGENT, PUSH = "farmlet-exporter", "farmlet-vmagent", "farmlet-push"
METRICS = "/var/lib/farmlet/metrics"  # where the node agent leaves its numbers
BUFFER = "/var/lib/farmlet/vmagent"
SCRAPE = "/etc/farmlet/vmagent.json"
CERTIFICATE, KEY = "/etc/farmlet/tls/vmagent.crt", "/etc/farmlet/tls/vmagent.key"
WRITE = "/monitoring/write"
LISTEN, WAY = "127.0.0.1:9100", "127.0.0.1:443"  # in the private network
INSIDE = f"JoinsNamespaceOf={AGENT}.service"
# Debian starts each with its defaults, open to everybody: ours are other units
DEBIAN = ("victoria-metrics", "prometheus-node-exporter", "prometheus-alertmanager")
# units of people's sessions come and go; of the others only what failed is of interest
KEPT = [{"if": '{__name__="node_systemd_unit_state",state!="failed"}', "action": "drop"}]


def socket(name: str, listen: str, more: str = "", unit: str = "") -> File:
    """A socket of systemd's that starts the service `name`; `more` and `unit`: further lines of its sections."""
    text = f"[Unit]\nDescription={name} (socket)\n{unit}\n[Socket]\nListenStream={listen}\n{more}\n"
    return File(f"/etc/systemd/system/{name}.socket", f"{text}[Install]\nWantedBy=sockets.target\n")


def door(name: str, address: str, user: str, network: str, behind: str) -> units.Service:
    """From the unix socket `name` into a private network, to the `address` of the service `behind`."""
    return units.Service(
        name=name,
        description=f"Farmlet monitoring: way to {behind}",
        user=user,
        command=f"/usr/lib/systemd/systemd-socket-proxyd {address}",
        kind="notify",
        network=network,
        needs=(f"{name}.socket", f"{behind}.service"),
        install=False,
    )


def mask() -> Command:
    """Comes before the packages."""
    names = " ".join(f"{name}.service" for name in DEBIAN)
    masked = " && ".join(f'[ "$(systemctl is-enabled {name}.service)" = masked ]' for name in DEBIAN)
    return Command("no monitoring with Debian's defaults", f"systemctl mask --now {names}", masked)


def install() -> Sequence[Resource]:
    return (mask(), Packages(("prometheus-node-exporter", "victoria-metrics", "dbus")))


def scrape(context: Context) -> Mapping[str, Any]:
    """vmagent's configuration; JSON is YAML too."""
    target = {"targets": [LISTEN], "labels": {"instance": context.node.fqdn}}
    seconds = context.section("monitoring").scrape_seconds
    job = {"job_name": "node", "static_configs": [target], "metric_relabel_configs": KEPT, "sample_limit": 20000}
    return {"global": {"scrape_interval": f"{seconds}s"}, "scrape_configs": [job]}


def agent(context: Context) -> units.Service:
    store = context.facility.host("monitoring.store").fqdn
    to = f"-remoteWrite.url=https://{WAY}{WRITE} -remoteWrite.headers=Host:{store} -remoteWrite.tlsServerName={store}"
    tls = f"-remoteWrite.tlsCAFile=/etc/farmlet/ca.pem -remoteWrite.tlsCertFile={CERTIFICATE} -remoteWrite.tlsKeyFile={KEY}"
    # it listens nowhere; what the store does not take waits on disk
    small = "-httpListenAddr= -memory.allowedBytes=16MB -remoteWrite.queues=1 -remoteWrite.maxBlockSize=1MB -loggerLevel=WARN"
    keep = f"-remoteWrite.tmpDataPath={BUFFER} -remoteWrite.maxDiskUsagePerURL=550MB"
    return units.Service(
        name=AGENT,
        description="Farmlet monitoring: hand in the node's numbers",
        user=AGENT,
        command=f"/usr/bin/vmagent -promscrape.config={SCRAPE} {to} {tls} {keep} {small}",
        writable=(BUFFER,),
        environment={"GOMAXPROCS": "1"},
        network=AGENT,
    )


def way(context: Context) -> units.Service:
    """Out of the private network, to the store's node and no other."""
    return units.Service(
        name=PUSH,
        description="Farmlet monitoring: way to the store's node",
        user=AGENT,
        command=f"/usr/lib/systemd/systemd-socket-proxyd {context.facility.host('monitoring.store').fqdn}:443",
        kind="notify",
        needs=(f"{PUSH}.socket",),
        install=False,
    )


def configure(context: Context) -> Sequence[Resource]:
    return (
        Account(USER),
        socket(USER, LISTEN, "PrivateNetwork=yes\n", INSIDE),
        File(f"/etc/systemd/system/{USER}.service", render(PACKAGE, "exporter.service", user=USER, metrics=METRICS)),
        Unit(f"{USER}.socket"),
        Unit(f"{USER}.service"),
        Account(AGENT),
        Directory(BUFFER, 0o700, AGENT, AGENT),
        # a renewed one is seen by itself
        Certificate(CERTIFICATE, KEY, (context.node.fqdn,), owner=AGENT, group=AGENT, client=True),
        socket(PUSH, WAY, "PrivateNetwork=yes\n", INSIDE),
        way(context).file,
        Unit(f"{PUSH}.socket"),
        File(SCRAPE, json.dumps(scrape(context), indent=1) + "\n"),
        agent(context).file,
        agent(context).unit,
    )


def check(context: Context) -> Sequence[Check]:
    names = (f"{USER}.service", f"{AGENT}.service")
    found = [Check(f"monitoring.{name[8:-8]}.unit", "farmlet.runtime.checks:check_unit", {"unit": name}) for name in names]
    return (*found, Check("monitoring.vmagent.certificate", "farmlet.runtime.checks:check_certificate", {"path": CERTIFICATE}))


def list_metrics(context: Context) -> Sequence[Metric]:
    tasks = {"tasks": "/etc/farmlet/agent.d"}
    clock = {"host": context.facility.control.fqdn, "ca": "/etc/farmlet/ca.pem"}
    backup = context.section("monitoring").backups.get(context.node.name)
    kept = (Metric("monitoring.backup", f"{PACKAGE}.metrics:measure_backup", {"path": backup}),) if backup else ()
    return (
        Metric("monitoring.certificates", f"{PACKAGE}.metrics:measure_certificates", tasks),
        Metric("monitoring.clock", f"{PACKAGE}.metrics:measure_clock", clock),
        *kept,
    )
