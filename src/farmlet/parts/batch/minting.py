"""Keys and tokens of the pool on its nodes: what makes them, and how they come to where they are wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from farmlet.facility import places
from farmlet.facility.model import Facility, Node
from farmlet.parts import units
from farmlet.parts.batch import PACKAGE
from farmlet.parts.part import Context
from farmlet.parts.render import render
from farmlet.parts.resources import Directory, File, Random, Resource, Unit
from farmlet.parts.tasks import follow, tell_agent

PYTHON = f"{units.NODE}/bin/python"
UNIT = "condor.service"
# by signal: the agent's private /tmp keeps it from authenticating as HTCondor's tools do
RELOAD = ["systemctl", "try-reload-or-restart", UNIT]
KEYS = "/etc/condor/passwords.d"
TOKEN = "/etc/condor/tokens.d/pool"
OUTBOX = f"{places.CONTROL}/outbox"
ITEM = "pool-token"
MINTING = "farmlet-pool-tokens"
MINT = "/etc/farmlet/pool-tokens.json"
STATE = "/var/lib/farmlet/batch"
READER = f"{STATE}/reader"  # the token of this node's own key that reads
READERS = "reader-tokens"  # the item: as a node leaves it, its own; as it gets it, all
ALL_READERS = f"{STATE}/all-readers"
TOKENS = places.POOL_READERS  # a folder for each who may look at the pool
READER_LIFE = 3 * 86400
# once the key is there, which the collector makes at its first start
UNITS = (Unit(f"{MINTING}.service"), Unit(f"{MINTING}.timer"))
# the task of a node's agent to put the pool token in place
DELIVER = {ITEM: {"path": TOKEN, "mode": "0600", "owner": "root", "group": "root", "then": [RELOAD]}}


def has_readers(node: Node) -> bool:
    """Whether somebody there looks at the pool who is not root."""
    return "batch.access" in node.roles or "batch.central" in node.roles


def find_access_points(facility: Facility) -> list[str]:
    """Nodes with an access point that cannot verify what the pool's key signs, so that they have a key of their own."""
    return [node.name for node in facility.hosts("batch.access") if "batch.central" not in node.roles]


def configure(context: Context) -> Sequence[Resource]:
    """Tokens that read for members and the overlay, the key and the program that makes them (see `readers`)."""
    facility, node = context.facility, context.node
    access, central = "batch.access" in node.roles, "batch.central" in node.roles
    users = [*(["root"] if access else []), *(["overlay"] if "overlay.controller" in node.roles else [])]
    floor = context.section("identity").first_uid
    args = {"tokens": ALL_READERS, "folder": TOKENS, "users": users, "members": access, "first_uid": floor}
    tasks: dict[str, object] = {
        "deliver": {READERS: {"path": ALL_READERS, "mode": "0600", "owner": "root", "group": "root"}},
        "apply": follow(f"{PACKAGE}.readers:apply", args, again=True),
    } | ({} if central else {"publish": {READERS: READER}})
    told = describe(context) if central else {"reader": describe_reader(facility, node.name)}
    writable = f"{STATE} {OUTBOX}" if central else STATE
    service = render(PACKAGE, "farmlet-pool-tokens.service", python=PYTHON, config=MINT, writable=writable)
    often = ("OnBootSec=30", f"OnUnitInactiveSec={60 if central else 3600}", "AccuracySec=1")
    return (
        Directory(STATE),
        *(() if central else (Random(f"{KEYS}/{node.name}", size=64),)),
        tell_agent("batch.readers", **tasks),
        File.of_json(MINT, told),
        File(f"/etc/systemd/system/{MINTING}.service", service),
        units.Trigger(MINTING, "timer", "Farmlet: renew tokens of HTCondor long before they end", often).file,
    )


def describe_reader(facility: Facility, key: str) -> dict[str, Any]:
    """What `mint` is told of the token that reads; it is worth something where `key` is."""
    return {"identity": f"reader@{facility.domain}", "key": f"{KEYS}/{key}", "lifetime": READER_LIFE, "path": READER}


def watch(facility: Facility) -> Sequence[Resource]:
    """A path unit: an access point left its token. The timer looks too, since systemd loses what happens while `mint` runs."""
    watched = [f"PathChanged={places.CONTROL}/inbox/{name}/{READERS}" for name in find_access_points(facility)]
    path = units.Trigger(MINTING, "path", "Farmlet: an access point left a token", watched)
    return (path.file, replace(path.unit, running=bool(watched)))


def describe(context: Context) -> dict[str, dict[str, Any]]:
    """What `mint` is told: the nodes that need a token, each with what it may do. The central manager has the key."""
    facility = context.facility
    rights = {"batch.access": "ADVERTISE_SCHEDD", "batch.execute": "ADVERTISE_STARTD"}
    nodes = {
        node.name: [right for role, right in rights.items() if role in node.roles] + ["ADVERTISE_MASTER", "READ"]
        for node in facility.nodes.values()
        if set(rights) & set(node.roles) and "batch.central" not in node.roles
    }
    pool = {
        "identity": f"condor@{facility.domain}",
        "key": f"{KEYS}/POOL",
        "lifetime": context.section("batch").token_days * 86400,
        "outbox": OUTBOX,
        "item": ITEM,
        "nodes": nodes,
    }
    share = {
        "own": READER,
        "inbox": f"{places.CONTROL}/inbox",
        "outbox": OUTBOX,
        "item": READERS,
        "sources": find_access_points(facility),
        "targets": [node.name for node in facility.nodes.values() if has_readers(node)],
    }
    return {"pool": pool, "reader": describe_reader(facility, "POOL"), "share": share}
