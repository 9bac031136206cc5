"""The verbs of `farmlet-identity member`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

from farmlet.errors import InputError
from farmlet.parts.identity.service.output import say, show
from farmlet.parts.identity.service.project import Provider
from farmlet.runtime import audit

Add = Callable[..., argparse.ArgumentParser]

# The database's models exist only once Django is set up, so everything that needs them is imported in the verbs.


def register(verbs: Any, add: Add) -> None:
    """Put the verbs into the command line; `add(verbs, name, call, help)` makes the parser of one."""
    _register_add(add(verbs, "add", add_member, "register a person, or a service member; prints what is told only once"))
    _register_json(add(verbs, "list", list_members, "all members"))
    _register_json(add(verbs, "expire", expire_members, "announce whose end has come; safe to repeat, for a timer"))
    texts: dict[str, tuple[Any, str]] = {
        "show": (show_member, "one member"),
        "approve": (change_member, "let a pending member in"),
        "suspend": (change_member, "keep a member out for now"),
        "resume": (change_member, "end a suspension; or let a person back who was removed"),
        "remove": (change_member, "end a membership for good"),
        "history": (tell_history, "what the audit log says of one member"),
        "secret": (renew_secret, "a new secret for a service member; the old one ends"),
        "extend": (change_member, "set the end of a membership"),
        "join": (change_member, "put a member into a group"),
        "leave": (change_member, "take a member out of a group"),
        "give": (change_member, "make another group the owner of a service member"),
    }
    for verb, (call, text) in texts.items():
        parser = _register_json(add(verbs, verb, call, text))
        parser.set_defaults(verb=verb)
        parser.add_argument("name")
        if verb == "extend":
            parser.add_argument("date", help="the last day, YYYY-MM-DD (UTC); `never` for a person")
        elif verb in ("join", "leave"):
            parser.add_argument("--group", required=True)
        elif verb == "give":
            parser.add_argument("--owner", required=True, metavar="GROUP")


def _register_json(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("--json", action="store_true")
    return parser


def _register_add(parser: argparse.ArgumentParser) -> None:
    _register_json(parser)
    parser.add_argument("name", help="the UNIX name, for ever")
    parser.add_argument("--group", action="append", default=[], required=True)
    parser.add_argument("--name", dest="display", default="", metavar="FULL NAME")
    parser.add_argument("--email", default="")
    parser.add_argument("--pending", action="store_true", help="wait for `member approve`")
    parser.add_argument(
        "--expires", default="", metavar="DATE", help="the last day, YYYY-MM-DD (service members: a year from now)"
    )
    parser.add_argument("--service", action="store_true", help="a service member: no log-in, tokens by client credentials")
    parser.add_argument("--owner", default="", metavar="GROUP", help="the group that owns it (with --service)")
    parser.add_argument("--scope", action="append", default=[], help="the widest its tokens may have (with --service)")
    parser.add_argument("--audience", action="append", default=[], help="whom its tokens may be for (with --service)")


def add_member(provider: Provider, options: argparse.Namespace) -> None:
    from farmlet.parts.identity.service import members
    from farmlet.parts.identity.service.membership import read_end

    if options.service:
        add_service(provider, options)
        return
    if options.owner or options.scope or options.audience:
        raise InputError("--owner, --scope, --audience", "are for service members", "add --service")
    state = members.State.PENDING if options.pending else members.State.ACTIVE
    until = read_end(options.expires) if options.expires else None
    person = {"display": options.display, "email": options.email, "state": state, "expires": until}
    member, url = members.add(provider, options.name, options.group, **person, by=options.by)
    shown = members.describe(members.find(member.name), provider.table)
    show(shown | {"join": url}, options.json, f"{member.name} is {state}, uid {member.number}; join link:\n{url}")


def add_service(provider: Provider, options: argparse.Namespace) -> None:
    from farmlet.parts.identity.service import members, services
    from farmlet.parts.identity.service.membership import read_end

    if not options.owner:
        raise InputError("--owner", "is missing", "a service member is owned by a group: --owner GROUP")
    if options.pending or options.email:
        raise InputError("--pending, --email", "are for people")
    member, secret = services.add(
        provider,
        options.name,
        options.group,
        owner=options.owner,
        display=options.display,
        until=read_end(options.expires) if options.expires else None,
        scopes=[scope for text in options.scope for scope in text.split()],
        audiences=[audience for text in options.audience for audience in text.split()],
        by=options.by,
    )
    shown = members.describe(members.find(member.name), provider.table)
    told = {"client_id": services.name_client(member.name), "client_secret": secret}
    show(shown | told, options.json, f"{member.name} is active until {shown['expires']}\n{told['client_id']}\n{secret}")


def renew_secret(provider: Provider, options: argparse.Namespace) -> None:
    from farmlet.parts.identity.service import members, services

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
    from farmlet.parts.identity.service import members
    from farmlet.parts.identity.service.ownership import find_services

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
        say(f"{options.name} may know the secret of the service member {name}: `member secret {name}` makes a new one")


def _change(provider: Provider, options: argparse.Namespace) -> None:
    from farmlet.parts.identity.service import members, membership

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
    from farmlet.parts.identity.service.membership import expire

    names = expire(provider, options.by)
    show({"expired": names}, options.json, "\n".join(names))


def list_members(provider: Provider, options: argparse.Namespace) -> None:
    from farmlet.parts.identity.service import members
    from farmlet.parts.identity.service.models import Member

    query = Member.objects.select_related("entry", "owner").prefetch_related("groups").order_by("name")
    shown = [members.describe(member, provider.table) for member in query]
    lines = [
        f"{item['name']:<20} {item['uid']:>6} {item['kind']:<8} {item['state']:<10} {', '.join(item['groups'])}" for item in shown
    ]
    show(shown, options.json, "\n".join(lines))


def show_member(provider: Provider, options: argparse.Namespace) -> None:
    from farmlet.parts.identity.service import members

    shown = members.describe(members.find(options.name), provider.table)
    show(shown, options.json, "\n".join(f"{key:<8} {value}" for key, value in shown.items()))


def tell_history(provider: Provider, options: argparse.Namespace) -> None:
    """What the audit log says of one member."""
    from farmlet.parts.identity.service import members

    name = members.find(options.name).name
    chain = ("previous", "hash", "member")
    lines = [line for line in audit.read(provider.configuration.audit) if line.get("member") == name]
    shown = [{key: value for key, value in line.items() if key not in chain} for line in lines]
    show(shown, options.json, "\n".join(json.dumps(line, ensure_ascii=False) for line in shown))
