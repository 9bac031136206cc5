"""`farmlet explain`: what a member may do, and which lines of the facility file say so; why a job is where it is; or what an
element's admin must do."""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from typing import Any

from farmlet.cli import job
from farmlet.cli.opening import open_deployment, open_members
from farmlet.cli.options import print_either, print_json
from farmlet.errors import InputError
from farmlet.facility.explain import Answer, Source, explain, parse
from farmlet.facility.model import Facility
from farmlet.facility.rights import RIGHTS, Right, Table
from farmlet.facility.scopes import scopes
from farmlet.facility.sizes import show
from farmlet.parts.storage.groups import share
from farmlet.parts.storage.remote import describe as describe_element

MISSING = "(the first `farmlet up` makes it)"


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="USER", nargs="?", help="the member's UNIX name; or `job`, and ID")
    parser.add_argument("id", metavar="ID", nargs="?", help="after `job`: its number, ClusterId.ProcId: why it is where it is")
    parser.add_argument(
        "--storage",
        metavar="ELEMENT",
        help="instead of a member: the page for the admin of a storage element of `storage.elements`, what they must configure",
    )
    parser.add_argument(
        "--why-not",
        metavar="RIGHT",
        help="about one right: storage:write:/PATH, a scope, login, batch, notebooks, scratch, administer; exits 1 for no",
    )


def run(args: argparse.Namespace) -> int:
    if (args.name is None) == (args.storage is None):
        both = "explains a member or a storage element, one at a time" if args.name else "needs a member or a storage element"
        raise InputError("farmlet explain", both, "farmlet explain USER, or farmlet explain --storage ELEMENT")
    if (args.id is not None) is not (args.name == "job") or (args.id is not None and args.why_not is not None):
        hint = "farmlet explain job ID, or farmlet explain USER"
        raise InputError("farmlet explain", "explains a job or a member, one at a time", hint)
    if args.storage is not None and args.why_not is not None:
        raise InputError("farmlet explain --why-not", "is about a member", "farmlet explain USER --why-not RIGHT")
    if args.storage is not None:
        return tell_element(args)
    if args.id is not None:
        return job.tell(args)
    if args.why_not is not None:
        parse(args.why_not)  # a word that is not known needs no facility
    deployment = open_deployment(args, running=True)
    facility = deployment.facility
    member = open_members(deployment).change("show", args.name)
    if args.why_not is None:
        tell_all(facility, member, args.json)
        return 0
    answer = explain(find_table(facility), args.name, member["groups"], args.why_not, member["state"])
    if member["kind"] == "service" and answer.right == "login":  # whatever their groups give
        answer = replace(answer, allowed=False, sources=(), remedies=())
    print_either(args, asdict(answer), "\n".join(describe(args.name, answer)))
    return 0 if answer.allowed else 1


def tell_element(args: argparse.Namespace) -> int:
    """Print the page for an element's admin. It needs no running facility, but the facility's authority."""
    deployment = open_deployment(args)
    facility = deployment.facility
    own = deployment.layout.authority().read() or MISSING
    page = describe_element(facility, args.storage, "" if facility.external else own, own)
    print_either(args, {"text": page.text, "files": dict(page.files)}, page.text.removesuffix("\n"))
    return 0


def find_table(facility: Facility) -> Table:
    """The table that decides: by groups of an external issuer nobody is given what is one member's alone."""
    return share(facility.rights) if facility.external else facility.rights


def tell_all(facility: Facility, member: dict[str, Any], as_json: bool) -> None:
    """Print everything the member may do."""
    rights = find_table(facility).of(member["name"], member["groups"])
    service = member["kind"] == "service"
    login = rights.login and not service
    lines = {path: facility.groups[path].line for path in rights.groups}
    if as_json:
        print_json(asdict(rights) | {"login": login, "lines": lines})
        return
    print(f"{rights.user}: {member['state']}, may {'' if login else 'not '}log in")
    if service:
        print(f"  a service member, owned by {member['owner'] or facility.issuer}, until {(member['expires'] or 'never')[:10]}")
    for path, line in lines.items():
        print(f"  group {path} (line {line} of the facility file)")
    if rights.batch_group:
        print(f"  batch group {rights.batch_group}")
    for right in RIGHTS:
        value = getattr(rights, right.field)
        if value and right.combine != "any" and (login or right.scopes):
            print(f"  may {right.words.format(tell(right, value))}")
    if login and not rights.home:
        print("  may keep any amount in their home")
    by = f"storage, by the groups in tokens of {facility.issuer}:" if facility.external else "scopes"
    print(f"  {by} {' '.join(scopes(rights))}")


def tell(right: Right, value: Any) -> str:
    """The value of a right as the facility file would write it."""
    if right.combine == "united":
        return " ".join(value)
    return show(value) if right.size else f"{value:g}"


def describe(name: str, answer: Answer) -> list[str]:
    """The answer in words: yes or no first, then the reason, then what would change it."""
    lines = [f"{'yes' if answer.allowed else 'no'}: {name}, {answer.right}"]
    if answer.state != "active":
        lines.append(f"  the membership is {answer.state}: nothing is allowed")
    lines += [f"  {place(source)} gives it" for source in answer.sources]
    if answer.below:
        lines.append(f"  allowed below it: {' '.join(answer.below)}")
    if not answer.sources:
        lines.append("  no group of theirs gives it")
        lines += [f"  {place(source)} would give it, and so would its subgroups" for source in answer.remedies]
    if not answer.sources and not answer.remedies:
        lines.append(f"  no group of the facility file gives it to {name}")
    return lines


def place(source: Source) -> str:
    return f"group {source.group} (line {source.line} of the facility file)"
