"""Part `notebooks`: Docker, JupyterHub and its proxy on the node that members find at the origin `notebooks`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from importlib.resources import files

from farmlet.facility import places
from farmlet.facility.catalog import Issue
from farmlet.facility.model import Facility, Node, Route
from farmlet.parts import units
from farmlet.parts.images import IN_USE
from farmlet.parts.notebooks import editor, example, spawners
from farmlet.parts.notebooks.config import Notebooks
from farmlet.parts.notebooks.hub import settings
from farmlet.parts.part import Check, Context, Leave, Metric, Part, Role, find_lack
from farmlet.parts.render import render
from farmlet.parts.repositories import list_mounted
from farmlet.parts.resources import Account, Directory, Environment, Farmlet, File, Packages, Random, Resource, Unit

PACKAGE = "farmlet.parts.notebooks"
USER = "farmlet-notebooks"  # of the proxies
HUB = "/opt/farmlet/hub"
FOLDER = "/etc/farmlet/notebooks"
SETTINGS = f"{FOLDER}/settings.json"
CONFIG = f"{FOLDER}/jupyterhub_config.py"
SECRET, COOKIE, TOKEN = (f"{FOLDER}/{name}.secret" for name in ("client", "cookie", "proxy"))
ROSTER, HEARD, CLOSED = f"{FOLDER}/roster.json", f"{FOLDER}/heard", f"{FOLDER}/closed"
INSIDE = "/opt/farmlet/notebook"  # what servers have of ours; their /usr is the image's
CONDOR = f"{INSIDE}/condor.config"
NOTICE = f"{INSIDE}/jupyter/labextensions/farmlet-notice"
# JupyterLab's settings of all: it asks nobody for news or newer versions
QUIET = {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}}
STATE = "/var/lib/farmlet/notebooks"
DOCKER = "/var/lib/farmlet/docker"
IMAGE = "/usr/lib/farmlet/notebook-image"
SESSIONS = "/run/farmlet-tokens"  # where a session's token is; in a notebook it is there too
PROXY, API, PORT = 880, 881, 882  # on loopback
ORIGIN = "notebooks"
CLIENT = "farmlet-notebooks"
UNIT = "farmlet-notebooks.service"
TOLD = f"{places.OWN_IMAGES[1:].replace('/', '-')}.mount"
ROUTE = Route(
    ORIGIN,
    default=True,
    origin=ORIGIN,
    client=CLIENT,
    back="/hub/oauth_callback",
    cookie=settings.COOKIE,
    claim=f"/hub{settings.CLAIM}",
    wide="sharing",
)
DAEMON = {
    "data-root": DOCKER,
    "bridge": "none",
    "icc": False,
    "live-restore": True,  # notebooks outlive a restart of the daemon
    "userland-proxy": False,
    "log-driver": "local",
    "log-opts": {"max-size": "1m", "max-file": "2"},
}
# Kubernetes' interface listens on loopback, where members are
CONTAINERD = 'version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
BUSY = f"""{spawners.RUNNING} | sed 's/.*Notebook of/notebook of/'
[ -e {spawners.CONFINED}/farmlet.conf ] ||
docker ps --filter label={places.NOTEBOOK} --format 'notebook of {{{{.Label "{places.NOTEBOOK}"}}}}'"""


def install_hub() -> Sequence[Resource]:
    dropin = f"[Unit]\nConditionPathExists={SETTINGS}\n"
    return (
        Directory("/etc/docker"),
        File("/etc/docker/daemon.json", json.dumps(DAEMON, indent=1) + "\n"),
        # not at the first boot of an image
        Directory("/etc/systemd/system/docker.service.d"),
        File("/etc/systemd/system/docker.service.d/farmlet.conf", dropin),
        Packages(("docker.io", "docker-cli", "iptables", "node-configurable-http-proxy")),
        Environment(HUB, (files("farmlet.parts") / "requirements" / "hub.txt").read_text()),
        *editor.install(),
    )


def describe(context: Context) -> dict[str, object]:
    """What the Hub is told; see `hub.settings`."""
    facility, section = context.facility, context.section("notebooks")
    return {
        "title": facility.title or facility.name,
        "origin": facility.url(ORIGIN),
        "issuer": facility.issuer,
        "client": section.client if facility.external else CLIENT,
        "roster": ROSTER,
        "heard": HEARD,
        "state": STATE,
        "tokens": places.NOTEBOOKS,
        "sessions": SESSIONS,
        "credentials": places.CREDENTIALS,
        "image": find_image(context),
        "unpacked": find_unpacked(context),
        "spawner": section.spawner,
        "network": spawners.NETWORKS[section.spawner],
        "certificates": places.find_authorities(facility.domain),
        "scratch": context.section("accounts").scratch,
        "usage": places.USAGE,
        "closed": CLOSED,
        "inside": INSIDE,
        # what is mounted while the server runs is to be seen in it
        "mounted": "ro,rslave" if list_mounted(facility, context.node) else "ro",
        "editor": editor.EDITOR,
        "condor": CONDOR,
        "meet": places.MEET,
        "readers": places.POOL_READERS,
        "cores": section.cores,
        "memory": section.memory,
        "servers": section.servers,
        "idle": section.idle_hours * 3600,
        "silent": section.silent_hours * 3600,
        "sharing": section.sharing,
        "proxy": PROXY,
        "api": API,
        "hub": PORT,
    }


def describe_pool(context: Context) -> dict[str, str]:
    """What HTCondor's programs in a notebook are told: they belong to the access point of the same node."""
    facility = context.facility
    where = {"central": facility.host("batch.central").fqdn, "fqdn": context.node.fqdn, "domain": facility.domain}
    return {**where, "meet": places.MEET, "readers": places.POOL_READERS, "inside": INSIDE}


