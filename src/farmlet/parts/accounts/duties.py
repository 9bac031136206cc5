"""What the agents of the nodes have to do for accounts, and what must hold of it."""

from __future__ import annotations

import json
from collections.abc import Sequence

from farmlet.parts.accounts import files
from farmlet.parts.accounts.config import Section
from farmlet.parts.part import Check, Context
from farmlet.parts.resources import Directory, File, Resource

PACKAGE = "farmlet.parts.accounts"
DUTIES = "/etc/farmlet/agent.d"


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
    return File(f"{DUTIES}/accounts.{name}.json", json.dumps({"apply": {"accounts": call}}, indent=1) + "\n")


def configure_homes(context: Context) -> Sequence[Resource]:
    """What a log-in node has to do for homes and scratch: to make and keep them, or to use what the server has of them."""
    server = files.find_server(context.facility)
    if server is None:
        return (Directory(DUTIES), *keep_homes(context))
    if server.name == context.node.name:
        return ()  # role `files` does it
    section = context.section("accounts")
    looking = {"call": f"{PACKAGE}.keeping:look", "args": places(section), "again": True}
    return (
        *files.mount(context, server, kinds(section).values()),
        Directory(DUTIES),
        write_duty("homes", {"call": f"{PACKAGE}.homes:forget"}),
        write_duty("keeping", looking),
    )


def configure_files(context: Context) -> Sequence[Resource]:
    """What the server of homes and scratch has to do, members or not."""
    return (*files.serve(context, kinds(context.section("accounts")).values()), Directory(DUTIES), *keep_homes(context))


def keep_homes(context: Context) -> Sequence[Resource]:
    """Homes and scratch are the agent's work: they are made, kept to their sizes and at last archived by the membership."""
    section, identity = context.section("accounts"), context.section("identity")
    first_uid = min(identity.first_uid, identity.first_gid)
    args: dict[str, object] = places(section) | {"first_uid": first_uid}
    keeping = {"call": f"{PACKAGE}.keeping:apply", "args": args | {"days": section.keep_days}, "again": True}
    return (
        write_duty("homes", {"call": f"{PACKAGE}.homes:apply", "args": args | {"node": context.node.name}}),
        write_duty("keeping", keeping),
    )


def places(section: Section) -> dict[str, object]:
    return {"homes": section.homes, "scratch": section.scratch}


def check_homes(context: Context) -> Sequence[Check]:
    server, section = files.find_server(context.facility), context.section("accounts")
    nodes = [node.name for node in context.facility.hosts("accounts.homes")]
    if server is None:
        return look_after(section, nodes)
    return () if server.name == context.node.name else files.check_mounts(context, server, kinds(section))


def check_files(context: Context) -> Sequence[Check]:
    section = context.section("accounts")
    return (*files.check_server(context, kinds(section).values()), *look_after(section, ()))


def look_after(section: Section, nodes: Sequence[str]) -> Sequence[Check]:
    return tuple(
        Check(f"accounts.homes.{kind}", f"{PACKAGE}.checks:check_homes", {"folder": folder, "kind": kind, "nodes": [*nodes]})
        for kind, folder in kinds(section).items()
    )


def kinds(section: Section) -> dict[str, str]:
    return {"home": section.homes, "scratch": section.scratch}
