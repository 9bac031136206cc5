"""What the agents of the nodes have to do for accounts, and what must hold of it."""

from __future__ import annotations

import json
from collections.abc import Sequence

from farmlet.parts.accounts import PACKAGE
from farmlet.parts.accounts.config import Section
from farmlet.parts.accounts.external import after_members
from farmlet.parts.accounts.homes import files
from farmlet.parts.part import Check, Context
from farmlet.parts.resources import Directory, File, Resource

DUTIES = "/etc/farmlet/agent.d"


def tell_agent(context: Context) -> Sequence[Resource]:
    """The agent's tasks: what members need where they log in, and on every node the end of what runs for those who left."""
    args = {"first_uid": context.section("identity").first_uid}
    calls: dict[str, dict[str, object]] = {
        "closing": {"call": f"{PACKAGE}.deprovision.processes:close", "args": args},
        "deprovisioning": {"call": f"{PACKAGE}.deprovision.processes:apply", "args": args, "again": True},
    }
    if "access.login" in context.node.roles:
        calls["slices"] = {"call": f"{PACKAGE}.slices:apply", "args": args}
        calls["subids"] = {"call": f"{PACKAGE}.deprovision.processes:grant", "args": args}
    return [write_task(name, call) for name, call in calls.items()]


def write_task(name: str, call: dict[str, object]) -> File:
    return File(f"{DUTIES}/accounts.{name}.json", json.dumps({"apply": {"accounts": call}}, indent=1) + "\n")


def configure_homes(context: Context) -> Sequence[Resource]:
    """What a log-in node has to do for homes and scratch: to make and keep them, or to use what the server has of them."""
    server = files.find_server(context.facility)
    if server is None:
        return (Directory(DUTIES), *keep_homes(context))
    if server.name == context.node.name:
        return ()  # role `files` does it
    section = context.section("accounts")
    looking = {"call": f"{PACKAGE}.homes.keeping:look", "args": places(section), "again": True}
    return (
        *files.mount(context, server, kinds(section).values()),
        Directory(DUTIES),
        write_task("homes", {"call": f"{PACKAGE}.homes.homes:forget"}),
        write_task("keeping", looking),
    )


def configure_files(context: Context) -> Sequence[Resource]:
    """What the server of homes and scratch has to do, members or not."""
    served = files.serve(context, kinds(context.section("accounts")).values())
    return (*served, Directory(DUTIES), *keep_homes(context, has_logins(context)))


def has_logins(context: Context) -> bool:
    return context.node.name in {node.name for node in context.facility.hosts("accounts.homes")}


def keep_homes(context: Context, logins: bool = True) -> Sequence[Resource]:
    """Homes and scratch are the agent's work: they are made, kept to their sizes and at last archived by the membership."""
    section, identity = context.section("accounts"), context.section("identity")
    # a member's own group has the member's number
    floor = {"first_uid": identity.first_uid, "first_gid": min(identity.first_uid, identity.first_gid)}
    args: dict[str, object] = places(section) | floor
    keeping = {"call": f"{PACKAGE}.homes.keeping:apply", "args": args | {"days": section.keep_days}, "again": True}
    return (
        write_task(
            "homes", {"call": f"{PACKAGE}.homes.homes:apply", "args": args | {"node": context.node.name, "logins": logins}}
        ),
        write_task("keeping", keeping),
    )


def places(section: Section) -> dict[str, object]:
    return {"homes": section.homes, "scratch": section.scratch}


def check_homes(context: Context) -> Sequence[Check]:
    server, section = files.find_server(context.facility), context.section("accounts")
    nodes = [node.name for node in context.facility.hosts("accounts.homes")]
    if server is None:
        return look_after(context, nodes)
    return () if server.name == context.node.name else files.check_mounts(context, server, kinds(section))


def check_files(context: Context) -> Sequence[Check]:
    section = context.section("accounts")
    return (*files.check_server(context, kinds(section).values()), *look_after(context, (), has_logins(context)))


def look_after(context: Context, nodes: Sequence[str], logins: bool = True) -> Sequence[Check]:
    args, known = {"nodes": [*nodes], "logins": logins}, after_members(context)
    return tuple(
        Check(f"accounts.homes.{kind}", f"{PACKAGE}.checks:check_homes", {"folder": folder, "kind": kind} | args, after=known)
        for kind, folder in kinds(context.section("accounts")).items()
    )


def kinds(section: Section) -> dict[str, str]:
    return {"home": section.homes, "scratch": section.scratch}