def find_image(context: Context) -> str:
    return places.find_image(context.section("software").default)


def find_hub() -> str:
    """The major version of JupyterHub, with which a server has to go together."""
    return (files("farmlet.parts") / "requirements" / "hub.txt").read_text().partition("\njupyterhub==")[2].partition(".")[0]


def find_unpacked(context: Context) -> str:
    """The area of registries' images, if the facility has one."""
    return places.find_unpacked(context.facility.domain) if context.section("software").unpacked else ""


def tell_agent(context: Context) -> File:
    """Rights come as accounts do; the client's secret comes once, from our own issuer."""
    spawner = context.section("notebooks").spawner
    args = {"path": ROSTER, "first_uid": context.section("identity").first_uid, "spawner": spawner}
    apply = {"accounts": {"call": f"{PACKAGE}.roster:apply", "args": args, "again": True}}
    deliver: dict[str, object] = {places.MEMBERSHIP: {"path": HEARD, "mode": "0600"}}
    if not context.facility.external:
        then = [["systemctl", "restart", UNIT]]
        deliver[places.find_secret(CLIENT)] = {"path": SECRET, "mode": "0600", "then": then}
    tasks = {"apply": apply, "deliver": deliver}
    return File("/etc/farmlet/agent.d/notebooks.hub.json", json.dumps(tasks, indent=1) + "\n")


def list_inside() -> Iterator[Resource]:
    """What is mounted into every server: its start, and what JupyterLab gets of ours."""
    source = files(PACKAGE) / "inside"
    jupyter = f"{INSIDE}/jupyter"
    names = ("config", "settings", "python", "jupyter")
    folders = (*(f"{INSIDE}/{name}" for name in names), f"{jupyter}/labextensions", NOTICE, f"{NOTICE}/static")
    yield from map(Directory, (INSIDE, *folders))
    yield File(f"{INSIDE}/config/jupyter_server_config.py", (source / "jupyter_server_config.py").read_text())
    yield File(f"{INSIDE}/config/editor.yaml", (source / "editor.yaml").read_text())
    for name in ("farmlet_editor.py", "farmlet_guests.py"):
        yield File(f"{INSIDE}/python/{name}", (source / "python" / name).read_text())
    yield File(f"{INSIDE}/credential.sh", (source / "credential.sh").read_text(), 0o755)
    yield File(f"{INSIDE}/start.py", (source / "start.py").read_text())
    yield File(f"{INSIDE}/settings/overrides.json", json.dumps(QUIET, indent=1) + "\n")
    yield File(f"{NOTICE}/package.json", (source / "notice.json").read_text())
    yield File(f"{NOTICE}/static/notice.js", (source / "notice.js").read_text())


def list_services(context: Context) -> Iterator[File]:
    """The unit files."""
    docker = "docker.service " if context.section("notebooks").spawner == "docker" else ""
    hub = {"network": spawners.NETWORK, "program": f"{HUB}/bin/jupyterhub", "config": CONFIG, "state": STATE, "docker": docker}
    secrets = {"secret": SECRET, "cookie": COOKIE, "token": TOKEN}
    proxy = {"user": USER, "token": TOKEN, "proxy": PROXY, "api": API, "hub": PORT, "hardening": HARDENING}
    sharing = context.section("notebooks").sharing
    services: dict[str, dict[str, object]] = {
        "farmlet-notebooks-web.socket": {"socket": f"{units.SOCKETS}/{ORIGIN}.sock"},
        "farmlet-notebooks-web.service": {"port": PROXY, "user": USER, "hardening": units.HARDENING.strip()},
        "farmlet-notebooks-proxy.service": {**proxy, "sharing": sharing},
        UNIT: {**hub, **secrets, "runtime": places.NOTEBOOKS.rpartition("/")[2]},
    }
    for name, words in services.items():
        yield File(f"/etc/systemd/system/{name}", render(PACKAGE, name, **words))


