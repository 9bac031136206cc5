"""What keeps one member's sessions on a log-in node from hurting the others.

The rights table may name other limits for a member than those here; see accounts.slices.
"""

from __future__ import annotations

from collections.abc import Sequence

from farmlet.parts import units
from farmlet.parts.part import Check, Context
from farmlet.parts.render import render
from farmlet.parts.resources import Directory, Farmlet, File, Resource, Unit

PACKAGE = "farmlet.parts.access"
GUARD = "farmlet-guard.service"
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
    """Slices, in which cron and at jobs are as well, and the guard."""
    memory, cores = context.node.memory, context.node.cores or CORES
    found: list[Resource] = []
    for name, percent, tasks in SHARES:
        most = f"{memory * percent // 100 // MIB}M" if memory else f"{percent}%"
        folder = f"/etc/systemd/system/{name}.slice.d"
        # a weight, so that the processor is shared out between members and not between their processes
        text = f"# Written by Farmlet.\n[Slice]\nCPUWeight=100\nMemoryMax={most}\nTasksMax={tasks * cores}\n"
        found += [Directory(folder), File(f"{folder}/50-farmlet.conf", text)]
    found += [File(f"/etc/pam.d/{name}", BACKGROUND.format(name=name)) for name in ("cron", "atd")]
    guard = render(PACKAGE, GUARD, python=f"{units.NODE}/bin/python", first_uid=context.section("identity").first_uid)
    return [*found, Farmlet(units.NODE, context.wheel), File(f"/etc/systemd/system/{GUARD}", guard), Unit(GUARD)]


def check(context: Context) -> Sequence[Check]:
    return (Check("access.login.guard", "farmlet.runtime.checks:check_unit", {"unit": GUARD}),)
