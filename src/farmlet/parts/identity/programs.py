"""The client commands, described once: `farmlet client VERB` at the admin, `farmlet-identity client VERB` on the node.

As `verbs`: the first hands what it was given to the second as `spell` writes it. Standard library only.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from farmlet.parts.identity.verbs import Option
from farmlet.runtime.numbers import whole

VERBS = {
    "list": "all clients: the facility's own, yours, service members', and those that registered themselves",
    "show": "one client",
    "set": "register a client, or change one: what is not given stays",
    "remove": "end a client with all that members allowed it",
}
OPTIONS = (
    Option("--name", "what members see when they are asked to allow it", "TEXT"),
    Option("--grant", "code, device, refresh, client_credentials or exchange; repeat for more", many=True),
    Option("--redirect-uri", "where codes may be sent; repeat for more", "URI", many=True),
    Option("--post-logout-uri", "where to go after a log-out; repeat for more", "URI", many=True),
    Option("--scope", "the widest it may ask for; repeat, or separate by blanks", many=True),
    Option("--audience", "whom its tokens may be for (default: whatever members allow that opens no log-in)", many=True),
    Option("--algorithm", "of its ID tokens (default: RS256)"),
)
LIFETIMES = ("--access-lifetime", "--refresh-lifetime")
FLAGS = {
    "--public": "it cannot keep a secret: programs on people's machines and in browsers",
    "--trusted": "the facility's own: people are not asked whether they allow it",
}


def describe(parser: argparse.ArgumentParser, verb: str) -> None:
    """Put the arguments of `verb` on its command line; what is not given is empty or None."""
    if verb != "list":
        parser.add_argument("id", help="the client's name (client_id)")
    if verb != "set":
        return
    describe_wishes(parser)
    for name, text in FLAGS.items():
        parser.add_argument(name, action=argparse.BooleanOptionalAction, help=text)
    parser.add_argument("--renew", action="store_true", help="a new secret; the old one ends")


def describe_wishes(parser: argparse.ArgumentParser) -> None:
    """Put on a command line what a client may be given, its kind aside."""
    for option in OPTIONS:
        option.describe(parser)
    for name in LIFETIMES:
        parser.add_argument(name, type=whole, metavar="SECONDS")


def spell(given: Mapping[str, Any]) -> list[str]:
    """The words of `set` after the client's name that say what was `given`."""
    words = [word for option in OPTIONS for word in option.spell(given[option.key])]
    words += [f"{name}={given[key]}" for name in LIFETIMES if given[key := name[2:].replace("-", "_")] is not None]
    words += [name if given[name[2:]] else f"--no-{name[2:]}" for name in FLAGS if given[name[2:]] is not None]
    return words + (["--renew"] if given["renew"] else [])
