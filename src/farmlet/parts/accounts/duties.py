"""What the agents of the nodes have to do for accounts, and what must hold of it."""

from __future__ import annotations

import json
from collections.abc import Sequence

from farmlet.parts.part import Check, Context
from farmlet.parts.resources import Directory, File, Resource

PACKAGE = "farmlet.parts.accounts"


def tell_agent(context: Context, first_uid: int) -> Sequence[Resource]:
    """The agent's duties: what members need where they log in, and on every node the end of what runs for those who left."""
    calls: dict[str, dict[str, object]] = {
        "closing": {"call": f"{PACKAGE}.ending:close"},
        "ending": {"call": f"{PACKAGE}.ending:apply", "again": True},
    }
    if "access.login" in context.node.roles:
        calls["slices"] = {"call": f"{PACKAGE}.slices:apply"}
        calls["subids"] = {"call": f"{PACKAGE}.ending:grant", "args": {"first_uid": first_uid}}
    return [write_duty(name, call) for name, call in calls.items()]


def write_duty(name: str, call: dict[str, object]) -> File:
    return File(f"/etc/farmlet/agent.d/accounts.{name}.json", json.dumps({"apply": {"accounts": call}}, indent=1) + "\n")


def configure_homes(context: Context) -> Sequence[Resource]:
    """Homes and scratch are the agent's work: they are made, kept to their sizes and at last archived by the membership."""
    section, identity = context.section("accounts"), context.section("identity")
    first_uid = min(identity.first_uid, identity.first_gid)
    places: dict[str, object] = {"homes": section.homes, "scratch": section.scratch, "first_uid": first_uid}
    keeping = {"call": f"{PACKAGE}.keeping:apply", "args": places | {"days": section.keep_days}, "again": True}
    return (
        Directory("/etc/farmlet/agent.d"),
        write_duty("homes", {"call": f"{PACKAGE}.homes:apply", "args": places | {"node": context.node.name}}),
        write_duty("keeping", keeping),
    )


def check_homes(context: Context) -> Sequence[Check]:
    section = context.section("accounts")
    places = {"home": section.homes, "scratch": section.scratch}
    nodes = [node.name for node in context.facility.hosts("accounts.homes")]
    return tuple(
        Check(f"accounts.homes.{kind}", f"{PACKAGE}.checks:check_homes", {"folder": folder, "kind": kind, "nodes": nodes})
        for kind, folder in places.items()
    )
