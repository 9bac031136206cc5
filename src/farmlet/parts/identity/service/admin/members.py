"""The verbs of `farmlet-identity member`: each answers in JSON, which `farmlet user` puts into words."""

from __future__ import annotations

import argparse
from datetime import datetime
from typing import Any

from farmlet.errors import InputError
from farmlet.parts.identity import verbs
from farmlet.parts.identity.service.admin.output import show
from farmlet.parts.identity.service.clients.edit import split
from farmlet.parts.identity.service.django.models import Member
from farmlet.parts.identity.service.django.project import Provider
from farmlet.parts.identity.service.members import members, membership, services
from farmlet.parts.identity.service.members.ownership import find_services
from farmlet.runtime import audit


def add(provider: Provider, options: argparse.Namespace) -> None:
    verbs.check_add(options)
    until = membership.read_end(options.expires) if options.expires else None
    if options.service:
        add_service(provider, options, until)
        return
    state = members.State.PENDING if options.pending else members.State.ACTIVE
    person = {"display": options.title, "email": options.email, "state": state, "expires": until, "again": options.again}
    _, url = members.add(provider, options.name, options.group, **person, by=options.by)
    show(describe(provider, options.name) | {"join": url})


def add_service(provider: Provider, options: argparse.Namespace, until: datetime | None) -> None:
    if options.pending:
        raise InputError("--pending", "is for people")
    _, secret = services.add(
        provider,
        options.name,
        options.group,
        owner=options.owner,
        display=options.title,
        until=until,
        scopes=split(options.scope),
        audiences=split(options.audience),
        by=options.by,
    )
    show(describe(provider, options.name) | tell_client(options.name, secret))


def renew_secret(provider: Provider, options: argparse.Namespace) -> None:
    """`residual`: seconds for which access tokens that the old secret got go on at most."""
    secret = services.renew(provider, options.name, options.by)
    told = tell_client(options.name, secret) | {"residual": provider.configuration.lifetimes.access}
    show(describe(provider, options.name) | told)


def change(provider: Provider, options: argparse.Namespace) -> None:
    """Every change of one member; `renew` names the service members whose secret somebody may know who left them.

    Who comes back after a removal has no password any more: `join` is the link that sets one.
    """
    member = members.find(options.name)
    removed, before = member.state == members.State.REMOVED, find_services(provider.table, member)
    _change(provider, options)
    member = members.find(options.name)
    kept = find_services(provider.table, member)
    shown = members.describe(member, provider.table) | {"renew": [each.name for each in before if each not in kept]}
    back = removed and member.state == members.State.ACTIVE
    show(shown | ({"join": members.invite(provider, member)} if back else {}))


def _change(provider: Provider, options: argparse.Namespace) -> None:
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


def list_(provider: Provider, options: argparse.Namespace) -> None:
    query = Member.objects.select_related("entry", "owner").prefetch_related("groups").order_by("name")
    show([members.describe(member, provider.table) for member in query])


def show_(provider: Provider, options: argparse.Namespace) -> None:
    show(describe(provider, options.name))


def tell_history(provider: Provider, options: argparse.Namespace) -> None:
    """What the audit log says of one member."""
    name = members.find(options.name).name
    chain = ("previous", "hash", "member")
    lines = [line for line in audit.read(provider.configuration.audit) if line.get("member") == name]
    show([{key: value for key, value in line.items() if key not in chain} for line in lines])


def describe(provider: Provider, name: str) -> dict[str, Any]:
    return members.describe(members.find(name), provider.table)


def tell_client(name: str, secret: str) -> dict[str, Any]:
    return {"client_id": services.name_client(name), "client_secret": secret}
