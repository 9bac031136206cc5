"""Grafana itself on the control node, from its vendor's packages (`runs: [monitoring.grafana]`).

Its own unit stays; ours is what it reads. It listens at a unix socket in a folder of its own, before which stands one that only
the reverse proxy opens. Sources: Grafana's documentation (configure Grafana, generic OAuth), and its Debian package's
unit, which takes CONF_FILE from an EnvironmentFile.
"""

from __future__ import annotations

from collections.abc import Sequence

from farmlet.facility.model import Route
from farmlet.parts import units, vendor
from farmlet.parts.monitoring.exporter import door, socket
from farmlet.parts.monitoring.grafana import deploy
from farmlet.parts.part import Check, Context
from farmlet.parts.render import render
from farmlet.parts.resources import Directory, File, Random, Resource, Unit
from farmlet.parts.tasks import deliver_secret, tell_agent

USER, SERVER, DOOR = "grafana", "grafana-server", "farmlet-grafana-door"  # the first two are the package's
FOLDER = "/etc/farmlet/grafana"
INI, KEY, SECRET = f"{FOLDER}/grafana.ini", f"{FOLDER}/secret.key", f"{FOLDER}/client.secret"
DATA, SOCKET = "/var/lib/grafana", "/run/grafana/grafana.sock"
ROUTES = (Route("grafana", default=True, origin=deploy.ORIGIN, client=deploy.ORIGIN, back="/login/generic_oauth"),)
DROPIN = f"""\
[Service]
EnvironmentFile={FOLDER}/environment
# the agent brings it when the issuer has made it; Grafana does not start without
ExecStartPre=/bin/sh -c 'until [ -s {SECRET} ]; do sleep 1; done'
ExecStartPost=/bin/sh -c 'until [ -S {SOCKET} ]; do sleep 1; done'
RuntimeDirectory=grafana
RuntimeDirectoryMode=0750
TimeoutStartSec=180
Restart=always
RestartSec=2
"""


def write_settings(context: Context) -> str:
    url = deploy.require(context.facility).url
    server = render(
        deploy.PACKAGE,
        "grafana-server.ini",
        url=url,
        host=url.removeprefix("https://"),
        socket=SOCKET,
        password=deploy.PASSWORD,
        key=KEY,
    )
    return server + deploy.write_login(context.facility, SECRET, "/etc/farmlet/ca.pem", deploy.PAGE)


def configure(context: Context) -> Sequence[Resource]:
    source = deploy.require(context.facility).source
    opened = "SocketUser=root\nSocketGroup=caddy\nSocketMode=0660\nDirectoryMode=0755\n"
    proxy = door(DOOR, SOCKET, USER, SERVER, DOOR)
    start = ("systemctl", "restart", "--no-block", f"{SERVER}.service")  # it waits for the secret of its client at the issuer
    return (
        *vendor.install("grafana", source, "monitoring: {grafana: {source: …}}"),
        Directory(FOLDER, 0o750, "root", USER),
        Random(deploy.PASSWORD, owner=USER, group=USER),
        Random(KEY, owner=USER, group=USER),
        File(INI, write_settings(context), 0o640, "root", USER),
        File(f"{FOLDER}/environment", f"CONF_FILE={INI}\n"),
        Directory(f"/etc/systemd/system/{SERVER}.service.d"),
        File(f"/etc/systemd/system/{SERVER}.service.d/farmlet.conf", DROPIN),
        tell_agent("monitoring.grafana", deliver=deliver_secret(deploy.ORIGIN, SECRET, USER, start)),
        Unit(f"{SERVER}.service"),
        socket(DOOR, f"{units.SOCKETS}/grafana.sock", opened),
        proxy.file,
        Unit(f"{DOOR}.socket"),
    )


def check() -> Sequence[Check]:
    return (Check.of_unit("monitoring.grafana.unit", f"{SERVER}.service"),)
