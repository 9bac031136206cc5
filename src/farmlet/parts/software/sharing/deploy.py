"""Who shares /cvmfs, who serves it to those that do not, and who fetches it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from farmlet.facility import places
from farmlet.facility.model import Route
from farmlet.parts import units
from farmlet.parts.part import Check, Context
from farmlet.parts.render import render
from farmlet.parts.resources import Directory, File, Resource
from farmlet.parts.sharing import fetches, find_url, serves
from farmlet.parts.software.sharing import mirror, pack
from farmlet.parts.software.unpacked import deploy as unpacked

PACKAGE = "farmlet.parts.software"
FOLDER = "/var/lib/farmlet/sharing"
FILES = f"{FOLDER}/files"
WORK = "/var/lib/farmlet/mirror"
ROUTE = Route("sharing", (f"{places.SHARED}/*",), folder=FILES)


def configure_server(context: Context) -> Sequence[Resource]:
    """Nothing where all share the folder; its route leads nowhere then."""
    facility = context.facility
    if not serves(facility):
        return ()
    lists = [places.IMAGES]
    if not unpacked.has_publisher(facility):
        lists.append(places.find_unpacked(facility.domain))
    told = {"folder": FILES, "lists": lists, "plain": [places.find_published(facility.domain)]}
    return (
        Directory(FOLDER),
        Directory(FILES),
        File.of_json(pack.CONFIG, told),
        *_run("farmlet-sharing", pack.__name__, "pack what is published for those that do not share it", [FOLDER], 30),
    )


def configure_host(context: Context) -> Sequence[Resource]:
    if not fetches(context.facility, context.node):
        return ()
    told = {"url": find_url(context.facility), "authority": places.CA, "work": WORK}
    writable = [WORK, places.SOFTWARE]
    return (
        Directory(WORK, 0o700),
        Directory(f"{WORK}/files", 0o700),
        Directory(places.SOFTWARE),
        File.of_json(mirror.CONFIG, told),
        *_run("farmlet-mirror", mirror.__name__, "fetch what the facility publishes", writable, 60),
    )


def _run(name: str, module: str, what: str, writable: Sequence[str], seconds: int) -> Sequence[Resource]:
    command = f"{units.NODE}/bin/python -I -m {module}"
    service = render(PACKAGE, "farmlet-sharing.service", what=what, command=command, writable=" ".join(writable))
    often = ("OnActiveSec=1s", f"OnUnitInactiveSec={seconds}s", "AccuracySec=1s")
    timer = units.Trigger(name, "timer", f"Farmlet software: {what}", often)
    return File(f"/etc/systemd/system/{name}.service", service), timer.file, timer.unit


def check_server(context: Context) -> Sequence[Check]:
    if not serves(context.facility):
        return ()
    # minutes of packing do not keep `up` from its end, nor do gigabytes on their way
    return (Check("software.sharing", f"{PACKAGE}.checks:check_sharing", {"folder": FILES}, external=True),)


def check_host(context: Context) -> Sequence[Check]:
    if not fetches(context.facility, context.node):
        return ()
    return (Check("software.mirror", f"{PACKAGE}.checks:check_mirror", {"path": str(Path(WORK, mirror.STATE))}, external=True),)
