"""Homes and scratch of several hosts: the node of role `files` has them on its disks, the others mount them by NFSv4.

Containers have them in common already, so there `files` only says which node makes and keeps the folders.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from farmlet.facility.catalog import Issue
from farmlet.facility.model import Facility, Node
from farmlet.parts.accounts import PACKAGE
from farmlet.parts.accounts.checks import SYSTEM
from farmlet.parts.part import Check, Context
from farmlet.parts.resources import Command, Directory, File, Packages, Resource, Unit

ROLE = "accounts.files"
PORT = 2049
EXPORTS = "/etc/exports.d/farmlet.exports"
# root of a log-in node is nobody here, so that its setuid programs and its mistakes stay its own
# and by guessed file handles all of a file system can be reached: none is given away that holds more than the folder
EXPORT = "rw,sync,no_subtree_check,root_squash,sec=sys,mountpoint"
# `hard`: whoever writes while the server is away waits for it, and loses nothing
MOUNT = "nfsvers=4.2,proto=tcp,hard,nosuid,nodev,noatime"
# NFSv4 alone, which needs one port; a member's groups are asked of this node, for a client sends sixteen at most
SERVER = """\
# Written by Farmlet.
[nfsd]
vers2=n
vers3=n
vers4=y
vers4.0=n
[mountd]
manage-gids=y
"""
# homes of this host's own accounts would be out of sight below a mount, with their SSH keys
HIDDEN = 'awk -F: \'$3 >= 1000 && $3 < 65534 && index($6, "{folder}/") == 1 {{ print $1 ": " $6 }}\' /etc/passwd'
REFUSE = """\
echo "{folder} would be mounted over homes of this host's own accounts ({hidden}): move them with usermod -m -d, \
or keep members' homes elsewhere with accounts.homes" >&2
exit 1
"""
# subvolumes of one btrfs are one file system, whose number is not that which stat(2) tells
OWN = """\
there=$(findmnt -rno MAJ:MIN -M {folder} | tail -n 1)
[ -n "$there" ] || exit 1
for place in {system}; do [ "$there" != "$(findmnt -rno MAJ:MIN -T $place | tail -n 1)" ] || exit 1; done
"""
SHARED = """\
echo "{folder} is not a file system of its own: root of a log-in node could reach all of this node's disk by NFS. Mount one \
there, or with --bind a folder of a disk that is for members alone; write it into /etc/fstab" >&2
exit 1
"""
# what serves NFS before version 4, and would be open to everybody
OLDER = "rpcbind.socket rpcbind.service rpc-statd.service"


@dataclass(frozen=True)
class Mount:
    """A folder of another node's, mounted at the same path when it is first needed."""

    server: str
    path: str

    @property
    def source(self) -> str:
        return f"{self.server}:{self.path}"

    @property
    def unit(self) -> str:
        """The name that systemd wants for this path, without its ending."""
        name = self.path.strip("/")
        escaped = re.sub(r"[^A-Za-z0-9:_./]", lambda found: f"\\x{ord(found[0]):02x}", name)
        return re.sub(r"^\.", r"\\x2e", escaped).replace("/", "-")

    @property
    def files(self) -> tuple[File, ...]:
        head = f"[Unit]\nDescription={self.path} of {self.server}\n"
        mount = f"{head}\n[Mount]\nWhat={self.source}\nWhere={self.path}\nType=nfs4\nOptions={MOUNT}\nTimeoutSec=30\n"
        # not at boot: a server that is away holds up nobody but who wants these files
        automount = f"{head}\n[Automount]\nWhere={self.path}\n\n[Install]\nWantedBy=multi-user.target\n"
        return (
            File(f"/etc/systemd/system/{self.unit}.mount", mount),
            File(f"/etc/systemd/system/{self.unit}.automount", automount),
        )


def find_server(facility: Facility) -> Node | None:
    """The node that keeps homes and scratch for the others, if the facility file names one."""
    return facility.host(ROLE) if facility.has(ROLE) else None


