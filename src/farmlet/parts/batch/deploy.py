"""Where HTCondor's daemons run: central manager on the control node, access point and slots where members are."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from farmlet.facility import places
from farmlet.facility.model import Facility
from farmlet.facility.names import accounting_group
from farmlet.parts.batch import PACKAGE, minting
from farmlet.parts.batch.config import Batch
from farmlet.parts.batch.minting import DELIVER, UNIT
from farmlet.parts.part import Check, Context, Leave, Metric, Part, Role, find_lack
from farmlet.parts.render import render
from farmlet.parts.repositories import list_mounted, name_attributes
from farmlet.parts.resources import Absent, Directory, File, Packages, Resource, Unit
from farmlet.parts.tasks import follow, tell_agent

CONFIG = "/etc/condor/config.d"
MEET = f"{places.MEET[1:].replace('/', '-')}.mount"
POOL = f"{CONFIG}/10-farmlet-pool.config"
PORT = 9618
GROUPS = "/etc/condor/farmlet-groups.map"
SPOOL = "/var/spool/condor"
WRAPPER = "/usr/lib/farmlet/job"
ADDRESS = "/usr/lib/farmlet/condor-address"
WORKFLOW = "/usr/lib/farmlet/condor_dagman"  # the guard knows workflows by this name
MIB = 1 << 20
TASK, TASKS, MANY_TASKS = 4 * MIB, 1024, 16384  # bytes for each; at least; where the memory is not known
RESERVE = 1024  # MiB that jobs on a node leave to its services


def install_condor(settled: str = POOL) -> Sequence[Resource]:
    """HTCondor that starts only once the file `settled` says whose pool it is in, not at the first boot of an image."""
    dropin = f"[Unit]\nConditionPathExists={settled}\n\n[Service]\nRestart=always\nRestartSec=5\n"
    return (
        Directory("/etc/condor"),
        Directory(CONFIG),
        # before the first start: the daemons would change settings of the kernel, which containers share
        File(f"{CONFIG}/05-farmlet-kernel.config", "ENABLE_KERNEL_TUNING = False\n"),
        Directory(f"/etc/systemd/system/{UNIT}.d"),
        File(f"/etc/systemd/system/{UNIT}.d/farmlet.conf", dropin),
        Packages(("condor",)),
    )


def configure_pool(context: Context) -> Sequence[Resource]:
    """What every node of the pool has."""
    facility = context.facility
    central = facility.host("batch.central").fqdn
    readers = minting.TOKENS if minting.has_readers(context.node) else ""
    bridged = "notebooks.hub" in context.node.roles
    words = {"central": central, "fqdn": context.node.fqdn, "domain": facility.domain, "readers": readers}
    text = render(PACKAGE, "pool.config", **words, bridged=bridged, address=ADDRESS)
    return (
        Directory("/etc/condor/tokens.d", 0o700),
        *((Directory("/usr/lib/farmlet"), File(ADDRESS, render(PACKAGE, "address.sh"), 0o755)) if bridged else ()),
        File(POOL, text),
        *(minting.configure(context) if readers else ()),
    )


def configure_central(context: Context) -> Sequence[Resource]:
    facility, section = context.facility, context.section("batch")
    text = render(
        PACKAGE,
        "central.config",
        domain=facility.domain,
        interval=section.interval,
        overlay=facility.has("overlay.controller"),
        shares=find_shares(facility),
    )
    path, floor = f"{CONFIG}/90-farmlet-revoked.config", context.section("identity").first_uid
    revoke = {"domain": facility.domain, "path": path, "first_uid": floor}
    return (
        *configure_pool(context),
        File(f"{CONFIG}/20-farmlet-central.config", text),
        tell_agent("batch.central", apply=follow(f"{PACKAGE}.deprovisioning:revoke", revoke)),
        Unit(UNIT),
        *minting.watch(facility),
        *minting.UNITS,
    )


def find_shares(facility: Facility) -> dict[str, str]:
    """Parts of the pool by accounting group, which add up to 1 (written with four digits)."""
    shares = facility.rights.shares(facility.groups)
    return {accounting_group(path): f"{share / sum(shares.values()):.4f}" for path, share in shares.items()}


def configure_access(context: Context) -> Sequence[Resource]:
    section = context.section("batch")
    guarded = "access.login" in context.node.roles
    workflow = render(PACKAGE, "workflow.sh", tokens=places.SESSIONS if "tokens.credmon" in context.node.roles else "")
    leaving = {"remove": section.deprovisioning == "remove", "first_uid": context.section("identity").first_uid}
    return (
        # notebooks that run have it mounted, and must not be left with another one
        File(f"/etc/systemd/system/{MEET}", render(PACKAGE, "meet.mount", meet=places.MEET)),
        Unit(MEET, reload=True),
        *configure_pool(context),
        *((Directory("/usr/lib/farmlet"), File(WORKFLOW, workflow, 0o755)) if guarded else ()),
        # what a program that was killed has left there
        File("/etc/tmpfiles.d/farmlet-meet.conf", f"e {places.MEET} - - - 1d\n"),
        File(f"{CONFIG}/30-farmlet-access.config", write_access(context, guarded)),
        File(f"/etc/systemd/system/{UNIT}.d/tasks.conf", f"[Service]\nTasksMax={count_tasks(context.node.memory)}\n"),
        Absent(f"{SPOOL}/local_univ_execute"),  # the settings name another place for it
        tell_agent("batch.access", deliver=DELIVER, apply=follow(f"{PACKAGE}.deprovisioning:apply", leaving)),
        tell_agent("batch.accounting", apply=follow(f"{PACKAGE}.accounting:apply", {"path": GROUPS})),
        Unit(UNIT),
        *(() if "batch.central" in context.node.roles else minting.UNITS),
    )


def write_access(context: Context, guarded: bool) -> str:
    """Settings of the access point; `guarded`: the guard of log-in nodes keeps workflows in their owners' slices."""
    return render(
        PACKAGE,
        "access.config",
        interval=context.section("batch").interval,
        groups=GROUPS,
        meet=places.MEET,
        drone=context.section("overlay") if context.facility.sites else None,
        own=find_largest(context.facility),
        guarded=guarded,
        dagman=WORKFLOW if guarded else "/usr/bin/condor_dagman",
        software=places.SOFTWARE,
        image=places.find_image(getattr(context.facility.parts.get("software"), "default", "analysis")),
        known=f"^({places.SOFTWARE}/.*|[^:]*[.]sif)$",
    )


