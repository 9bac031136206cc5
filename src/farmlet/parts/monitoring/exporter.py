"""What every node has: its exporter, and the agent that scrapes it and hands the numbers in.

Members run code on some nodes, so nothing of this listens on the node's loopback: exporter and agent meet in a private network,
where systemd opens two sockets. Behind one is the exporter, which itself sees the node; behind the other the way to the store,
the only one that leads out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from farmlet.parts import units
from farmlet.parts.part import Check, Context, Metric
from farmlet.parts.render import render
from farmlet.parts.resources import Account, Certificate, Command, Directory, File, Packages, Resource, Unit
from farmlet.parts.tasks import FOLDER

PACKAGE = "farmlet.parts.monitoring"
USER, AGENT, PUSH = "farmlet-exporter", "farmlet-vmagent", "farmlet-push"
METRICS = "/var/lib/farmlet/metrics"  # where the node agent leaves its numbers
BUFFER = "/var/lib/farmlet/vmagent"
SCRAPE = "/etc/farmlet/vmagent.json"
CERTIFICATE, KEY = "/etc/farmlet/tls/vmagent.crt", "/etc/farmlet/tls/vmagent.key"
SOON = 5  # seconds between numbers of the node that closes gates of sites: an alarm is to come within a minute
WRITE = "/monitoring/write"
LISTEN, WAY = "127.0.0.1:9100", "127.0.0.1:443"  # in the private network
INSIDE = f"JoinsNamespaceOf={AGENT}.service"
# Debian starts each with its defaults, open to everybody: ours are other units
DEBIAN = ("victoria-metrics", "prometheus-node-exporter", "prometheus-alertmanager")
# of vmagent, which stays small; what a store does not take waits on disk
KEEP = "-remoteWrite.maxDiskUsagePerURL=550MB"
SMALL = "-memory.allowedBytes=16MB -remoteWrite.queues=1 -remoteWrite.maxBlockSize=1MB -loggerLevel=WARN"
# units of people's sessions come and go; of the others only what failed is of interest
KEPT = [{"if": '{__name__="node_systemd_unit_state",state!="failed"}', "action": "drop"}]


def socket(name: str, listen: str, more: str = "", unit: str = "") -> File:
    """A socket of systemd's that starts the service `name`; `more` and `unit`: further lines of its sections."""
    text = f"[Unit]\nDescription={name} (socket)\n{unit}\n[Socket]\nListenStream={listen}\n{more}\n"
    return File(f"/etc/systemd/system/{name}.socket", f"{text}[Install]\nWantedBy=sockets.target\n")


def door(name: str, address: str, user: str, to: str, network: str = "") -> units.Service:
    """From the socket `name` on to an `address`: out of a private network, or into that of `network`, where the unit `to` is."""
    return units.Service(
        name=name,
        description=f"Farmlet monitoring: way to {to}",
        user=user,
        command=f"/usr/lib/systemd/systemd-socket-proxyd {address}",
        kind="notify",
        network=network,
        needs=(f"{name}.socket", *([f"{to}.service"] if network else [])),
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
    if context.node in context.facility.hosts("sitetests.scheduler"):
        seconds = min(seconds, SOON)
    job = {"job_name": "node", "static_configs": [target], "metric_relabel_configs": KEPT, "sample_limit": 20000}
    return {"global": {"scrape_interval": f"{seconds}s"}, "scrape_configs": [job]}


def agent(context: Context) -> units.Service:
    store = context.facility.host("monitoring.store").fqdn
    to = f"-remoteWrite.url=https://{WAY}{WRITE} -remoteWrite.headers=Host:{store} -remoteWrite.tlsServerName={store}"
    tls = f"-remoteWrite.tlsCAFile=/etc/farmlet/ca.pem -remoteWrite.tlsCertFile={CERTIFICATE} -remoteWrite.tlsKeyFile={KEY}"
    more = f"-remoteWrite.tmpDataPath={BUFFER} {KEEP} -httpListenAddr= {SMALL}"  # it listens nowhere
    return units.Service(
        name=AGENT,
        description="Farmlet monitoring: hand in the node's numbers",
        user=AGENT,
        command=f"/usr/bin/vmagent -promscrape.config={SCRAPE} {to} {tls} {more}",
        writable=(BUFFER,),
        environment={"GOMAXPROCS": "1"},
        network=AGENT,
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
        door(PUSH, f"{context.facility.host('monitoring.store').fqdn}:443", AGENT, "the store's node").file,
        Unit(f"{PUSH}.socket"),
        File.of_json(SCRAPE, scrape(context)),
        agent(context).file,
        agent(context).unit,
    )


def check(context: Context) -> Sequence[Check]:
    return (
        Check.of_unit("monitoring.exporter.unit", f"{USER}.service"),
        Check.of_unit("monitoring.vmagent.unit", f"{AGENT}.service"),
        Check("monitoring.vmagent.certificate", "farmlet.runtime.checks:check_certificate", {"path": CERTIFICATE}),
    )


def list_metrics(context: Context) -> Sequence[Metric]:
    tasks = {"tasks": FOLDER}
    clock = {"host": context.facility.control.fqdn, "ca": "/etc/farmlet/ca.pem"}
    backup = context.section("monitoring").backups.get(context.node.name)
    kept = (Metric("monitoring.backup", f"{PACKAGE}.metrics:measure_backup", {"path": backup}),) if backup else ()
    return (
        Metric("monitoring.certificates", f"{PACKAGE}.metrics:measure_certificates", tasks),
        Metric("monitoring.clock", f"{PACKAGE}.metrics:measure_clock", clock),
        *kept,
    )
