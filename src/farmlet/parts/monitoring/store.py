"""What the control node has: the store, the rules, the alarms by mail, the page.

The store and the evaluation of rules ask nobody who they are. They listen in a private network of their own, where nothing else
of the node is; the page comes in by a unix socket that only its user may open.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from typing import Any

from ruamel.yaml import YAML

from farmlet.facility.model import Facility, Route
from farmlet.parts import units
from farmlet.parts.monitoring import exporter, notifier, relay, rules
from farmlet.parts.monitoring.config import READER, Section
from farmlet.parts.monitoring.grafana import deploy as grafana
from farmlet.parts.monitoring.grafana import installed
from farmlet.parts.part import Check, Context
from farmlet.parts.resources import Account, Directory, Farmlet, File, Packages, Random, Resource, Unit
from farmlet.parts.tasks import deliver_secret, tell_agent

PACKAGE = "farmlet.parts.monitoring"
BACK = "/login/back"  # as `web.login` has it
STORE, RULES, WEB = "farmlet-store", "farmlet-rules", "farmlet-monitoring"
DOOR = "farmlet-store-door"
DATA = "/var/lib/farmlet/store"
SOCKET = "/run/farmlet-store/store.sock"
ADDRESS = "127.0.0.1:8428"  # in the private network
CONFIG, RULE_FILE = "/etc/farmlet/monitoring.json", "/etc/farmlet/rules.json"
ORIGIN, CLIENT = "monitoring", "monitoring"
FOLDER = "/var/lib/farmlet/monitoring"  # of the page: its secrets
SECRET, KEY = f"{FOLDER}/client.secret", f"{FOLDER}/cookies.key"
TOKENS = f"{FOLDER}/tokens"  # of programs outside
ROUTES = (
    Route("monitoring", (exporter.WRITE,), enter="nodes"),
    Route("monitoring", default=True, origin=ORIGIN, client=CLIENT, back=BACK),
)
MIB, MIB_NODE = 32, 2  # what the store may use for its caches and for questions: at least, and for each node
# of the store's own page and protocols nothing is used but these
LIMITS = "-search.maxUniqueTimeseries=100000 -search.maxQueryDuration=10s -search.maxConcurrentRequests=4"


def install() -> Sequence[Resource]:
    return (exporter.mask(), Packages(("victoria-metrics", "prometheus-alertmanager", "libjs-chart.js")))


def limit(nodes: int) -> str:
    """The store's options, so that a page of so many nodes can be drawn."""
    return f"-memory.allowedBytes={MIB + MIB_NODE * nodes}MB -search.latencyOffset=5s -loggerLevel=WARN {LIMITS}"


def store(context: Context) -> units.Service:
    where = f"-storageDataPath={DATA} -httpListenAddr={ADDRESS} -retentionPeriod={context.section('monitoring').keep_days}d"
    return units.Service(
        name=STORE,
        description="Farmlet monitoring: store (VictoriaMetrics)",
        user=STORE,
        command=f"/usr/bin/victoria-metrics {where} {limit(len(context.facility.nodes))}",
        writable=(DATA,),
        environment={"GOMAXPROCS": "1"},
        network=STORE,
    )


def evaluation(context: Context) -> units.Service:
    url, section = f"http://{ADDRESS}", context.section("monitoring")
    notify = f"-notifier.url=http://{notifier.ADDRESS}" if section.tells else "-notifier.blackhole"
    ask = f"-datasource.url={url} -remoteWrite.url={url} -remoteRead.url={url} -rule.evalDelay=2s"
    about = f"-external.label=facility={context.facility.name} -external.url={context.facility.url(ORIGIN)}"
    return units.Service(
        name=RULES,
        description="Farmlet monitoring: rules (vmalert)",
        user=RULES,
        command=f"/usr/bin/vmalert -rule={RULE_FILE} {ask} {notify} {about} -httpListenAddr=127.0.0.1:8880 -loggerLevel=WARN",
        environment={"GOMAXPROCS": "1"},
        network=STORE,
        needs=(f"{STORE}.service",),
    )


def web(context: Context) -> units.Web:
    return units.Web(
        name=WEB,
        socket="monitoring",
        description="Farmlet monitoring: page",
        user=WEB,
        app=f'farmlet.parts.monitoring.pages.app:load("{CONFIG}")',
        threads=4 + len(context.facility.nodes),
    )