def list_docker(context: Context) -> Iterator[Resource]:
    """What runs servers as containers."""
    yield spawners.NO_UNITS
    area = find_unpacked(context)
    image, folders = "farmlet-notebooks-image", [places.IMAGES, *filter(None, [area])]
    yield File(IMAGE, render(PACKAGE, "image.sh", folder=places.IMAGES, unpacked=area, hub=find_hub()), 0o755)
    yield File(spawners.NETWORK, render(PACKAGE, "network.sh", network=spawners.NETWORKS["docker"], bridge="farmlet0"), 0o755)
    yield File(f"/etc/systemd/system/{image}.service", render(PACKAGE, f"{image}.service", program=IMAGE))
    yield File(f"/etc/systemd/system/{image}.path", render(PACKAGE, f"{image}.path", folders=folders))
    yield File("/etc/containerd/config.toml", CONTAINERD)
    yield from map(Unit, ("containerd.service", "docker.service", f"{image}.path", f"{image}.service"))


def configure_hub(context: Context) -> Sequence[Resource]:
    return (
        Account(USER),
        Directory(FOLDER, 0o700),
        Directory(STATE, 0o700),
        File(f"/etc/systemd/system/{TOLD}", render(PACKAGE, "own.mount", told=places.OWN_IMAGES)),
        Unit(TOLD),
        Random(COOKIE),
        Random(TOKEN),
        Directory("/usr/lib/farmlet"),
        Farmlet(HUB, context.wheel),
        File(CONFIG, render(PACKAGE, "jupyterhub_config.py", settings=SETTINGS)),
        File(SETTINGS, json.dumps(describe(context), indent=1) + "\n"),
        *list_inside(),
        *example.install(context, f"{INSIDE}/z-peak"),
        File(CONDOR, render(PACKAGE, "condor.config", **describe_pool(context))),
        *list_services(context),
        Directory("/etc/farmlet/agent.d"),
        tell_agent(context),
        *(
            list_docker(context)
            if context.section("notebooks").spawner == "docker"
            else spawners.list_systemd(HUB, STATE, INSIDE, USER)
        ),
        Unit("farmlet-notebooks-web.socket"),
        Unit("farmlet-notebooks-proxy.service"),
        Unit(UNIT),
    )


# node.js compiles to memory as it goes, with keys for it, and binds ports below 1024
HARDENING = (
    units.HARDENING.replace("MemoryDenyWriteExecute=yes\n", "")
    .replace("CapabilityBoundingSet=\n", "CapabilityBoundingSet=CAP_NET_BIND_SERVICE\n")
    .replace("@system-service\n", "@system-service @pkey\nSystemCallErrorNumber=EPERM")
)


def check_hub(context: Context) -> Sequence[Check]:
    url = context.facility.url(ORIGIN)
    named = context.section("notebooks").sharing and context.node.connect != "container"  # a sandbox has no DNS
    return (
        Check("notebooks.proxy", "farmlet.runtime.checks:check_unit", {"unit": "farmlet-notebooks-proxy.service"}),
        Check("notebooks.hub", f"{PACKAGE}.checks:check_hub", {"url": url}),
        # leads to the Hub, if the wildcard leads here
        *([Check("notebooks.wildcard", f"{PACKAGE}.checks:check_hub", {"url": url.replace("//", "//any.")})] if named else []),
        Check("notebooks.ports", f"{PACKAGE}.checks:check_ports", {"ports": [PROXY, API, PORT]}),
        *spawners.list_checks(context.section("notebooks").spawner, find_image(context)),
        Check(IN_USE, f"{PACKAGE}.checks:check_used", {"spawner": context.section("notebooks").spawner}),
    )


def count_servers(context: Context) -> Sequence[Metric]:
    spawner = context.section("notebooks").spawner
    return (Metric("notebooks.servers", f"{PACKAGE}.metrics:count_servers", {"spawner": spawner}),)


def find_endpoints(facility: Facility, node: Node) -> dict[str, str]:
    return {"notebooks": facility.url(ORIGIN)}


def validate(facility: Facility) -> Iterator[Issue]:
    """A notebook has its member's home, software and token, which other roles of its node bring, and sends jobs to the pool."""
    yield from find_lack(facility, ("notebooks.hub",), "batch.central")
    for node in facility.hosts("notebooks.hub"):
        for role, part in (("accounts.homes", "access"), ("tokens.credmon", "batch"), ("software.client", "software")):
            if role not in node.roles:
                what = f"notebooks need {role}, which this node does not run"
                yield ("nodes", node.name, "runs"), what, f"add `{part}` to `runs` of {node.name}"


PART = Part(
    name="notebooks",
    summary="JupyterHub: a server in a container for each member who wants one",
    section=Notebooks,
    needs=("base", "accounts", "software", "tokens"),
    validate=validate,
    roles=(
        Role(
            "hub",
            "members",
            configure_hub,
            install_hub,
            check_hub,
            metrics=count_servers,
            data=(DOCKER, STATE),
            backup="notebooks lie in homes; members log in and start anew, and images are made again of what is published",
            routes=(ROUTE,),
            endpoints=find_endpoints,
            leave=Leave(f"touch {CLOSED}", f"rm -f {CLOSED}", BUSY),
            images=lambda facility: (getattr(facility.parts["software"], "default", "analysis"),),
        ),
    ),
)
