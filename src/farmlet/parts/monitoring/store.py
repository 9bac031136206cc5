"""What the control node has: the store, the rules, the alarms by mail, the page.

The store and the evaluation of rules ask nobody who they are. They listen in a private network of their own, where nothing else
of the node is; the page comes in by a unix socket that only its user may open.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from ruamel.yaml import YAML

from farmlet.facility.model import Route
from farmlet.facility.places import find_secret
from farmlet.parts import units
from farmlet.parts.monitoring import exporter, rules
from farmlet.parts.monitoring.config import Mail
from farmlet.parts.part import Check, Context
from farmlet.parts.resources import Account, Directory, Farmlet, File, Packages, Random, Resource, Unit

PACKAGE = "farmlet.parts.monitoring"
BACK = "/login/back"  # as `web.login` has it
STORE, RULES, MAIL, WEB = "farmlet-store", "farmlet-rules", "farmlet-alarms", "farmlet-monitoring"
DOOR = "farmlet-store-door"
DATA, STATE = "/var/lib/farmlet/store", "/var/lib/farmlet/alarms"
SOCKET = "/run/farmlet-store/store.sock"
ADDRESS, NOTIFIER = "127.0.0.1:8428", "127.0.0.1:9093"  # in the private network
CONFIG, RULE_FILE, MAIL_FILE = "/etc/farmlet/monitoring.json", "/etc/farmlet/rules.json", "/etc/farmlet/alarms.json"
ORIGIN, CLIENT = "monitoring", "monitoring"
FOLDER = "/var/lib/farmlet/monitoring"  # of the page: its secrets
SECRET, KEY = f"{FOLDER}/client.secret", f"{FOLDER}/cookies.key"
ROUTES = (
    Route("monitoring", (exporter.WRITE,), enter="nodes"),
    Route("monitoring", default=True, origin=ORIGIN, client=CLIENT, back=BACK),
)
# of the store's own page and protocols nothing is used but these
LIMITS = "-search.maxUniqueTimeseries=100000 -search.maxQueryDuration=10s -search.maxConcurrentRequests=4"
SUBJECT = "[{{ .CommonLabels.facility }}] {{ .Status }}: {{ or .CommonAnnotations.summary .CommonLabels.alertname }}"
TEXT = """\
{{ range .Alerts }}{{ .Status }} ({{ .Labels.severity }}): {{ .Annotations.summary }}
  since {{ .StartsAt.UTC.Format "2006-01-02 15:04:05" }} UTC
  what to do: {{ .Annotations.runbook }}

{{ end }}"""


def install() -> Sequence[Resource]:
    return (exporter.mask(), Packages(("victoria-metrics", "prometheus-alertmanager", "libjs-chart.js")))


def store(context: Context) -> units.Service:
    small = "-memory.allowedBytes=32MB -search.latencyOffset=5s -loggerLevel=WARN"
    where = f"-storageDataPath={DATA} -httpListenAddr={ADDRESS} -retentionPeriod={context.section('monitoring').keep_days}d"
    return units.Service(
        name=STORE,
        description="Farmlet monitoring: store (VictoriaMetrics)",
        user=STORE,
        command=f"/usr/bin/victoria-metrics {where} {small} {LIMITS}",
        writable=(DATA,),
        environment={"GOMAXPROCS": "1"},
        network=STORE,
    )


def evaluation(context: Context) -> units.Service:
    url, mail = f"http://{ADDRESS}", context.section("monitoring").mail
    notify = f"-notifier.url=http://{NOTIFIER}" if mail else "-notifier.blackhole"
    ask = f"-datasource.url={url} -remoteWrite.url={url} -remoteRead.url={url} -rule.evalDelay=5s"
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


def notifier(context: Context) -> units.Service:
    """It has to reach the relay, so only its socket is in the private network."""
    command = f"/usr/bin/prometheus-alertmanager --config.file={MAIL_FILE} --storage.path={STATE} --web.systemd-socket"
    return units.Service(
        name=MAIL,
        description="Farmlet monitoring: alarms by mail (Alertmanager)",
        user=MAIL,
        command=f"{command} --cluster.listen-address= --web.external-url={context.facility.url(ORIGIN)} --log.level=warn",
        writable=(STATE,),
        environment={"GOMAXPROCS": "1"},
        needs=(f"{MAIL}.socket",),
    )


# from the unix socket into the private network
PROXY = units.Service(
    name=DOOR,
    description="Farmlet monitoring: way to the store",
    user=STORE,
    command=f"/usr/lib/systemd/systemd-socket-proxyd {ADDRESS}",
    kind="notify",
    network=STORE,
    needs=(f"{DOOR}.socket", f"{STORE}.service"),
    install=False,
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


def describe_mail(mail: Mail) -> Mapping[str, Any]:
    """Alertmanager's configuration."""
    receiver = {
        "to": ", ".join(mail.to),
        "from": mail.sender,
        "smarthost": mail.smtp,
        "require_tls": mail.tls,
        "headers": {"Subject": SUBJECT},
        "html": "",
        "text": TEXT,
        "send_resolved": True,
    }
    pace = {"group_wait": "10s", "group_interval": "1m", "repeat_interval": "12h"}
    route = {"receiver": "mail", "group_by": ["alertname", "node"], **pace}
    return {"route": route, "receivers": [{"name": "mail", "email_configs": [receiver]}]}