def count_tasks(memory: int | None) -> int:
    """How many processes HTCondor and all that it starts may be, on a node with so many bytes of memory.

    It has some megabytes for each job that runs (its shadow); more than that are a fork bomb in a job or a workflow.
    """
    return max(memory // TASK, TASKS) if memory else MANY_TASKS


def leave_room(memory: int | None) -> int | None:
    """MiB for jobs on a node with so many bytes, if that is known."""
    return max(memory // MIB - RESERVE, memory // MIB // 2) if memory else None


def find_largest(facility: Facility) -> dict[str, int | None] | None:
    """The most `cores` and `memory` (MiB) that slots of the facility's own nodes have; None for what is not known of all of them,
    and for all where there are none."""
    if not (nodes := facility.hosts("batch.execute")):
        return None
    cores, memories = [node.cores for node in nodes], [leave_room(node.memory) for node in nodes]
    return {name: max(filter(None, sizes)) if all(sizes) else None for name, sizes in (("cores", cores), ("memory", memories))}


def configure_execute(context: Context) -> Sequence[Resource]:
    node = context.node
    memory = leave_room(node.memory)
    software = "software.client" in node.roles
    mounted = name_attributes(list_mounted(context.facility, node))
    words = {"cores": node.cores, "memory": memory, "software": software, "wrapper": WRAPPER, "mounted": mounted}
    text = render(PACKAGE, "execute.config", **words)
    certificates = places.find_authorities(context.facility.domain) if software else ""
    return (
        *configure_pool(context),
        Directory("/usr/lib/farmlet"),
        File(WRAPPER, render(PACKAGE, "job.sh", credential=places.CREDENTIAL, certificates=certificates), 0o755),
        File(f"{CONFIG}/40-farmlet-execute.config", text),
        tell_agent("batch.execute", deliver=DELIVER),
        Unit(UNIT),
    )


# A node that is being emptied: its queue is worked off and takes no new job; its slots finish what they run.
CLOSED_ACCESS = """\
SUBMIT_REQUIREMENT_NAMES = $(SUBMIT_REQUIREMENT_NAMES) FarmletLeaving
SUBMIT_REQUIREMENT_FarmletLeaving = False
SUBMIT_REQUIREMENT_FarmletLeaving_REASON = "This node is being emptied: please submit on another node of the facility."
"""
BUSY_ACCESS = """\
condor_q -allusers -af Owner | sort | uniq -c | while read -r count owner; do echo "jobs of $owner in its queue: $count"; done
"""
BUSY_EXECUTE = """\
# whenever it reads its settings, the startd asks its starter with `-classad` what it can do
count=$(ps -C condor_starter -o args= | grep -vc -e -classad || true)
[ "$count" -eq 0 ] || echo "jobs that run in its slots: $count"
"""


def _leaving(role: str) -> str:
    return f"{CONFIG}/95-farmlet-leaving-{role}.config"


def _set(role: str, text: str) -> str:
    return f"printf '%s\n' {shlex.quote(text)} > {_leaving(role)} && condor_reconfig"


def _unset(role: str) -> str:
    return f"rm -f {_leaving(role)} && condor_reconfig"


def check_central(context: Context) -> Sequence[Check]:
    told = minting.describe(context)
    args = {"outbox": minting.OUTBOX, "item": minting.ITEM, "nodes": list(told["pool"]["nodes"])}
    keys = ["POOL", *told["share"]["sources"]]
    readers = {"outbox": minting.OUTBOX, "item": minting.READERS, "nodes": told["share"]["targets"], "keys": keys}
    return (
        Check("batch.collector", f"{PACKAGE}.checks:check_collector", {"host": context.node.fqdn}),
        Check("batch.tokens", f"{PACKAGE}.checks:check_outbox", args),
        Check("batch.readers", f"{PACKAGE}.checks:check_readers", readers),
    )


def check_access(context: Context) -> Sequence[Check]:
    return (Check("batch.access", f"{PACKAGE}.checks:check_access", {"host": context.node.fqdn}), *_check_token(context))


def check_execute(context: Context) -> Sequence[Check]:
    return (Check("batch.execute", f"{PACKAGE}.checks:check_execute", {"host": context.node.fqdn}), *_check_token(context))


def _check_token(context: Context) -> Sequence[Check]:
    if "batch.central" in context.node.roles:
        return ()
    return (Check("batch.token", f"{PACKAGE}.checks:check_token", {"path": minting.TOKEN}),)


def list_metrics(context: Context) -> Sequence[Metric]:
    """Of an access point: labels are groups and sites of the facility file, and no others."""
    facility = context.facility
    labels = {"groups": [accounting_group(path) for path in facility.groups], "sites": sorted(facility.sites)}
    ended = {"history": f"{SPOOL}/history", "state": "/var/lib/farmlet/batch/ended.json", **labels}
    return (
        Metric("batch.jobs", f"{PACKAGE}.metrics:count_jobs", labels),
        Metric("batch.ended", f"{PACKAGE}.history:measure", ended),
    )


PART = Part(
    name="batch",
    summary="the HTCondor pool: where jobs are submitted, matched and, if they ask for it, run on a node itself",
    section=Batch,
    needs=("base", "accounts"),
    validate=lambda facility: find_lack(facility, ("batch.access", "batch.execute"), "batch.central"),
    roles=(
        Role(
            "central",
            "control",
            configure_central,
            install_condor,
            check_central,
            ports=(PORT,),
            metrics=lambda context: (Metric("batch.slots", f"{PACKAGE}.metrics:count_slots", {"host": context.node.fqdn}),),
        ),
        Role(
            "access",
            "members",
            configure_access,
            install_condor,
            check_access,
            ports=(PORT,),
            data=(SPOOL,),
            backup="jobs are submitted again: a queue of some hours ago would run those twice that have ended since",
            leave=Leave(_set("access", CLOSED_ACCESS), _unset("access"), BUSY_ACCESS),
            metrics=list_metrics,
        ),
        Role(
            "execute",
            "members",
            configure_execute,
            install_condor,
            check_execute,
            ports=(PORT,),
            leave=Leave(_set("execute", "START = False"), _unset("execute"), BUSY_EXECUTE),
        ),
    ),
)
