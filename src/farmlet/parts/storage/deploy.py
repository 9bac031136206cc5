"""Where storage stands, and its clients on every node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from farmlet.facility import places
from farmlet.facility.model import Facility, Node
from farmlet.facility.rights import USER
from farmlet.parts import units
from farmlet.parts.backup import Backup
from farmlet.parts.part import Check, Context, Metric, Part, Role
from farmlet.parts.resources import Absent, Command, Directory, File, Packages, Resource
from farmlet.parts.storage import PACKAGE, element, ended
from farmlet.parts.storage.config import Storage
from farmlet.parts.storage.elements import find_elements, validate
from farmlet.parts.storage.limits import list_limits
from farmlet.parts.storage.usage import list_paths
from farmlet.parts.tasks import follow, tell_agent

CHECKS = f"{PACKAGE}.checks"
GUIDE = "/etc/farmlet/storage.json"
SECRET = "/var/lib/farmlet/identity/clients/storage.secret"  # made by identity, read by the node's agent as root
CLIENTS = (
    *("xrootd-client", "xrootd-client-plugins", "davix", "curl"),
    *("gfal2-plugin-file", "gfal2-plugin-http", "gfal2-plugin-xrootd", "gfal2-util-scripts"),
)
TABLE = "/etc/farmlet/storage-paths.json"
COUNTS = "/var/lib/farmlet/storage"
LIMITS = "/var/lib/farmlet/storage-limits.json"  # not in COUNTS, where the server's account writes
ENDED = "/var/lib/farmlet/storage-ended.json"  # nor this
USAGE = units.Service(
    name="farmlet-storage-usage",
    description="Farmlet storage: count what lies there",
    user=element.USER,
    command=f"{units.NODE}/bin/python -m {PACKAGE}.usage --root {element.DATA} --table {TABLE} --out {COUNTS}/usage.json",
    kind="oneshot",
    writable=(COUNTS,),
    install=False,
)
TIMER = units.Trigger(
    USAGE.name, "timer", "Farmlet storage: each night", ("OnActiveSec=1s", "OnCalendar=*-*-* 03:17", "Persistent=true")
)


def configure_element(context: Context) -> Sequence[Resource]:
    facility, groups = context.facility, element.find_groups(context.facility, ended.NAME)
    keep = {"root": element.DATA, "limits": find_limits(context), "known": LIMITS, "server": element.USER}
    return (
        Directory("/var/lib/farmlet"),
        *tell_ends(context),
        *element.configure(context.node.fqdn, facility.issuer, facility.name, context.trust.authorities, groups, ENDED),
        Directory(COUNTS, 0o755, element.USER, element.USER),
        File.of_json(TABLE, list_paths(facility.rights)),
        USAGE.file,
        TIMER.file,
        TIMER.unit,
        tell_agent("storage.limits", apply=follow(f"{PACKAGE}.limits:apply", keep)),
    )


def tell_ends(context: Context) -> Sequence[Resource]:
    """With our own issuer a membership ends with its tokens."""
    args = {"path": ENDED, "first_uid": context.section("identity").first_uid}
    task = tell_agent("storage.ended", apply=follow(f"{PACKAGE}.ended:apply", args))
    if not context.facility.external:
        return (Absent(task.path),)
    # the server wants to find it when it starts; the agent keeps it from then on
    first = Command("list of ended memberships", f"echo '[]' > {ENDED} && chmod 644 {ENDED}", f"test -s {ENDED}")
    return (first, task)


def find_limits(context: Context) -> list[dict[str, Any]]:
    """The limits of the facility file, for the agent; an external issuer gives nobody a folder of their own."""
    sizes = context.section("storage").limits
    kept = {path: size for path, size in sizes.items() if not (context.facility.external and USER in path)}
    return list_limits(kept, context.facility.rights)


def check_element(context: Context) -> Sequence[Check]:
    host, limits = context.node.fqdn, {"root": element.DATA, "known": LIMITS}
    return (
        Check.of_unit("storage.unit", element.UNIT),
        Check("storage.certificate", "farmlet.runtime.checks:check_certificate", {"path": element.CERTIFICATE}),
        Check("storage.strangers", f"{CHECKS}:check_strangers", {"url": element.url(host), "folder": element.AUTHORITIES}),
        Check("storage.root", "farmlet.runtime.checks:check_port", {"host": host, "port": element.ROOT_PORT}),
        Check("storage.usage", f"{PACKAGE}.usage:check_usage", {"path": f"{COUNTS}/usage.json", "root": element.DATA}),
        *([Check("storage.limits", f"{PACKAGE}.limits:check_limits", limits)] if find_limits(context) else ()),
    )


SPACE = {"root": element.DATA, "counts": f"{COUNTS}/usage.json"}


def list_endpoints(facility: Facility, node: Node) -> dict[str, str]:
    """Each storage node is an element of its own; the first is the one that is meant where none is named."""
    first = node == facility.hosts("storage.element")[0]
    return {"storage" if first else f"storage@{node.name}": element.url(node.fqdn)}


def install_client() -> Sequence[Resource]:
    return (Packages((*CLIENTS, "openssl", "ca-certificates")),)


def configure_client(context: Context) -> Sequence[Resource]:
    # curl and davix go by the system's trust, which part base keeps; XRootD's client by this folder
    return (*element.trust(context.trust.authorities), write_guide(context, GUIDE), *publish_guide(context))


def check_client(context: Context) -> Sequence[Check]:
    args = {"folder": element.AUTHORITIES, "names": [f"farmlet-{name}.pem" for name in context.trust.authorities]}
    return (Check("storage.client", f"{CHECKS}:check_client", args),)


def write_guide(context: Context, path: str) -> File:
    """Where data is, for people and programs on a node (JSON); nothing in it is secret."""
    scopes = not context.facility.external
    urls = {node.name: element.url(node.fqdn) for node in context.facility.hosts("storage.element")}
    urls |= {site.name: site.storage for site in context.trust.sites.values() if site.storage}
    rows = [{"name": name, "kind": "xrootd", "url": url, "audience": url, "scopes": scopes} for name, url in urls.items()]
    for one in context.trust.elements.values():
        rows.append({"name": one.name, "kind": one.kind, "url": one.url, "audience": one.audience, "scopes": one.scopes})
    return File.of_json(path, {"elements": rows})


def publish_guide(context: Context) -> Sequence[Resource]:
    """The same for jobs, beside the certificates that they are told of, on the node whose /cvmfs is distributed."""
    if "software.build" not in context.node.roles:
        return ()
    folder = places.find_published(context.facility.domain)
    return (Directory(places.SOFTWARE), Directory(folder), write_guide(context, f"{folder}/storage.json"))


def check_probe(context: Context) -> Sequence[Check]:
    """Own elements, and others as far as they go by what our own issuer says; a stand-in site's is the site's business."""
    if context.facility.external:  # its tokens are by groups, which a program of ours is in none of
        return ()
    own = {node.name: (element.url(node.fqdn),) * 2 for node in context.facility.hosts("storage.element")}
    others = {name: (one.url, one.audience) for name, one in context.trust.elements.items() if one.scopes}
    fixed = {"issuer": context.facility.issuer, "secret": SECRET, "folder": element.AUTHORITIES}
    return tuple(
        Check(
            f"storage.keeps.{name}",
            f"{PACKAGE}.probe:check_element",
            {"url": url, "audience": audience, "digest": name in own, **fixed},
            external=name in others,
            seconds=20,  # it asks five times, up to twice at another machine
        )
        for name, (url, audience) in (own | others).items()
    )


PART = Part(
    name="storage",
    summary="XRootD: data by root:// and WebDAV, opened by tokens",
    section=Storage,
    needs=("base",),
    elements=find_elements,
    validate=validate,
    roles=(
        Role(
            "element",
            "members",
            configure_element,
            element.install,
            check_element,
            ports=(element.ROOT_PORT, element.WEB_PORT),
            data=(element.DATA,),
            quotas=(element.DATA,),
            forget=element.FORGET,
            endpoints=list_endpoints,
            backup=Backup(copy=(element.DATA,)),
            metrics=lambda context: (Metric("storage.space", f"{PACKAGE}.metrics:measure", SPACE),),
        ),
        Role("client", "every", configure_client, install_client, check_client),
        Role("probe", "control", lambda context: (), checks=check_probe),
    ),
)
