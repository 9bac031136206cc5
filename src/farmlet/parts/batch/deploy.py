"""Where HTCondor's daemons run: central manager on the control node, access point and slots where members are."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence

from farmlet.facility import places
from farmlet.facility.model import Facility
from farmlet.facility.names import accounting_group
from farmlet.parts import units
from farmlet.parts.batch.config import Batch
from farmlet.parts.part import Check, Context, Leave, Part, Role, find_lack
from farmlet.parts.render import render
from farmlet.parts.resources import Absent, Directory, File, Packages, Resource, Unit

PACKAGE = "farmlet.parts.batch"
PYTHON = f"{units.NODE}/bin/python"
CONFIG = "/etc/condor/config.d"
POOL = f"{CONFIG}/10-farmlet-pool.config"
KEY = "/etc/condor/passwords.d/POOL"
TOKEN = "/etc/condor/tokens.d/pool"
OUTBOX = "/var/lib/farmlet/hub/outbox"
ITEM = "pool-token"
MINT = "/etc/farmlet/pool-tokens.json"
PORT = 9618
UNIT = "condor.service"
# by signal: the agent's private /tmp keeps it from authenticating as HTCondor's tools do
RELOAD = ["systemctl", "try-reload-or-restart", UNIT]
GROUPS = "/etc/condor/farmlet-groups.map"
SPOOL = "/var/spool/condor"
WRAPPER = "/usr/lib/farmlet/job"
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
    text = render(PACKAGE, "pool.config", central=central, fqdn=context.node.fqdn, domain=facility.domain)
    return (Directory("/etc/condor/tokens.d", 0o700), File(POOL, text))


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
    revoke = {"domain": facility.domain, "path": f"{CONFIG}/90-farmlet-revoked.config"}
    service = render(PACKAGE, "farmlet-pool-tokens.service", python=PYTHON, config=MINT, outbox=OUTBOX)
    return (
        *configure_pool(context),
        File(f"{CONFIG}/20-farmlet-central.config", text),
        tell_agent("central", {"apply": {"accounts": {"call": f"{PACKAGE}.ending:revoke", "args": revoke}}}),
        Unit(UNIT),
        File(MINT, json.dumps(describe_tokens(context), indent=1) + "\n"),
        File("/etc/systemd/system/farmlet-pool-tokens.service", service),
        File("/etc/systemd/system/farmlet-pool-tokens.timer", render(PACKAGE, "farmlet-pool-tokens.timer")),
        Unit("farmlet-pool-tokens.service"),
        Unit("farmlet-pool-tokens.timer"),
    )


def find_shares(facility: Facility) -> dict[str, str]:
    """Parts of the pool by accounting group, which add up to 1 (written with four digits)."""
    shares = facility.rights.shares(facility.groups)
    return {accounting_group(path): f"{share / sum(shares.values()):.4f}" for path, share in shares.items()}


def describe_tokens(context: Context) -> dict[str, object]:
    """What `mint` is told: the nodes that need a token, each with what it may do. The central manager has the key."""
    facility = context.facility
    rights = {"batch.access": "ADVERTISE_SCHEDD", "batch.execute": "ADVERTISE_STARTD"}
    nodes = {
        node.name: [right for role, right in rights.items() if role in node.roles] + ["ADVERTISE_MASTER", "READ"]
        for node in facility.nodes.values()
        if set(rights) & set(node.roles) and "batch.central" not in node.roles
    }
    return {
        "identity": f"condor@{facility.domain}",
        "key": KEY,
        "lifetime": context.section("batch").token_days * 86400,
        "outbox": OUTBOX,
        "item": ITEM,
        "nodes": nodes,
    }


def tell_agent(role: str, duties: dict[str, object]) -> File:
    return File(f"/etc/farmlet/agent.d/batch.{role}.json", json.dumps(duties, indent=1) + "\n")


# the duty of a node's agent to put the pool token in place
DELIVER = {ITEM: {"path": TOKEN, "mode": "0600", "owner": "root", "group": "root", "then": [RELOAD]}}


def configure_access(context: Context) -> Sequence[Resource]:
    section = context.section("batch")
    text = render(PACKAGE, "access.config", interval=section.interval, groups=GROUPS)
    leavers = {"remove": section.leavers == "remove"}
    return (
        *configure_pool(context),
        File(f"{CONFIG}/30-farmlet-access.config", text),
        File(f"/etc/systemd/system/{UNIT}.d/tasks.conf", f"[Service]\nTasksMax={count_tasks(context.node.memory)}\n"),
        Absent(f"{SPOOL}/local_univ_execute"),  # the settings name another place for it
        tell_agent("access", {"deliver": DELIVER, "apply": {"accounts": {"call": f"{PACKAGE}.ending:apply", "args": leavers}}}),
        tell_agent("accounting", {"apply": {"accounts": {"call": f"{PACKAGE}.accounting:apply", "args": {"path": GROUPS}}}}),
        Unit(UNIT),
    )


def count_tasks(memory: int | None) -> int:
    """How many processes HTCondor and all that it starts may be, on a node with so many bytes of memory.

    It has some megabytes for each job that runs (its shadow); more than that are a fork bomb in a job or a workflow.
    """
    return max(memory // TASK, TASKS) if memory else MANY_TASKS


def configure_execute(context: Context) -> Sequence[Resource]:
    node = context.node
    memory = max(node.memory // MIB - RESERVE, node.memory // MIB // 2) if node.memory else None
    software = "software.client" in node.roles
    text = render(PACKAGE, "execute.config", cores=node.cores, memory=memory, software=software, wrapper=WRAPPER)
    certificates = places.find_authorities(context.facility.domain) if software else ""
    return (
        *configure_pool(context),
        Directory("/usr/lib/farmlet"),
        File(WRAPPER, render(PACKAGE, "job.sh", credential=places.CREDENTIAL, certificates=certificates), 0o755),
        File(f"{CONFIG}/40-farmlet-execute.config", text),
        tell_agent("execute", {"deliver": DELIVER}),
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
    nodes = describe_tokens(context)["nodes"]
    args = {"outbox": OUTBOX, "item": ITEM, "nodes": list(nodes) if isinstance(nodes, dict) else []}
    return (
        Check("batch.collector", f"{PACKAGE}.checks:check_collector", {"host": context.node.fqdn}),
        Check("batch.tokens", f"{PACKAGE}.checks:check_outbox", args),
    )


def check_access(context: Context) -> Sequence[Check]:
    return (Check("batch.access", f"{PACKAGE}.checks:check_access", {"host": context.node.fqdn}), *_check_token(context))


def check_execute(context: Context) -> Sequence[Check]:
    return (Check("batch.execute", f"{PACKAGE}.checks:check_execute", {"host": context.node.fqdn}), *_check_token(context))


def _check_token(context: Context) -> Sequence[Check]:
    if "batch.central" in context.node.roles:
        return ()
    return (Check("batch.token", f"{PACKAGE}.checks:check_token", {"path": TOKEN}),)


PART = Part(
    name="batch",
    summary="the HTCondor pool: where jobs are submitted, matched and, if they ask for it, run on a node itself",
    section=Batch,
    needs=("base", "accounts"),
    judge=lambda facility: find_lack(facility, ("batch.access", "batch.execute"), "batch.central"),
    roles=(
        Role("central", "control", configure_central, install_condor, check_central, ports=(PORT,)),
        Role(
            "access",
            "members",
            configure_access,
            install_condor,
            check_access,
            ports=(PORT,),
            data=(SPOOL,),
            leave=Leave(_set("access", CLOSED_ACCESS), _unset("access"), BUSY_ACCESS),
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