def load_yaml(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = YAML(typ="safe").load((files(PACKAGE) / name).read_text())
    return found


def load_panels() -> list[dict[str, Any]]:
    return load_yaml("panels.yaml")


def describe(context: Context) -> Mapping[str, Any]:
    """The page's configuration; see `pages.app.load`."""
    facility = context.facility
    return {
        "store": SOCKET,
        "also": relay.SOCKET if context.section("monitoring").also else "",
        **{kind: {name: find_token(kind, name) for name in names} for kind, names in list_outsiders(facility).items()},
        "nodes": {node.fqdn: node.name for node in facility.nodes.values()},
        "content": {
            "title": facility.title or facility.name,
            "panels": load_panels(),
            "alarms": [alert.show() for alert in rules.load() if alert.severity != "none"],
            "nodes": sorted(facility.nodes),
            "sites": sorted(facility.sites),
            "admins": [facility.claim(path) for path in facility.groups if facility.rights.common([path]).administer],
            "reports": load_yaml("reports.yaml"),
            "seconds": context.section("monitoring").scrape_seconds,
            "url": facility.url(ORIGIN),
        },
        "login": {"issuer": facility.issuer, "client": CLIENT, "secret": SECRET, "key": KEY, "origin": facility.url(ORIGIN)},
    }


def list_outsiders(facility: Facility) -> Mapping[str, Sequence[str]]:
    """Who outside has a token, by what it is for."""
    section: Section = facility.parts["monitoring"]  # type: ignore[assignment]
    own = (READER,) if grafana.find(facility) else ()
    return {"writers": section.writers, "readers": list(dict.fromkeys((*section.readers, *own)))}


def find_token(kind: str, name: str) -> str:
    return f"{TOKENS}/{kind}/{name}"


def _keep_tokens(outsiders: Mapping[str, Sequence[str]]) -> Iterator[Resource]:
    if any(outsiders.values()):
        yield from (Directory(path, 0o700, WEB, WEB) for path in (TOKENS, *(f"{TOKENS}/{kind}" for kind in outsiders)))
    for kind, names in outsiders.items():
        yield from (Random(find_token(kind, name), owner=WEB, group=WEB) for name in names)


def configure(context: Context) -> Sequence[Resource]:
    facility, section = context.facility, context.section("monitoring")
    alerts = [alert for alert in rules.load() if alert.name != rules.WATCHDOG or section.deadman]
    text = rules.render(alerts, list(facility.nodes), f"{facility.url(ORIGIN)}/", section.scrape_seconds, load_panels())
    secret = deliver_secret(CLIENT, SECRET, WEB, ("systemctl", "try-restart", f"{WEB}.service"))
    return (
        Account(STORE),
        Account(RULES),
        Account(WEB),
        Directory(DATA, 0o700, STORE, STORE),
        File(RULE_FILE, text),
        store(context).file,
        store(context).unit,
        exporter.socket(DOOR, SOCKET, f"SocketUser={WEB}\nSocketMode=0600\nDirectoryMode=0755\n"),
        exporter.door(DOOR, ADDRESS, STORE, STORE, STORE).file,
        Unit(f"{DOOR}.socket"),
        *(notifier.configure(section, facility.url(ORIGIN), STORE) if section.tells else ()),
        evaluation(context).file,
        evaluation(context).unit,
        *(relay.configure(section.also, STORE, WEB) if section.also else ()),
        Farmlet(units.SERVICE, context.wheel),
        Directory(FOLDER, 0o700, WEB, WEB),
        *_keep_tokens(list_outsiders(facility)),
        Random(KEY, owner=WEB, group=WEB),
        tell_agent("monitoring.store", deliver=secret),
        File.of_json(CONFIG, describe(context)),
        *web(context).files,
        *web(context).units,
        *(grafana.configure(context, find_token("readers", READER)) if names_grafana(facility) else ()),
    )


def names_grafana(facility: Facility) -> bool:
    """Whether the file names one that somebody else runs."""
    return grafana.find(facility) is not None and not facility.has(grafana.ROLE)


def configure_grafana(context: Context) -> Sequence[Resource]:
    """Of the role that installs one: the server, then what fills it."""
    return (*installed.configure(context), *grafana.configure(context, find_token("readers", READER)))


def check(context: Context) -> Sequence[Check]:
    facility, section = context.facility, context.section("monitoring")
    names = (STORE, RULES, WEB, *([notifier.NAME] if section.tells else ()), *([relay.NAME] if section.also else ()))
    args = {"socket": SOCKET, "nodes": list(facility.nodes), "seconds": 60 + 4 * section.scrape_seconds}
    checks = (Check.of_unit(f"monitoring.store.{name.removeprefix('farmlet-')}", f"{name}.service") for name in names)
    named = grafana.check(facility) if names_grafana(facility) else ()
    return (*checks, Check("monitoring.store.nodes", f"{PACKAGE}.checks:check_nodes", args), *named)