def validate_files(facility: Facility) -> Iterator[Issue]:
    """Hosts beside containers have not what the other kind keeps; and the control node opens no disk of its own to others."""
    if (server := find_server(facility)) is None:
        return
    keys, contained = ("nodes", server.name, "runs"), server.connect == "container"
    if apart := [node.name for node in facility.hosts("accounts.homes") if (node.connect == "container") is not contained]:
        what = f"{ROLE} is not to be had on node {', '.join(apart)}: containers and hosts share no homes"
        yield keys, what, "make all nodes of `access` containers, or all hosts"
    if server.name == facility.controller and not contained and find_clients(facility):
        what = f"{ROLE} is on the control node, where what mints and decides is: no disk of it is to be served"
        yield keys, what, f"list {ROLE} in `runs` of a log-in node, or of a node of its own"


def find_clients(facility: Facility) -> list[Node]:
    """The nodes that use what another one keeps."""
    server = find_server(facility)
    return [node for node in facility.hosts("accounts.homes") if server and node.name != server.name]


def serve(context: Context, folders: Collection[str]) -> Iterator[Resource]:
    """What the server needs to be one. Nothing in a container, whose folders the others have anyway."""
    if context.node.connect == "container":
        return
    clients = " ".join(f"{node.fqdn}({EXPORT})" for node in find_clients(context.facility))
    lines = [f"{folder} {clients}\n" for folder in folders if clients]
    if clients:
        yield from (_refuse_to_share(folder) for folder in folders)
    yield _mask()
    yield Packages(("nfs-kernel-server",))
    yield from (Directory(folder) for folder in folders)
    yield Directory("/etc/nfs.conf.d")
    yield File("/etc/nfs.conf.d/farmlet.conf", SERVER)
    yield Directory("/etc/exports.d")
    yield File(EXPORTS, "# Written by Farmlet: who may mount what members keep here.\n" + "".join(lines))
    # exports are read anew without a restart, after which nobody could write for 90 s
    yield Unit("nfs-server.service", reload=True)


def _refuse_to_share(folder: str) -> Command:
    name = f"{folder} a file system of its own"
    return Command(name, SHARED.format(folder=folder), OWN.format(folder=folder, system=" ".join(SYSTEM)))


def _mask() -> Command:
    """Comes before the packages, which would start them."""
    masked = " && ".join(f'[ "$(systemctl is-enabled {unit})" = masked ]' for unit in OLDER.split())
    return Command("no NFS before version 4", f"systemctl mask --now {OLDER}", masked)


def mount(context: Context, server: Node, folders: Iterable[str]) -> Iterator[Resource]:
    """What the other nodes need to have them. Nothing in a container, which has them."""
    if context.node.connect == "container":
        return
    yield _mask()
    yield Packages(("nfs-common",))
    for one in (Mount(server.fqdn, folder) for folder in folders):
        yield _refuse_to_hide(one.path)
        yield from one.files
        yield Unit(f"{one.unit}.automount")


def _refuse_to_hide(folder: str) -> Command:
    hidden = HIDDEN.format(folder=folder)
    refuse = REFUSE.format(folder=folder, hidden=f"$({hidden} | paste -sd,)")
    return Command(f"nobody's home hidden below {folder}", refuse, f'[ -z "$({hidden})" ]')


def check_server(context: Context, folders: Iterable[str]) -> Sequence[Check]:
    if context.node.connect == "container":
        return ()
    unit = Check.of_unit("accounts.files.unit", "nfs-server.service")
    disks = Check("accounts.files.disks", f"{PACKAGE}.checks:check_own", {"folders": [*folders]})
    return (unit, disks) if find_clients(context.facility) else (unit,)


def check_mounts(context: Context, server: Node, places: dict[str, str]) -> Sequence[Check]:
    """The folders of the `places` (kind → folder) are the server's."""
    if context.node.connect == "container":
        return ()
    return tuple(
        Check(
            f"accounts.homes.{kind}",
            f"{PACKAGE}.checks:check_mount",
            {"source": Mount(server.fqdn, folder).source, "folder": folder},
        )
        for kind, folder in places.items()
    )
