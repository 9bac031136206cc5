"""The client on hosts: its packages, its settings, and a mount for each repository.

Its own way to mount is an autofs on all of /cvmfs, which would hide the images and authorities that the facility publishes there:
each repository has a unit of systemd's instead, which mounts it when somebody looks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from farmlet.facility import places
from farmlet.parts import vendor
from farmlet.parts.part import Check, Context, Metric
from farmlet.parts.render import render
from farmlet.parts.repositories import can_mount, list_mounted, list_repositories
from farmlet.parts.resources import Absent, Command, Directory, File, Resource, Unit
from farmlet.parts.software.cvmfs.section import KEY, Cvmfs

if TYPE_CHECKING:
    from farmlet.facility.model import Facility

PACKAGE = "farmlet.parts.software.cvmfs"
ETC = "/etc/cvmfs"
CACHE = "/var/lib/cvmfs"
AUTOFS = "/etc/auto.master.d/cvmfs.autofs"
OPEN_FILES = 131072  # the client's own default, which the hard limit must not be below
CHECK_SECONDS = 20  # its questions have 5 s each


def find_section(facility: Facility) -> Cvmfs | None:
    found = getattr(facility.parts.get("software"), "cvmfs", None)
    return found if isinstance(found, Cvmfs) else None


def configure(context: Context) -> Sequence[Resource]:
    """All of it. Mounts begin anew when something before them changes, so there is as little as can be: the client does not
    mount a second time what somebody still has open.
    """
    section = find_section(context.facility)
    if section is None or not can_mount(context.node):
        return ()
    held = f"autofs holds {places.SOFTWARE} on this host: remove {AUTOFS} and restart autofs"
    # its account, and what FUSE has to be told; and what the package that has just come may have brought
    settle = ["cvmfs_config setup noautofs", f"rm -f {AUTOFS}", *map(write_reload, section.repositories)]
    return (
        Command("no autofs of CVMFS", f"echo '{held}' >&2; exit 1", f"! findmnt -n -t autofs -M {places.SOFTWARE}"),
        *(one for name in section.repositories for one in mount(name)),
        *install(section),
        Absent(AUTOFS),  # it would hold /cvmfs from the next boot on
        *write_settings(section),
        Command("settings of CVMFS", "\n".join(settle)),
    )


def mount(repository: str) -> Sequence[Resource]:
    unit = name_unit(repository)
    words = {"name": repository, "path": f"{places.SOFTWARE}/{repository}", "files": OPEN_FILES}
    files = [
        File(f"/etc/systemd/system/{unit}.{kind}", render(PACKAGE, f"repository.{kind}", **words))
        for kind in ("mount", "automount")
    ]
    return (*files, Unit(f"{unit}.automount"))


def list_points(context: Context) -> Sequence[Resource]:
    """Folders to mount on, for nodes that have this one's /cvmfs over the network and cannot make any in it."""
    facility, node = context.facility, context.node
    if not can_mount(node) or list_mounted(facility, node):
        return ()
    return [Directory(f"{places.SOFTWARE}/{name}") for name in list_repositories(facility)]


def install(section: Cvmfs) -> Sequence[Resource]:
    need = section.quota * 6 // 5 >> 20
    small = f"the disk of {CACHE} is smaller than the quota of the cache and a fifth more, {need} MiB: lower software.cvmfs.quota"
    return (
        Command("room for CVMFS", f"echo '{small}' >&2; exit 1", find_room(need)),
        *vendor.install("cvmfs", section.source, "software: {cvmfs: {source: …}}"),
    )


def find_room(need: int) -> str:
    """A shell test that the cache's disk has so many MiB."""
    parent = CACHE.rpartition("/")[0]
    size = f"df -BM --output=size {CACHE} 2> /dev/null || df -BM --output=size {parent}"
    return f"[ $({{ {size}; }} | tail -n 1 | tr -dc 0-9) -ge {need} ]"


def name_unit(repository: str) -> str:
    """systemd's name for a mount, without its ending: what is no letter, digit, dot or `_` of a path is escaped."""
    return "-".join((places.SOFTWARE[1:], repository.replace("-", "\\x2d")))


def write_settings(section: Cvmfs) -> Sequence[Resource]:
    """Later files stand above earlier ones: default.d, default.local, domain.d."""
    found: list[Resource] = [
        Directory(ETC),
        Directory(f"{ETC}/default.d"),
        Directory(f"{ETC}/domain.d"),
        Directory(f"{ETC}/keys"),
        # its package names a repository with settings of its own; where that hangs, all others do. Nothing later than this
        # folder can take it back.
        File(f"{ETC}/default.d/99-farmlet.conf", write_values({"CVMFS_CONFIG_REPOSITORY": ""})),
        File(f"{ETC}/default.local", write_values(list_values(section))),
    ]
    for domain, one in section.domains.items():
        keys = f"{ETC}/keys/farmlet-{domain}"
        values = {"CVMFS_SERVER_URL": ";".join(one.servers), "CVMFS_KEYS_DIR": keys}
        # the client is no root: 0644
        found += [Directory(keys), *(File(f"{keys}/{number}.pub", text, 0o644) for number, text in enumerate(split(one.keys), 1))]
        found.append(File(f"{ETC}/domain.d/{domain}.local", write_values(values)))
    return found


def list_values(section: Cvmfs) -> dict[str, str]:
    return {
        "CVMFS_REPOSITORIES": ",".join(section.repositories),
        "CVMFS_STRICT_MOUNT": "yes",  # no others
        "CVMFS_HTTP_PROXY": ";".join(section.proxies),
        "CVMFS_QUOTA_LIMIT": str(section.quota >> 20),
        "CVMFS_NFILES": str(OPEN_FILES),
    }


def write_values(values: dict[str, str]) -> str:
    """In quotes always: a shell reads it, to which `;` and `|` are the end of a value. No blanks around the `=`."""
    lines = "".join(f'{name}="{value}"\n' for name, value in values.items())
    return f"# Written by farmlet; changes are undone by the next `farmlet up`.\n{lines}"


def split(keys: str) -> list[str]:
    return [found.group().rstrip("\n") + "\n" for found in KEY.finditer(keys)]


def write_reload(repository: str) -> str:
    """What is mounted takes new settings without losing open files. One whose server is away is the check's business."""
    return f"! systemctl -q is-active '{name_unit(repository)}.mount' || timeout 60 cvmfs_config reload {repository} || true"


def list_checks(context: Context) -> Sequence[Check]:
    section = find_section(context.facility)
    if section is None or not can_mount(context.node):
        return ()
    units = [f"{name_unit(name)}.automount" for name in section.repositories]
    client = Check("software.cvmfs", f"{PACKAGE}.checks:check_client", {"cache": CACHE, "quota": section.quota, "units": units})
    return (client, *(check_one(section, name) for name in section.repositories))


def check_one(section: Cvmfs, repository: str) -> Check:
    """External: a server or proxy that is away keeps no `up` from its end."""
    args = {
        "root": f"{places.SOFTWARE}/{repository}",
        "proxies": [one for group in section.proxies for one in group.split("|")],
        "file": section.files.get(repository, ""),
    }
    name = f"software.cvmfs.{repository}"
    call = f"{PACKAGE}.checks:check_repository"
    return Check(name, call, args, external=True, after=("software.cvmfs",), seconds=CHECK_SECONDS)


def list_metrics(context: Context) -> Sequence[Metric]:
    section = find_section(context.facility)
    if section is None or not can_mount(context.node):
        return ()
    return (Metric("software.cvmfs", f"{PACKAGE}.metrics:measure", {"repositories": list(section.repositories)}),)
