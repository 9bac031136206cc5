"""The verbs of `farmlet-identity member`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

from farmlet.errors import InputError
from farmlet.parts.identity import verbs
from farmlet.parts.identity.service.admin.output import say, show
from farmlet.parts.identity.service.django.project import Provider
from farmlet.runtime import audit

Add = Callable[..., argparse.ArgumentParser]

# The database's models exist only once Django is set up, so everything that needs them is imported in the verbs.


def register(parsers: Any, add: Add) -> None:
    """Put the verbs into the command line; `add(parsers, name, call, help)` makes the parser of one."""
    calls: dict[str, Any] = {
        "add": add_member,
        "list": list_members,
        "show": show_member,
        "history": tell_history,
        "secret": renew_secret,
    }
    for verb, text in verbs.VERBS.items():
        parser = add(parsers, verb, calls.get(verb, change_member), text)
        parser.set_defaults(verb=verb)
        verbs.describe(parser, verb)
        parser.add_argument("--json", action="store_true")
        if verb == "add":
            parser.add_argument("--pending", action="store_true", help="wait for `farmlet user approve`")
    expire = add(parsers, "expire", expire_members, "announce whose end has come; safe to repeat, for a timer")
    expire.add_argument("--json", action="store_true")


def add_member(provider: Provider, options: argparse.Namespace) -> None:
    from farmlet.parts.identity.service.members import members
    from farmlet.parts.identity.service.members.membership import read_end

    verbs.check_add(options)
    if options.service:
        add_service(provider, options)
        return
    state = members.State.PENDING if options.pending else members.State.ACTIVE
    until = read_end(options.expires) if options.expires else None
    person = {"display": options.title, "email": options.email, "state": state, "expires": until, "again": options.again}
    member, url = members.add(provider, options.name, options.group, **person, by=options.by)
    shown = members.describe(members.find(member.name), provider.table)
    show(shown | {"join": url}, options.json, f"{member.name} is {state}, uid {member.number}; join link:\n{url}")


def add_service(provider: Provider, options: argparse.Namespace) -> None:
    from farmlet.parts.identity.service.members import members, services
    from farmlet.parts.identity.service.members.membership import read_end

    if options.pending:
        raise InputError("--pending", "is for people")
    member, secret = services.add(
        provider,
        options.name,
        options.group,
        owner=options.owner,
        display=options.title,
        until=read_end(options.expires) if options.expires else None,
        scopes=[scope for text in options.scope for scope in text.split()],
        audiences=[audience for text in options.audience for audience in text.split()],
        by=options.by,
    )
    shown = members.describe(members.find(member.name), provider.table)
    told = {"client_id": services.name_client(member.name), "client_secret": secret}
    show(shown | told, options.json, f"{member.name} is active until {shown['expires']}\n{told['client_id']}\n{secret}")


def renew_secret(provider: Provider, options: argparse.Namespace) -> None:
    from farmlet.parts.identity.service.members import members, services

    secret = services.renew(provider, options.name, options.by)
    shown = members.describe(members.find(options.name), provider.table)
    told = {"client_id": services.name_client(options.name), "client_secret": secret}
    residual = provider.configuration.lifetimes.access
    show(shown | told | {"residual": residual}, options.json, f"{told['client_id']}\n{secret}")
    say(f"access tokens got with the old secret go on for at most {residual} s")


def change_member(provider: Provider, options: argparse.Namespace) -> None:
    """Every change of one member; `renew` names the service members whose secret somebody may know who left them.

    Who comes back after a removal has no password any more: `join` is the link that sets one.
    """
    from farmlet.parts.identity.service.members import members
    from farmlet.parts.identity.service.members.ownership import find_services

    member = members.find(options.name)
    removed, before = member.state == members.State.REMOVED, find_services(provider.table, member)
    _change(provider, options)
    member = members.find(options.name)
    kept = find_services(provider.table, member)
    shown = members.describe(member, provider.table) | {"renew": [each.name for each in before if each not in kept]}
    told = f"{options.name} is {shown['state']}, groups {', '.join(shown['groups'])}"
    if removed and member.state == members.State.ACTIVE:
        shown |= {"join": members.invite(provider, member)}
        told += f"; join link:\n{shown['join']}"
    show(shown, options.json, told)
    for name in shown["renew"]:
        say(f"{options.name} may know the secret of the service member {name}: `farmlet user secret {name}` makes a new one")


def _change(provider: Provider, options: argparse.Namespace) -> None:
    from farmlet.parts.identity.service.members import members, membership

    match options.verb:
        case "join":
            membership.join_group(provider, options.name, options.group, options.by)
        case "leave":
            membership.leave_group(provider, options.name, options.group, options.by)
        case "give":
            membership.give(provider, options.name, options.owner, options.by)
        case "extend":
            until = None if options.date == "never" else membership.read_end(options.date)
            membership.extend(provider, options.name, until, options.by)
        case verb:
            members.move(provider, options.name, verb, options.by)


def expire_members(provider: Provider, options: argparse.Namespace) -> None:
    from farmlet.parts.identity.service.members.membership import expire

    names = expire(provider, options.by)
    show({"expired": names}, options.json, "\n".join(names))


def list_members(provider: Provider, options: argparse.Namespace) -> None:
    from farmlet.parts.identity.service.django.models import Member
    from farmlet.parts.identity.service.members import members

    query = Member.objects.select_related("entry", "owner").prefetch_related("groups").order_by("name")
    shown = [members.describe(member, provider.table) for member in query]
    lines = [
        f"{item['name']:<20} {item['uid']:>6} {item['kind']:<8} {item['state']:<10} {', '.join(item['groups'])}" for item in shown
    ]
    show(shown, options.json, "\n".join(lines))


def show_member(provider: Provider, options: argparse.Namespace) -> None:
    from farmlet.parts.identity.service.members import members

    shown = members.describe(members.find(options.name), provider.table)
    show(shown, options.json, "\n".join(f"{key:<8} {value}" for key, value in shown.items()))


def tell_history(provider: Provider, options: argparse.Namespace) -> None:
    """What the audit log says of one member."""
    from farmlet.parts.identity.service.members import members

    name = members.find(options.name).name
    chain = ("previous", "hash", "member")
    lines = [line for line in audit.read(provider.configuration.audit) if line.get("member") == name]
    shown = [{key: value for key, value in line.items() if key not in chain} for line in lines]
    show(shown, options.json, "\n".join(json.dumps(line, ensure_ascii=False) for line in shown))
