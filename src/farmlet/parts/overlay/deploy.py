"""Where COBalD/TARDIS runs: on the control node, as user `overlay`, in a virtual environment of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.resources import files

from farmlet.facility import places
from farmlet.facility.catalog import Issue
from farmlet.facility.model import Facility
from farmlet.parts.backup import Backup
from farmlet.parts.overlay import render
from farmlet.parts.overlay.config import Overlay
from farmlet.parts.overlay.sites import KINDS, validate_kinds
from farmlet.parts.overlay.sites.kind import Pool, Site
from farmlet.parts.part import Check, Context, Metric, Part, Role, SiteAccess, find_lack
from farmlet.parts.render import render as write
from farmlet.parts.repositories import describe_mounts, list_repositories
from farmlet.parts.resources import Account, Directory, Environment, Farmlet, File, KeyPair, Packages, Resource, Unit
from farmlet.parts.sharing import find_url, serves

PACKAGE = "farmlet.parts.overlay"
USER = "overlay"
VENV = "/opt/farmlet/tardis"
CONFIG = "/etc/farmlet/overlay"
STATE = "/var/lib/farmlet/overlay"
KEY = places.SITE_KEY
TOLD = f"{STATE}/demand.json"
REGISTRY = f"{STATE}/drones.db"
# which of our files drones run, and what they are called at sites
PROGRAMS = {"templates/drone.sh": "/usr/lib/farmlet/drone.sh", "starter.py": "/usr/lib/farmlet/starter.py"}
# and what else they need where the facility's part of /cvmfs can be fetched
FETCHING = ("/usr/lib/farmlet/published.py", "/usr/lib/farmlet/facility.pem")
MOUNTS = "/usr/lib/farmlet/mounts.sh"  # and where there are CVMFS repositories
QUOTA = 1000  # MB that a drone keeps of each
UNIT = "farmlet-overlay.service"


def requirements() -> str:
    return files("farmlet.parts").joinpath("requirements/tardis.txt").read_text()


def install_controller() -> Sequence[Resource]:
    return (Packages(("openssh-client",)), Account(USER, home=STATE), Environment(VENV, requirements()))


def configure_controller(context: Context) -> Sequence[Resource]:
    facility = context.facility
    pool = describe_pool(context)
    sites = [describe_site(context, access) for access in context.trust.sites.values() if access.key]
    known = "".join(f"{access.host} {access.key}\n" for access in context.trust.sites.values() if access.key)
    return (
        Account(USER, home=STATE),
        Directory(STATE, 0o700, USER, USER),
        Directory(f"{STATE}/ssh", 0o700, USER, USER),
        Directory(CONFIG),
        Farmlet(VENV, context.wheel),
        KeyPair(KEY, USER, f"overlay of {facility.name}"),
        File(places.SITE_HOSTS, known),
        *(File(path, files("farmlet.parts.overlay").joinpath(name).read_text(), 0o755) for name, path in PROGRAMS.items()),
        File(FETCHING[0], files("farmlet.runtime").joinpath("published.py").read_text(), 0o755),
        File(FETCHING[1], context.trust.ca),
        File(MOUNTS, write(PACKAGE, "mounts.sh", quota=QUOTA, **describe_mounts(facility)), 0o755),
        *(File(site["order"], KINDS[site["kind"]].write_order(pool, site)) for site in sites),
        File(f"{CONFIG}/tardis.yml", render.tardis(pool, sites)),
        File(f"{CONFIG}/cobald.yml", render.cobald(pool, sites) if sites else ""),
        File(f"/etc/systemd/system/{UNIT}", files("farmlet.parts.overlay").joinpath(f"templates/{UNIT}").read_text()),
        # without a site there is nothing to order drones from
        Unit(UNIT, running=bool(sites)),
    )


def describe_pool(context: Context) -> Pool:
    facility = context.facility
    return Pool(
        collector=f"{facility.host('batch.central').fqdn}:9618",
        trust=facility.domain,
        schedds=[node.fqdn for node in facility.hosts("batch.access")],
        programs=[
            *PROGRAMS.values(),
            *(FETCHING if serves(facility) else ()),
            *([MOUNTS] if list_repositories(facility) else []),
        ],
        settings=f"{CONFIG}/tardis.yml",
        registry=REGISTRY,
        credential=places.CREDENTIAL,
        idle_timeout=context.section("overlay").idle_timeout,
        told=TOLD,
        gates=places.GATES,
    )


def find_image(facility: Facility) -> str:
    """The image of jobs that name none."""
    return str(getattr(facility.parts.get("software"), "default", "analysis"))


def describe_site(context: Context, access: SiteAccess) -> Site:
    facility, section = context.facility, context.section("overlay")
    site = facility.sites[access.name]
    return Site(
        name=access.name,
        kind=site.kind,
        host=access.host,
        user=access.user,
        key=KEY,
        known=places.SITE_HOSTS,
        order=f"{CONFIG}/{access.name}.jdl",
        cores=section.cores,
        memory=section.memory,
        disk=places.SCRATCH,
        quota=site.quota if site.quota is not None else (site.cores or 1),
        image=places.find_image(find_image(facility)),
        certificates=places.find_authorities(facility.domain),
        walltime=section.walltime,
        idle=max(120, 4 * section.idle_timeout),
        pending=section.pending,
        repositories=list_repositories(facility),
        software=find_url(facility) if serves(facility) else "",
        cache=section.cache,
    )


def check_controller(context: Context) -> Sequence[Check]:
    sites = context.trust.sites.values()
    if not sites:
        return ()
    unit = Check.of_unit("overlay.controller", UNIT)
    demand = Check("overlay.demand", "farmlet.parts.overlay.checks:check_demand", {"path": TOLD})
    return (
        unit,
        demand,
        *(KINDS[context.facility.sites[access.name].kind].check(describe_pool(context), access) for access in sites),
    )


def list_metrics(context: Context) -> Sequence[Metric]:
    names = sorted(name for name, access in context.trust.sites.items() if access.key)
    if not names:
        return ()
    pool, package = describe_pool(context), "farmlet.parts.overlay.metrics"
    drones = {"registry": pool["registry"], "told": TOLD, "sites": names}
    slots = {"host": pool["collector"].partition(":")[0], "sites": names}
    return (Metric("overlay.drones", f"{package}:count_drones", drones), Metric("overlay.slots", f"{package}:count_slots", slots))


def validate(facility: Facility) -> Iterator[Issue]:
    yield from validate_kinds(facility)
    yield from find_lack(facility, ("overlay.controller",), "batch.central")


PART = Part(
    name="overlay",
    summary="drones at the sites, ordered when jobs wait",
    section=Overlay,
    needs=("base", "batch"),
    decides=3,
    validate=validate,
    roles=(
        Role(
            "controller",
            "control",
            configure_controller,
            install_controller,
            check_controller,
            data=(STATE,),
            # the key that sites know; drones that nobody knows any more end by themselves
            backup=Backup(copy=(f"{STATE}/ssh",)),
            images=lambda facility: (find_image(facility),),
            metrics=list_metrics,
        ),
    ),
)
