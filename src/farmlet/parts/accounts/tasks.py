"""What the agents of the nodes have to do for accounts, and what must hold of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from farmlet.parts.accounts import PACKAGE
from farmlet.parts.accounts.config import Section
from farmlet.parts.accounts.external import after_members
from farmlet.parts.accounts.homes import files
from farmlet.parts.part import Check, Context
from farmlet.parts.resources import File, Resource
from farmlet.parts.tasks import follow, tell_agent


def end_members(context: Context) -> Sequence[Resource]:
    """The agent's tasks: what members need where they log in, and on every node the end of what runs for those who left."""
    args = {"first_uid": context.section("identity").first_uid}
    found = [
        write_task("closing", "deprovision.processes:close", args),
        write_task("deprovisioning", "deprovision.processes:apply", args, again=True),
    ]
    if "access.login" in context.node.roles:
        found += [write_task("slices", "slices:apply", args), write_task("subids", "deprovision.processes:grant", args)]
    return found


def write_task(name: str, call: str, args: Mapping[str, object], again: bool = False) -> File:
    return tell_agent(f"accounts.{name}", apply=follow(f"{PACKAGE}.{call}", args, again))


def configure_homes(context: Context) -> Sequence[Resource]:
    """What a log-in node has to do for homes and scratch: to make and keep them, or to use what the server has of them."""
    server = files.find_server(context.facility)
    if server is None:
        return keep_homes(context)
    if server.name == context.node.name:
        return ()  # role `files` does it
    section = context.section("accounts")
    return (
        *files.mount(context, server, kinds(section).values()),
        write_task("homes", "homes.homes:forget", {}),
        write_task("keeping", "homes.keeping:look", places(section), again=True),
    )


def configure_files(context: Context) -> Sequence[Resource]:
    """What the server of homes and scratch has to do, members or not."""
    served = files.serve(context, kinds(context.section("accounts")).values())
    return (*served, *keep_homes(context, has_logins(context)))


def has_logins(context: Context) -> bool:
    return context.node.name in {node.name for node in context.facility.hosts("accounts.homes")}


def keep_homes(context: Context, logins: bool = True) -> Sequence[Resource]:
    """Homes and scratch are the agent's work: they are made, kept to their sizes and at last archived by the membership."""
    section, identity = context.section("accounts"), context.section("identity")
    # a member's own group has the member's number
    floor = {"first_uid": identity.first_uid, "first_gid": min(identity.first_uid, identity.first_gid)}
    args: dict[str, object] = places(section) | floor
    return (
        write_task("homes", "homes.homes:apply", args | {"node": context.node.name, "logins": logins}),
        write_task("keeping", "homes.keeping:apply", args | {"days": section.keep_days}, again=True),
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