def load_panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = YAML(typ="safe").load((files(PACKAGE) / "panels.yaml").read_text())
    return found


def describe(context: Context) -> Mapping[str, Any]:
    """The page's configuration; see `pages.app.load`."""
    facility = context.facility
    return {
        "store": SOCKET,
        "title": facility.title or facility.name,
        "nodes": {node.fqdn: node.name for node in facility.nodes.values()},
        "panels": load_panels(),
        "alarms": [alert.show() for alert in rules.load()],
        "seconds": context.section("monitoring").scrape_seconds,
        "login": {
            "issuer": facility.issuer,
            "client": CLIENT,
            "secret": SECRET,
            "key": KEY,
            "origin": facility.url(ORIGIN),
        },
    }


def describe_secret() -> Mapping[str, Any]:
    """For the agent: the secret of the page's client at the issuer."""
    then = ["systemctl", "try-restart", f"{WEB}.service"]
    spec = {"path": SECRET, "mode": "0600", "owner": WEB, "group": WEB, "then": [then]}
    return {"deliver": {find_secret(CLIENT): spec}}


def configure(context: Context) -> Sequence[Resource]:
    facility, section = context.facility, context.section("monitoring")
    text = rules.render(rules.load(), list(facility.nodes), f"{facility.url(ORIGIN)}/", section.scrape_seconds)
    inside = f"JoinsNamespaceOf={STORE}.service\nAfter={STORE}.service\nRequires={STORE}.service\n"
    return (
        Account(STORE),
        Account(RULES),
        Account(WEB),
        Directory(DATA, 0o700, STORE, STORE),
        File(RULE_FILE, text),
        store(context).file,
        store(context).unit,
        exporter.socket(DOOR, SOCKET, f"SocketUser={WEB}\nSocketMode=0600\nDirectoryMode=0755\n"),
        PROXY.file,
        Unit(f"{DOOR}.socket"),
        *(_configure_mail(context, section.mail, inside) if section.mail else ()),
        evaluation(context).file,
        evaluation(context).unit,
        Farmlet(units.SERVICE, context.wheel),
        Directory(FOLDER, 0o700, WEB, WEB),
        Random(KEY, owner=WEB, group=WEB),
        Directory("/etc/farmlet/agent.d"),
        File("/etc/farmlet/agent.d/monitoring.store.json", json.dumps(describe_secret(), indent=1) + "\n"),
        File(CONFIG, json.dumps(describe(context), indent=1) + "\n"),
        *web(context).files,
        *web(context).units,
    )


def _configure_mail(context: Context, mail: Mail, inside: str) -> Sequence[Resource]:
    return (
        Account(MAIL),
        Directory(STATE, 0o700, MAIL, MAIL),
        File(MAIL_FILE, json.dumps(describe_mail(mail), indent=1) + "\n", 0o640, "root", MAIL),
        exporter.socket(MAIL, NOTIFIER, "PrivateNetwork=yes\n", inside),
        notifier(context).file,
        Unit(f"{MAIL}.socket"),
        notifier(context).unit,
    )


def check(context: Context) -> Sequence[Check]:
    facility, section = context.facility, context.section("monitoring")
    names = (STORE, RULES, WEB, *([MAIL] if section.mail else ()))
    args = {"socket": SOCKET, "nodes": list(facility.nodes), "seconds": 60 + 4 * section.scrape_seconds}
    found = {f"monitoring.store.{name.removeprefix('farmlet-')}": {"unit": f"{name}.service"} for name in names}
    checks = (Check(name, "farmlet.runtime.checks:check_unit", unit) for name, unit in found.items())
    return (*checks, Check("monitoring.store.nodes", f"{PACKAGE}.checks:check_nodes", args))
