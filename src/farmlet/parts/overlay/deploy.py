"""Where COBalD/TARDIS runs: on the control node, as user `overlay`, in a virtual environment of its own."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files

from farmlet.facility import places
from farmlet.parts.overlay import render
from farmlet.parts.overlay.config import Overlay
from farmlet.parts.part import Check, Context, Part, Role, SiteAccess, find_lack
from farmlet.parts.resources import Account, Directory, Environment, Farmlet, File, KeyPair, Packages, Resource, Unit

USER = "overlay"
VENV = "/opt/farmlet/tardis"
CONFIG = "/etc/farmlet/overlay"
STATE = "/var/lib/farmlet/overlay"
KEY = f"{STATE}/ssh/id_ed25519"
PROGRAM = "/usr/lib/farmlet/drone.sh"
UNIT = "farmlet-overlay.service"
DISK = 1024  # MiB of a drone's scratch


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
        File(f"{CONFIG}/known_hosts", known),
        File(PROGRAM, files("farmlet.parts.overlay").joinpath("templates/drone.sh").read_text(), 0o755),
        *(File(site["jdl"], render.jdl(pool, site)) for site in sites),
        File(f"{CONFIG}/tardis.yml", render.tardis(pool, sites)),
        File(f"{CONFIG}/cobald.yml", render.cobald(pool, sites) if sites else ""),
        File(f"/etc/systemd/system/{UNIT}", files("farmlet.parts.overlay").joinpath(f"templates/{UNIT}").read_text()),
        # without a site there is nothing to order drones from
        Unit(UNIT, running=bool(sites)),
    )


def describe_pool(context: Context) -> render.Pool:
    facility = context.facility
    return render.Pool(
        collector=f"{facility.host('batch.central').fqdn}:9618",
        trust=facility.domain,
        schedds=[node.fqdn for node in facility.hosts("batch.access")],
        program=PROGRAM,
        settings=f"{CONFIG}/tardis.yml",
        registry=f"{STATE}/drones.db",
        credential=places.CREDENTIAL,
        hold=context.section("overlay").hold,
    )


def describe_site(context: Context, access: SiteAccess) -> render.Site:
    facility, section = context.facility, context.section("overlay")
    site = facility.sites[access.name]
    return render.Site(
        name=access.name,
        host=access.host,
        user=access.user,
        key=KEY,
        known=f"{CONFIG}/known_hosts",
        jdl=f"{CONFIG}/{access.name}.jdl",
        cores=section.cores,
        memory=section.memory,
        disk=DISK,
        quota=site.quota if site.quota is not None else (site.cores or 1),
        image=places.find_image(context.section("software").default if "software" in facility.parts else "analysis"),
        certificates=places.find_authorities(facility.domain),
        walltime=section.walltime,
        idle=max(120, 4 * section.hold),
        pending=section.pending,
    )


def check_controller(context: Context) -> Sequence[Check]:
    if not context.trust.sites:
        return ()
    checks = "farmlet.parts.overlay.checks"
    return (
        Check("overlay.controller", "farmlet.runtime.checks:check_unit", {"unit": UNIT}),
        *(
            Check(f"overlay.site.{access.name}", f"{checks}:check_site", {"host": access.host, "user": access.user})
            for access in context.trust.sites.values()
        ),
    )


PART = Part(
    name="overlay",
    summary="drones at the sites, ordered when jobs wait",
    section=Overlay,
    needs=("base", "batch"),
    judge=lambda facility: find_lack(facility, ("overlay.controller",), "batch.central"),
    roles=(Role("controller", "control", configure_controller, install_controller, check_controller, data=(STATE,)),),
)
