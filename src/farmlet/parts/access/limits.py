"""What keeps one member's sessions on a log-in node from hurting the others, and the node.

The rights table may name other limits for a member than those here; see accounts.slices.
"""

from __future__ import annotations

from collections.abc import Sequence

from farmlet.parts import units
from farmlet.parts.access import PACKAGE
from farmlet.parts.part import Check, Context
from farmlet.parts.render import render
from farmlet.parts.resources import Command, Directory, Farmlet, File, Resource, Unit

GUARD = "farmlet-guard.service"
LINK_LOCAL, RULE = "farmlet-linklocal.service", 880
TEMPORARY, TEMPORARY_UNIT = "/usr/lib/farmlet/temporary", "farmlet-temporary.service"
TEMPORARY_PERCENT = 20  # of the memory, for all of /tmp: what one member writes there counts as theirs, until it is removed
# of the distribution's tmp.conf, which a file of the same name takes the place of
TMPFILES = "# Written by Farmlet.\nq /tmp 1777 root root 10d\nq /var/tmp 1755 root root 30d\n"
# or podman would unpack images below /var/tmp; there they are within the member's own limits
CONTAINERS = '# Written by Farmlet.\n[engine]\nimage_copy_tmp_dir = "storage"\n'
# podman does not make that folder: systemd does, as each member's first session begins
CONTAINERS_TMP = "# Written by Farmlet.\nd %h/.local/share/containers/storage/tmp 0700\n"
# what members know by that name; root's is Docker's own, where notebooks need it
DOCKER = """\
#!/bin/sh
# Written by Farmlet: containers of one's own, by podman. Docker itself is for root alone.
[ "$(id -u)" != 0 ] || exec /usr/bin/docker "$@"
exec podman "$@"
"""
SETUP = "systemd-tmpfiles-setup.service"  # of each member's own systemd
MIB = 1 << 20
SHARES = (("user", 75, 1024), ("user-", 50, 256))  # of all members together, of each: percent of the memory; tasks for a core
CORES = 8  # taken for a host that the facility file says nothing of
BACKGROUND = """\
# Written by Farmlet. As the distribution has it, and last a session: what {name} starts is in its member's slice too.
@include common-auth
session optional pam_loginuid.so
session required pam_env.so
@include common-account
@include common-session-noninteractive
session optional pam_systemd.so
session required pam_limits.so
"""


def configure(context: Context) -> Sequence[Resource]:
    """Slices, in which cron and at jobs are as well, the guard, and where no member's program gets."""
    memory, cores = context.node.memory, context.node.cores or CORES
    found: list[Resource] = []
    for name, percent, tasks in SHARES:
        most = f"{memory * percent // 100 // MIB}M" if memory else f"{percent}%"
        folder = f"/etc/systemd/system/{name}.slice.d"
        # a weight, so that the processor is shared out between members and not between their processes
        text = f"# Written by Farmlet.\n[Slice]\nCPUWeight=100\nMemoryMax={most}\nTasksMax={tasks * cores}\n"
        found += [Directory(folder), File(f"{folder}/50-farmlet.conf", text)]
    found += [File(f"/etc/pam.d/{name}", BACKGROUND.format(name=name)) for name in ("cron", "atd")]
    found += make_room(memory)
    first_uid = context.section("identity").first_uid
    guard = render(PACKAGE, GUARD, python=f"{units.NODE}/bin/python", first_uid=first_uid)
    found += [Farmlet(units.NODE, context.wheel), File(f"/etc/systemd/system/{GUARD}", guard), Unit(GUARD)]
    rule = render(PACKAGE, LINK_LOCAL, first_uid=first_uid, number=RULE)
    return [*found, File(f"/etc/systemd/system/{LINK_LOCAL}", rule), Unit(LINK_LOCAL)]


def make_room(memory: int | None) -> Sequence[Resource]:
    """Room for temporary files, on a node with so many bytes of memory: whoever fills it does not fill the node's disk."""
    size = f"{memory * TEMPORARY_PERCENT // 100 // MIB}M" if memory else f"{TEMPORARY_PERCENT}%"
    return (
        Directory("/etc/containers"),
        Directory("/etc/containers/containers.conf.d"),
        File("/etc/containers/containers.conf.d/50-farmlet.conf", CONTAINERS),
        Directory("/usr/share/user-tmpfiles.d"),
        File("/usr/share/user-tmpfiles.d/farmlet.conf", CONTAINERS_TMP),
        Command("members' own tmpfiles", f"systemctl --global enable {SETUP}", f"systemctl --global is-enabled -q {SETUP}"),
        File("/usr/local/bin/docker", DOCKER, 0o755),
        File("/etc/tmpfiles.d/tmp.conf", TMPFILES),
        Directory("/usr/lib/farmlet"),
        File(TEMPORARY, render(PACKAGE, "temporary.sh", size=size), 0o755),
        File(f"/etc/systemd/system/{TEMPORARY_UNIT}", render(PACKAGE, TEMPORARY_UNIT, program=TEMPORARY)),
        Unit(TEMPORARY_UNIT),
    )


def check(context: Context) -> Sequence[Check]:
    uid = context.section("identity").first_uid
    return (
        *(Check.of_unit(f"access.login.{name}", unit) for name, unit in (("guard", GUARD), ("temporary", TEMPORARY_UNIT))),
        Check("access.login.linklocal", f"{PACKAGE}.checks:check_link_local", {"uid": uid}),
    )
