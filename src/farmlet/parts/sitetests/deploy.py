"""Part `sitetests`: the service on the control node. It goes to sites as the overlay does: by its key, as the drones' account."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from farmlet.facility import places
from farmlet.facility.catalog import Issue
from farmlet.facility.model import Facility, Route
from farmlet.parts import gate, units
from farmlet.parts.backup import keep_database
from farmlet.parts.part import Check, Context, Metric, Part, Role, SiteAccess, find_lack
from farmlet.parts.repositories import list_repositories
from farmlet.parts.resources import Account, Directory, Farmlet, File, Packages, Random, Resource
from farmlet.parts.sitetests import PACKAGE
from farmlet.parts.sitetests.command import CONFIG
from farmlet.parts.sitetests.config import Section
from farmlet.parts.sitetests.suite import EXTRA, LARGEST, show

USER = "farmlet-sitetests"
STATE = "/var/lib/farmlet/sitetests"
ASKED = f"{STATE}/asked"  # what is to run now, by the page
OWN = "/etc/farmlet/sitetests"  # the collaboration's tests
NEEDED = ("overlay.controller",)
SECRET_OF_TOKENS = "/var/lib/farmlet/identity/clients/sitetests.secret"  # made by identity
SERVICE = units.Service(
    name="farmlet-sitetests",
    description="Farmlet site tests",
    user=USER,
    command=f"{units.SERVICE}/bin/python -m farmlet.parts.sitetests.command service",
    writable=(STATE,),
    credentials={"key": places.SITE_KEY},
)


# the page: a user of its own, for the service can go to sites
PAGE = "farmlet-sitepages"
FOLDER = "/var/lib/farmlet/sitepages"
SECRET, KEY = f"{FOLDER}/client.secret", f"{FOLDER}/cookies.key"
PAGE_CONFIG = "/etc/farmlet/sitepages.json"
ORIGIN, CLIENT = "sitetests", "sitetests"
ROUTES = (Route("sitetests", default=True, origin=ORIGIN, client=CLIENT, back="/login/back"),)
WEB = units.Web(
    name=PAGE,
    socket="sitetests",
    description="Farmlet site tests: page",
    user=PAGE,
    app=f'{PACKAGE}.pages.app:load("{PAGE_CONFIG}")',
    threads=4,
    writable=(ASKED,),
)


def has_tokens(facility: Facility) -> bool:
    """Whether tests get tokens: at somebody else's issuer no client of ours may ask for one."""
    return not facility.external and facility.host("sitetests.scheduler") in facility.hosts("identity.provider")


def describe_service(facility: Facility) -> units.Service:
    more = {"secret": SECRET_OF_TOKENS} if has_tokens(facility) else {}
    return replace(SERVICE, credentials={**SERVICE.credentials, **more})


def find_stores(context: Context, *sites: SiteAccess) -> list[tuple[str, str]]:
    """URL and audience of the elements at which tests at these sites may write: the facility's, the sites' own, and others that
    go by the scopes of our issuer."""
    if not has_tokens(context.facility):
        return []
    own = [f"https://{node.fqdn}:8443" for node in context.facility.hosts("storage.element")]
    near = [site.storage for site in sites if site.storage]
    others = [(one.url, one.audience) for one in context.trust.elements.values() if one.scopes]
    return [*((url, url) for url in own + near), *others]


def describe_environment(context: Context) -> dict[str, str]:
    """What all tests are told."""
    facility, drone = context.facility, context.section("overlay")
    software = facility.parts.get("software")
    image = str(getattr(software, "default", "analysis"))
    # the shipped one is there always, and the default is one of them or that
    images = dict.fromkeys((image, "analysis", *(str(one.name) for one in getattr(software, "images", ()))))
    return {
        "FARMLET_ISSUER": facility.issuer,
        "FARMLET_COLLECTOR": f"{facility.host('batch.central').fqdn}:9618",
        "FARMLET_ELEMENTS": " ".join(context.addresses),
        "FARMLET_CERTIFICATES": places.find_authorities(facility.domain),
        "FARMLET_IMAGE": places.find_image(image),
        "FARMLET_IMAGES": " ".join(map(places.find_image, images)),
        "FARMLET_CORES": str(drone.cores),
        "FARMLET_MEMORY": str(drone.memory),
        "FARMLET_DISK": str(places.SCRATCH),
    }


def describe(context: Context) -> dict[str, object]:
    """The service's configuration."""
    facility, section = context.facility, context.section("sitetests")
    tested = [access for access in context.trust.sites.values() if access.key]
    audience = " ".join(name for _, name in find_stores(context, *tested))
    sites = [
        {
            "name": access.name,
            "host": access.host,
            "user": access.user,
            "environment": {
                "FARMLET_SITE": access.name,
                "FARMLET_STORAGE": access.storage,
                # not other sites': that those keep files is their own tests' business
                "FARMLET_STORES": " ".join(url for url, _ in find_stores(context, access)),
                "FARMLET_REPOSITORIES": " ".join(list_repositories(facility)) if access.name in section.cvmfs else "",
            },
        }
        for access in tested
    ]
    return {
        "sites": sites,
        "token": {"issuer": facility.issuer, "audience": audience} if audience else None,
        "environment": describe_environment(context),
        "every": section.every,
        "wait": section.wait,
        "share": section.share,
        "keep_days": section.keep_days,
        "at": f"farmlet-sitetests-{facility.domain}",
        "known": places.SITE_HOSTS,
        "state": STATE,
        "gates": places.GATES,
        "folder": OWN,
    }


