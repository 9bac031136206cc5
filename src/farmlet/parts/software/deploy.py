"""Where software images are built (once, with the node's own image) and where members and jobs find them: below /cvmfs.

The shipped image is built in the install phase, without names or secrets; the builder tests and publishes it in the configure
phase, and after it those of the facility file. The published folder is what a CVMFS repository distributes in production; in a
sandbox the sites mount it read-only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from farmlet.errors import FarmletError, InputError
from farmlet.facility import places
from farmlet.facility.catalog import Issue
from farmlet.facility.model import Facility
from farmlet.facility.names import unix_group
from farmlet.parts import units
from farmlet.parts.part import Check, Context, Part, Role, find_lack
from farmlet.parts.render import render
from farmlet.parts.repositories import can_mount
from farmlet.parts.resources import Account, Command, Directory, Environment, Farmlet, File, Packages, Resource
from farmlet.parts.sharing import fetches
from farmlet.parts.software import dockerfile, image
from farmlet.parts.software.admin import COMMAND
from farmlet.parts.software.builder import CONFIG, LAYER
from farmlet.parts.software.bundle import bundle
from farmlet.parts.software.config import SHIPPED, Image, Software
from farmlet.parts.software.cvmfs import client
from farmlet.parts.software.members.own import CONFIG as PACKAGES
from farmlet.parts.software.requirements import parse
from farmlet.parts.software.sharing import deploy as sharing
from farmlet.parts.software.unpacked import deploy as unpacked

BUILT = "/usr/lib/farmlet/images"
PYTHON = "/opt/farmlet/analysis"  # the image's Python packages, on log-in nodes
SOURCES = "/usr/lib/farmlet/package-sources"
TITLE = "Scikit-HEP tools, JupyterLab, clients of storage"
BEARER = "/usr/lib/farmlet/bearer.py"
# Debian 13 has no Apptainer; sid's installs on it unchanged
APPTAINER = (Packages(("squashfuse", "fuse-overlayfs", "fuse3", "uidmap")), Packages(("apptainer",), "sid"))


def install_build() -> Sequence[Resource]:
    recipe = image.analysis()
    script, target = f"{BUILT}/build-{recipe.name}.sh", f"{BUILT}/{recipe.name}"
    return (
        Packages(("mmdebstrap", "debian-archive-keyring")),
        File(script, image.render(recipe), 0o755),
        Command(f"build image {recipe.name}", f"{script} {target}", image.built(recipe, target), fills=target),
        *unpacked.install(),
        Packages(("squashfs-tools",)),
    )


def describe_images(context: Context) -> dict[str, object]:
    """What the builder is told: recipes in order, the shipped one first; see `builder.Recipe`."""
    section, shipped = context.section("software"), image.analysis()
    first = {
        "name": shipped.name,
        "title": TITLE,
        "source": f"{BUILT}/{shipped.name}",
        "stamp": shipped.digest,
        "test": image.TEST,
    }
    others = [
        {
            "name": one.name,
            "title": one.title,
            "base": one.base,
            "packages": list(one.packages),
            "requirements": read_lock(context.facility, one) if one.lock else list(one.requirements),
            "test": one.test,
            **({"context": find_context(one), "content": digest(read_folder(context.facility, one))} if one.dockerfile else {}),
        }
        for one in section.images
    ]
    leases = {**unpacked.find_leases(context.facility), "default": places.find_image(section.default)}
    return {"images": [first, *others], "hub": image.find_hub(), "keep_days": section.keep_days, "leases": leases}


def read_lock(facility: Facility, one: Image) -> list[str]:
    """The requirements in the file beside the facility file. Raises InputError or Errors."""
    path = (facility.folder or Path.cwd()) / one.lock
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"software.images: {one.name}", f"cannot read {path}: {error}", "it lies beside the facility file"
        ) from None
    return parse(text, one.lock)


def read_folder(facility: Facility, one: Image) -> bytes:
    """The folder with the Dockerfile, beside the facility file, as a tar. Raises InputError."""
    place, where = (facility.folder or Path.cwd()) / one.dockerfile, f"software.images: {one.name}"
    try:
        text = (place / dockerfile.NAME).read_text()
        data = bundle(place)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(where, f"cannot read {place}: {error}", "it lies beside the facility file") from None
    for fault in dockerfile.find_faults(text, one.base):
        raise InputError(where, f"{one.dockerfile}/{fault}", "")
    if len(data) > dockerfile.LARGEST:
        raise InputError(where, f"{place} has more than {dockerfile.LARGEST >> 20} MiB", "let its Dockerfile fetch what is large")
    return data


def find_context(one: Image) -> str:
    return f"{BUILT}/{one.name}.tar"


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def validate(facility: Facility) -> Iterator[Issue]:
    section = facility.parts.get("software")
    for number, one in enumerate(section.images if isinstance(section, Software) else ()):
        for key, read in (("lock", read_lock), ("dockerfile", read_folder)):
            try:
                if getattr(one, key):
                    read(facility, one)
            except FarmletError as error:
                yield ("software", "images", number, key), f"{error.where}: {error.what}", error.hint
    if any(fetches(facility, node) for node in facility.nodes.values()):
        yield from find_lack(facility, ("software.client",), "software.build")
    yield from validate_cvmfs(facility)
    yield from unpacked.validate(facility)


def validate_cvmfs(facility: Facility) -> Iterator[Issue]:
    section = client.find_section(facility)
    if section is None:
        return
    where = ("software", "cvmfs", "repositories")
    if facility.domain in section.repositories:
        yield where, f"{places.find_published(facility.domain)} is what this facility publishes itself", "leave it out"
    if not facility.has("software.client"):
        yield where, "no node has a client", "add `software` to `runs` of the nodes where members work"


def note(facility: Facility) -> Iterator[str]:
    """A sandbox's file may be the real one's, so that this is no mistake."""
    yield from unpacked.note(facility)
    without = [node.name for node in facility.hosts("software.client") if not can_mount(node)]
    if client.find_section(facility) and without:
        yield (
            f"no CVMFS on {', '.join(without)}: its client is for hosts, not for containers of a sandbox, so that software.cvmfs "
            "has no effect there; drones have what their sites mount"
        )


def configure_build(context: Context) -> Sequence[Resource]:
    told = json.dumps(describe_images(context), indent=1) + "\n"
    program = " ".join(COMMAND)
    folder = places.find_authorities(context.facility.domain)
    return (
        Farmlet(units.NODE, context.wheel),
        Directory("/usr/lib/farmlet"),
        Directory(BUILT),
        File(LAYER, image.read("layer.sh"), 0o755),
        *configure_dockerfiles(context),
        File(CONFIG, told),
        Directory(places.IMAGES),
        open_image(places.find_image(SHIPPED)),
        # an image that fails stops nothing else: its check tells
        Command(
            "images",
            f"{program} build > /dev/null",
            f"echo '{digest(told.encode())}  {CONFIG}' | sha256sum -c --status && {program} ready",
        ),
        Directory(places.find_published(context.facility.domain)),
        *client.list_points(context),
        Directory(folder),
        *(File(f"{folder}/{name}.pem", text) for name, text in context.trust.authorities.items()),
        File(f"{folder}/bundle.pem", context.trust.bundle),
        Command("hash the authorities", f"openssl rehash {folder}"),
        *unpacked.configure(context),
        *sharing.configure_server(context),
    )


def configure_dockerfiles(context: Context) -> Sequence[Resource]:
    """Nothing where no image has one."""
    found = [one for one in context.section("software").images if one.dockerfile]
    if not found:
        return ()
    user, home = dockerfile.USER, "/var/lib/farmlet/buildah"
    # the same ids as members have, by their own: nobody else's
    give = f'for file in /etc/subuid /etc/subgid; do echo "{user}:$(($(id -u {user}) << 16)):65536" >> $file; done'
    return (
        Packages(("buildah", "netavark")),
        # RUN does not begin where these two are not there
        Account(user, home),
        Directory(home, 0o700, user, user),
        Directory(f"{home}/.config", 0o700, user, user),
        Command("ids for buildah", give, f"grep -q ^{user}: /etc/subuid && grep -q ^{user}: /etc/subgid"),
        File(dockerfile.SCRIPT, image.read("dockerfile.sh"), 0o755),
        *(File(find_context(one), read_folder(context.facility, one)) for one in found),
    )


def open_image(path: str) -> Resource:
    """Members begin images of their own with it (`apptainer build`): devices and files of root's alone could not be copied."""
    return Command("an image to begin with", f"chmod -R a+rX {path} && rm -rf {path}/dev/*", f'[ -z "$(ls -A {path}/dev)" ]')


