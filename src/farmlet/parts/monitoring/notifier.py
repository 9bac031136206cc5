"""Who is told of alarms: Alertmanager, which has to reach a relay and receivers outside.

Only its listening socket, which systemd makes, is in the private network of the store.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from farmlet.parts import units
from farmlet.parts.monitoring import rules
from farmlet.parts.monitoring.config import Mail, Section
from farmlet.parts.monitoring.exporter import socket
from farmlet.parts.resources import Account, Directory, File, Resource, Unit

NAME = "farmlet-alarms"
STATE = "/var/lib/farmlet/alarms"
FILE = "/etc/farmlet/alarms.json"
ADDRESS = "127.0.0.1:9093"  # in the private network
SUBJECT = "[{{ .CommonLabels.facility }}] {{ .Status }}: {{ or .CommonAnnotations.summary .CommonLabels.alertname }}"
TEXT = """\
{{ range .Alerts }}{{ .Status }} ({{ .Labels.severity }}): {{ .Annotations.summary }}
  since {{ .StartsAt.UTC.Format "2006-01-02 15:04:05" }} UTC
  what to do: {{ .Annotations.runbook }}

{{ end }}"""


def describe(section: Section) -> Mapping[str, Any]:
    """Alertmanager's configuration."""
    receiver: dict[str, Any] = {"name": "alarms"}
    if section.mail:
        receiver["email_configs"] = [describe_mail(section.mail)]
    if section.webhooks:
        receiver["webhook_configs"] = [{"url": url, "send_resolved": True} for url in section.webhooks]
    pace = {"group_wait": "5s", "group_interval": "1m", "repeat_interval": "12h"}
    route = {"receiver": "alarms", "group_by": ["alertname", "node"], **pace}
    if not section.deadman:
        return {"route": route, "receivers": [receiver]}
    # of its own from the beginning: in nobody's mail, and never put off
    often = {"group_wait": "0s", "group_interval": "1m", "repeat_interval": "30s"}
    way = {"receiver": "deadman", "matchers": [f'alertname="{rules.WATCHDOG}"'], **often}
    deadman = {"name": "deadman", "webhook_configs": [{"url": section.deadman, "send_resolved": False}]}
    return {"route": {**route, "routes": [way]}, "receivers": [receiver, deadman]}


def describe_mail(mail: Mail) -> Mapping[str, Any]:
    return {
        "to": ", ".join(mail.to),
        "from": mail.sender,
        "smarthost": mail.smtp,
        "require_tls": mail.secured,
        "headers": {"Subject": SUBJECT},
        "html": "",
        "text": TEXT,
        "send_resolved": True,
    }


def service(url: str) -> units.Service:
    """`url`: of the page."""
    command = f"/usr/bin/prometheus-alertmanager --config.file={FILE} --storage.path={STATE} --web.systemd-socket"
    return units.Service(
        name=NAME,
        description="Farmlet monitoring: who is told of alarms (Alertmanager)",
        user=NAME,
        command=f"{command} --cluster.listen-address= --web.external-url={url} --log.level=warn",
        writable=(STATE,),
        environment={"GOMAXPROCS": "1"},
        needs=(f"{NAME}.socket",),
    )


def configure(section: Section, url: str, store: str) -> Sequence[Resource]:
    """`store`: the unit whose private network the socket is in."""
    inside = f"JoinsNamespaceOf={store}.service\nAfter={store}.service\nRequires={store}.service\n"
    return (
        Account(NAME),
        Directory(STATE, 0o700, NAME, NAME),
        File(FILE, json.dumps(describe(section), indent=1) + "\n", 0o640, "root", NAME),
        socket(NAME, ADDRESS, "PrivateNetwork=yes\n", inside),
        service(url).file,
        Unit(f"{NAME}.socket"),
        service(url).unit,
    )