def describe_page(context: Context) -> dict[str, object]:
    """The page's configuration; see `pages.app.load`."""
    facility = context.facility
    url = facility.url(ORIGIN)
    return {
        "state": STATE,
        "gates": places.GATES,
        "sites": find_sites(context),
        "title": facility.title or facility.name,
        "admins": [facility.claim(path) for path, group in facility.groups.items() if group.administer],
        "login": {"issuer": facility.issuer, "client": CLIENT, "secret": SECRET, "key": KEY, "origin": url},
    }


def configure_page(context: Context) -> Sequence[Resource]:
    then = ["systemctl", "try-restart", f"{PAGE}.service"]
    secret = {"path": SECRET, "mode": "0600", "owner": PAGE, "group": PAGE, "then": [then]}
    return (
        Account(PAGE, groups=(USER,)),  # reads the results
        Directory(FOLDER, 0o700, PAGE, PAGE),
        Directory(ASKED, 0o730, USER, PAGE),  # it puts something there, and sees nothing
        Random(KEY, owner=PAGE, group=PAGE),
        Directory("/etc/farmlet/agent.d"),
        File(
            "/etc/farmlet/agent.d/sitetests.scheduler.json", json.dumps({"deliver": {places.find_secret(CLIENT): secret}}) + "\n"
        ),
        File(PAGE_CONFIG, json.dumps(describe_page(context), indent=1) + "\n"),
        *WEB.files,
        *WEB.units,
    )


def find_own(facility: Facility) -> list[Path]:
    """The collaboration's tests and their files, as they lie beside the facility file."""
    section = facility.parts.get("sitetests")
    if facility.folder is None or not isinstance(section, Section):
        return []
    return sorted(path for path in (facility.folder / section.folder).glob("*") if path.is_file() and path.name[0] not in "._")


def configure(context: Context) -> Sequence[Resource]:
    return (
        Account(USER),
        # the overlay reads the gates
        Directory(STATE, 0o711, USER, USER),
        Directory(places.GATES, 0o755, USER, USER),
        Directory(OWN),
        Farmlet(units.SERVICE, context.wheel),
        *(File(f"{OWN}/{path.name}", path.read_bytes()) for path in find_own(context.facility)),
        File(CONFIG, json.dumps(describe(context), indent=1, sort_keys=True) + "\n"),
        describe_service(context.facility).file,
        SERVICE.unit,
        *configure_page(context),
    )


def find_sites(context: Context) -> list[str]:
    return [access.name for access in context.trust.sites.values() if access.key]


def measure(context: Context) -> Sequence[Metric]:
    asked = {"folder": places.GATES, "sites": find_sites(context), "told": f"{STATE}/told.json"}
    return (Metric("sitetests.results", f"{PACKAGE}.metrics:measure", asked, watch=f"{places.GATES}/{gate.CHANGED}"),)


def check(context: Context) -> Sequence[Check]:
    asked = {"folder": places.GATES, "told": f"{STATE}/told.json"}
    return (
        Check("sitetests.unit", "farmlet.runtime.checks:check_unit", {"unit": "farmlet-sitetests.service"}),
        Check("sitetests.page", "farmlet.runtime.checks:check_unit", {"unit": f"{PAGE}.service"}),
        Check("sitetests.service", f"{PACKAGE}.checks:check_service", {"path": f"{STATE}/told.json"}),
        *(
            Check(f"sitetests.site.{name}", f"{PACKAGE}.checks:check_site", asked | {"site": name}, external=True)
            for name in find_sites(context)
        ),
    )


def validate(facility: Facility) -> Iterator[Issue]:
    yield from find_lack(facility, ("sitetests.scheduler",), "overlay.controller")
    yield from find_lack(facility, ("sitetests.scheduler",), "batch.central")
    ordering = facility.hosts("overlay.controller")
    for node in facility.hosts("sitetests.scheduler"):
        if ordering and node not in ordering:
            what = "sitetests.scheduler goes to sites with the overlay's key, which is on another node"
            yield ("nodes", node.name, "runs"), what, f"put it beside overlay.controller, on {ordering[0].name}"
    section = facility.parts.get("sitetests")
    for site in section.cvmfs if isinstance(section, Section) else ():
        if site not in facility.sites:
            yield ("sitetests", "cvmfs"), f"{site} is no site of the file", f"its sites: {', '.join(facility.sites)}"
    yield from validate_own(facility)


def validate_own(facility: Facility) -> Iterator[Issue]:
    """Files that cannot be brought to the node. What is no test is told by a check there, and costs nothing else."""
    for path in find_own(facility) if facility.has("sitetests.scheduler") else ():
        if not EXTRA.fullmatch(path.name):
            yield ("sitetests",), f"{show(path.name)} is no name for a file of a test", "use letters, digits and . _ -"
        elif path.stat().st_size > LARGEST:
            yield ("sitetests",), f"{path.name} has more than {LARGEST} bytes", "tests fetch what is large from storage"


PART = Part(
    name="sitetests",
    summary="small jobs at the sites that tell whether members' jobs would do well there",
    section=Section,
    needs=("base", "identity", "batch", "overlay"),
    validate=validate,
    roles=(
        Role(
            "scheduler",
            "control",
            configure,
            lambda: (Packages(("openssh-client",)),),
            check,
            routes=ROUTES,
            endpoints=lambda facility, node: {"sitetests": facility.url(ORIGIN)},
            data=(STATE,),
            metrics=measure,
            backup=keep_database(f"{STATE}/results.sqlite3", STATE),
        ),
    ),
)