def install_client() -> Sequence[Resource]:
    return (
        *APPTAINER,
        # what the image has, for those who work on the node itself
        Packages(("python3-venv", "squashfs-tools")),
        Environment(PYTHON, image.requirements()),
        Directory("/usr/lib/farmlet"),
        File(BEARER, image.bearer()),
        Command("tokens for https", f"{PYTHON}/bin/python {BEARER} --register", f"{PYTHON}/bin/python {BEARER} --registered"),
    )


def configure_client(context: Context) -> Sequence[Resource]:
    """What members make images of their own with, and software of others."""
    return (
        # first: what comes after it may change without a mount being made anew
        *client.configure(context),
        Farmlet(units.NODE, context.wheel),
        File(
            "/usr/local/bin/farmlet-image", render("farmlet.parts.software", "image.sh", python=f"{units.NODE}/bin/python"), 0o755
        ),
        File(SOURCES, image.read("sources.sh"), 0o755),
        Command("sources of Python packages", SOURCES, makes=tuple(f"{PACKAGES}/{name}" for name in ("pip.conf", "bundle.pem"))),
        *sharing.configure_host(context),
        File.of_json(places.PUBLISHERS, list_publishers(context.facility)),
    )


def list_publishers(facility: Facility) -> list[str]:
    """The UNIX groups of the right `publish`, with those below them."""
    return [unix_group(path) for path in facility.groups if facility.rights.of("member", [path]).publish]


