"""The member commands, described once: `farmlet user VERB` at the admin, `farmlet-identity member VERB` on the node.

The first hands what it was given to the second as `spell` writes it. Standard library only: both are read where the other's
libraries are not.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from farmlet.errors import InputError

VERBS = {
    "add": "register a person, approved at once, or a service member",
    "list": "all members",
    "show": "one member",
    "approve": "let a pending member in",
    "suspend": "keep a member out for now",
    "resume": "end a suspension, or let a person back who was removed",
    "remove": "end a membership; the name is never given to anybody else",
    "join": "put a member into a group",
    "leave": "take a member out of a group",
    "extend": "set the last day of a membership",
    "give": "make another group the owner of a service member",
    "secret": "a new secret for a service member; the old one ends",
    "history": "what the audit log says of a member",
}


@dataclass(frozen=True)
class Option:
    """One argument of a verb: `--…` or, without dashes, by its place. `many`: it may be repeated."""

    name: str
    text: str
    metavar: str | None = None
    required: bool = False
    many: bool = False

    @property
    def key(self) -> str:
        return self.name.lstrip("-").replace("-", "_")

    def describe(self, parser: argparse.ArgumentParser) -> None:
        words: dict[str, Any] = {"help": self.text, "metavar": self.metavar}
        if self.name.startswith("-"):
            words |= {"required": self.required, "default": [] if self.many else ""}
            words |= {"action": "append"} if self.many else {}
        parser.add_argument(self.name, **words)

    def spell(self, value: Any) -> list[str]:
        # in one word, so that a value that begins with a dash is not taken for an option
        prefix = f"{self.name}=" if self.name.startswith("-") else ""
        return [f"{prefix}{each}" for each in (value if self.many else [value]) if each]


SERVICE, AGAIN = "--service", "--again"
OPTIONS = {
    "add": (
        Option("--group", "a group of the facility file; repeat for more", required=True, many=True),
        Option("--owner", "the group that owns it (with --service)", "GROUP"),
        Option("--title", "full name", '"FULL NAME"'),
        Option("--email", "e-mail address"),
        Option("--expires", "the last day, YYYY-MM-DD (service members: in a year)", "DATE"),
        Option("--scope", "the widest its tokens may have (default: its rights)", many=True),
        Option("--audience", "whom its tokens may be for (default: any storage of the facility)", many=True),
    ),
    "join": (Option("--group", "a group of the facility file", required=True),),
    "leave": (Option("--group", "a group of the facility file", required=True),),
    "extend": (Option("date", "the last day, YYYY-MM-DD (UTC); `never` for a person", "DATE"),),
    "give": (Option("--owner", "a group with an active person", "GROUP", required=True),),
}


def describe(parser: argparse.ArgumentParser, verb: str) -> None:
    """Put the arguments of `verb` on its command line."""
    if verb != "list":
        parser.add_argument("name", help="the member's UNIX name")
    if verb == "add":
        parser.add_argument(SERVICE, action="store_true", help="a service member: no log-in, tokens by client credentials")
        parser.add_argument(
            AGAIN, action="store_true", help="who had this name until the database was lost: with number and files"
        )
    for option in OPTIONS.get(verb, ()):
        option.describe(parser)


def spell(verb: str, given: Mapping[str, Any]) -> list[str]:
    """The words after the member's name that say what was `given`."""
    words = [word for word in (SERVICE, AGAIN) if given.get(word[2:])]
    return words + [word for option in OPTIONS.get(verb, ()) for word in option.spell(given[option.key])]


def check_add(options: argparse.Namespace) -> None:
    """Raise InputError for what is a person's and given for a service member, or the other way round."""
    if not options.service and (options.owner or options.scope or options.audience):
        raise InputError("--owner, --scope, --audience", "are for service members", "add --service")
    if options.service and options.again:
        raise InputError(AGAIN, "is for people", "a service member needs a new name")
    if options.service and options.email:
        raise InputError("--email", "is for people, and this is a service member", "leave it out")
    if options.service and not options.owner:
        raise InputError("--owner", "is missing", "a service member is owned by a group: --owner GROUP")
