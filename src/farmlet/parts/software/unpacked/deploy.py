"""The unpacked area on the node that publishes software: its list, its timer, what must hold of it, what is counted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from farmlet.errors import Errors, FarmletError, InputError
from farmlet.facility import places
from farmlet.facility.catalog import Issue
from farmlet.facility.model import Facility
from farmlet.parts import units
from farmlet.parts.part import Check, Context, Metric
from farmlet.parts.render import render
from farmlet.parts.repositories import can_mount
from farmlet.parts.resources import Account, Directory, File, Packages, Resource, Unit
from farmlet.parts.software.unpacked.program import CONFIG
from farmlet.parts.software.unpacked.wishes import Wishes, parse

PACKAGE = "farmlet.parts.software"
USER = "farmlet-unpacked"
UNIT = "farmlet-unpacked"
TIMER = units.Trigger(
    UNIT, "timer", "Farmlet software: look each hour for what registries have", ("OnActiveSec=1s", "OnUnitInactiveSec=1h")
)
MOST = 40 << 30  # bytes that one image may have
PREPARED = "/var/lib/farmlet/unpacked"  # what is there before a publisher has published it
PUBLISHER = "farmlet-publisher"
PUBLISH = (f"{units.NODE}/bin/python", "-I", "-m", f"{PACKAGE}.unpacked.publish")
COMMAND = (f"{units.NODE}/bin/python", "-I", "-m", f"{PACKAGE}.unpacked.program")


def find_file(facility: Facility) -> str:
    """The wish list, as the facility file names it; "" without one."""
    return str(getattr(facility.parts.get("software"), "unpacked", ""))


def read(facility: Facility) -> Wishes:
    """What the list beside the facility file asks for. Raises InputError or Errors."""
    name = find_file(facility)
    path = (facility.folder or Path.cwd()) / name
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("software.unpacked", f"cannot read {path}: {error}", "it lies beside the facility file") from None
    return parse(text, name, find_repository(facility))


def find_folder(facility: Facility) -> str:
    """Where the area is on the node that builds: at its place, unless that is a repository's, into which it is published."""
    name = places.find_unpacked(facility.domain)
    return f"{PREPARED}/{Path(name).name}" if has_publisher(facility) else name


def has_publisher(facility: Facility) -> bool:
    return bool(getattr(facility.parts.get("software"), "publisher", False))


def find_repository(facility: Facility) -> str:
    """The name of the CVMFS repository, and of the folder below /cvmfs."""
    return Path(places.find_unpacked(facility.domain)).name


def validate(facility: Facility) -> Iterator[Issue]:
    """What is wrong with the list as a whole; a line of it that is no image stops nothing (`note`)."""
    if not find_file(facility):
        return
    try:
        read(facility)
    except FarmletError as error:
        for one in error.errors if isinstance(error, Errors) else [error]:
            yield ("software", "unpacked"), f"{one.where}: {one.what}", one.hint
    for node in facility.hosts("software.build") if has_publisher(facility) else []:
        if not can_mount(node):
            yield ("software", "publisher"), f"{node.name} is a container, and publishers are hosts", "leave it out here"


def note(facility: Facility) -> Iterator[str]:
    name = find_file(facility)
    if not name:
        return
    try:
        faults = read(facility).faults
    except FarmletError:
        return  # `validate` has told it
    yield from (f"{name}:{fault.line}: `{fault.text}` {fault.why}; it is left out" for fault in faults)


def install() -> Sequence[Resource]:
    return (Packages(("skopeo", "umoci", "zstd")),)


def find_leases(facility: Facility) -> dict[str, object]:
    """Who knows what is in use: the pool, and the agents of nodes with notebooks, if they tell the node that builds."""
    here = facility.hosts("software.build") == facility.hosts("base.control")
    hubs = facility.hosts("notebooks.hub") if here else ()
    pool = facility.host("batch.central").fqdn if facility.has("batch.central") else ""
    return {"pool": pool, "results": [f"{places.CONTROL}/results/{node.name}.json" for node in hubs]}


def configure(context: Context) -> Sequence[Resource]:
    """Nothing without a list."""
    facility = context.facility
    name = find_file(facility)
    if not name:
        return ()
    wishes, folder = read(facility), find_folder(facility)
    told = {
        "folder": folder,
        "shown": places.find_unpacked(facility.domain),
        "file": name,
        "user": USER,
        **find_leases(facility),
        "keep_days": context.section("software").keep_days,
        "most": MOST,
        "wishes": [asdict(one) for one in wishes.found],
        "faults": [asdict(one) for one in wishes.faults],
    }
    service = render(PACKAGE, f"{UNIT}.service", command=" ".join(COMMAND), folder=folder)
    return (
        Account(USER),
        Directory(folder),
        File.of_json(CONFIG, told),
        File(f"/etc/systemd/system/{UNIT}.service", service),
        TIMER.file,
        # it begins at once when the list is another one, and nobody waits for it
        TIMER.unit,
        *(configure_publisher(context) if has_publisher(facility) else ()),
    )


def configure_publisher(context: Context) -> Sequence[Resource]:
    folder, name = find_folder(context.facility), find_repository(context.facility)
    words = {"command": " ".join((*PUBLISH, folder, name)), "folder": folder}
    return (
        Packages(("rsync",)),
        Directory(PREPARED),
        *(
            File(f"/etc/systemd/system/{PUBLISHER}.{kind}", render(PACKAGE, f"{PUBLISHER}.{kind}", **words))
            for kind in ("service", "path")
        ),
        Unit(f"{PUBLISHER}.path"),
    )


def check(context: Context) -> Sequence[Check]:
    if not find_file(context.facility):
        return ()
    args = {"folder": find_folder(context.facility)}
    # what registries have is theirs
    area = Check("software.unpacked", f"{PACKAGE}.checks:check_unpacked", args, external=True)
    if not has_publisher(context.facility):
        return (area,)
    call, told = f"{PACKAGE}.unpacked.publish:check_publisher", {**args, "repository": find_repository(context.facility)}
    return (area, Check("software.publisher", call, told, external=True, seconds=30))


def measure(context: Context) -> Sequence[Metric]:
    if not find_file(context.facility):
        return ()
    args = {"folder": find_folder(context.facility)}
    return (Metric("software.unpacked", f"{PACKAGE}.metrics:count_unpacked", args),)