def list_images(facility: Facility) -> list[str]:
    section = facility.parts.get("software")
    return [SHIPPED, *(one.name for one in section.images)] if isinstance(section, Software) else [SHIPPED]


def check_build(context: Context) -> Sequence[Check]:
    call = "farmlet.parts.software.checks:check_image"
    return (
        *unpacked.check(context),
        *sharing.check_server(context),
        *(
            Check("software.image" if name == SHIPPED else f"software.image.{name}", call, {"path": places.find_image(name)})
            for name in list_images(context.facility)
        ),
    )


def check_client(context: Context) -> Sequence[Check]:
    call = "farmlet.parts.software.checks:check_run"
    late = fetches(context.facility, context.node)
    run = Check("software.run", call, {"path": places.find_image(image.analysis().name)}, external=late, seconds=30)
    return (run, *sharing.check_host(context), *client.list_checks(context))


PART = Part(
    name="software",
    summary="images that jobs and members run in",
    section=Software,
    validate=validate,
    note=note,
    # a compiler has to be there first: Debian 13's do not go with a C library of sid, if Apptainer should want that one day
    needs=("base", "storage"),
    roles=(
        Role(
            "build",
            "control",
            configure_build,
            install_build,
            check_build,
            publishes=places.SOFTWARE,
            metrics=unpacked.measure,
            routes=(sharing.ROUTE,),
        ),
        Role(
            "client", "members", configure_client, install_client, check_client, images=list_images, metrics=client.list_metrics
        ),
    ),
)
