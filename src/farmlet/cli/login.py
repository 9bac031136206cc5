"""`farmlet login`: a member's own machine. Imports little at its start: ssh runs `--fresh` before each connection."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from farmlet.cli.options import print_json
from farmlet.errors import InputError
from farmlet.parts.access.login.places import Place, find


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "where", nargs="?", metavar="URL|NAME", help="the facility: its address, later its name (default: the only one)"
    )
    parser.add_argument("--ca", metavar="FILE", help="the authority that vouches for the facility (PEM), if it has its own")
    parser.add_argument("--name", default="", help="what to call it here (default: as it calls itself)")
    parser.add_argument("--no-qr", action="store_true", help="no QR code")
    parser.add_argument("--ssh-config", action="store_true", help="add the Include line to ~/.ssh/config without asking")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--fresh", action="store_true", help="renew if it is time to, quietly; what ssh runs")
    what.add_argument("--keep", action="store_true", help="stay, and renew in time")
    what.add_argument("--status", action="store_true", help="what is there, and until when")


def choose(name: str | None, verb: str = "login") -> Place:
    """The log-in named, or the only one. Raises InputError, in the words of the `verb` that was typed."""
    found = find()
    if name is None and len(found) == 1:
        return next(iter(found.values()))
    if name in found:
        return found[name]
    known = ", ".join(found)
    if name is None:
        what = "which one? you are logged in to " + known if found else "you are not logged in anywhere"
        raise InputError(f"farmlet {verb}", what, f"farmlet {verb} NAME" if found else "farmlet login https://…")
    what = f"you are not logged in to {name}{f', but to {known}' if found else ''}"
    raise InputError(f"farmlet {verb}", what, "farmlet login https://…")


def run(args: argparse.Namespace) -> int:
    if args.status:
        return tell([choose(args.where)] if args.where else list(find().values()), args.json)
    if args.fresh or args.keep:
        from farmlet.parts.access.login import stay

        place = choose(args.where)
        code = (stay.fresh if args.fresh else stay.keep)(place)
        if args.json:
            tell([place], as_json=True)
        return code
    return enter(args)


def enter(args: argparse.Namespace) -> int:
    from farmlet.parts.access.login.enter import Wish, log_in, normalise
    from farmlet.parts.access.login.report import describe
    from farmlet.parts.access.login.state import cafile, load

    if args.where is None or args.where in find():  # again: address and authority are known
        place = choose(args.where)
        wish = Wish(load(place).url, args.ca or cafile(place), place.name, not args.no_qr)
    else:
        wish = Wish(normalise(args.where), args.ca, args.name, not args.no_qr)
    place, known = log_in(wish)
    include(args.ssh_config)
    if args.json:
        print_json(describe([place])[0])
    else:
        where = f"; next: ssh {known.nodes[0]}" if known.nodes else ""
        print(f"you are {known.user} at {known.title or place.name}{where}", file=sys.stderr)
    return 0


def include(write: bool) -> None:
    """See to the line in ~/.ssh/config: written, or told."""
    from farmlet.parts.access.login import snippet
    from farmlet.runtime.issuer import screen

    if snippet.is_included():
        return
    question = f"Let ssh know the facility, by this line at the top of ~/.ssh/config?\n  {snippet.include()}\n"
    if write or screen.confirm(question):
        snippet.write_include()
    else:
        print(f"for ssh, put this line at the top of ~/.ssh/config:\n  {snippet.include()}", file=sys.stderr)


def tell(places: list[Place], as_json: bool) -> int:
    from farmlet.parts.access.login.report import describe

    rows = describe(places)
    if as_json:
        print_json(rows)
    for row in () if as_json else rows:
        print(f"{row['facility']}: {row['user']} at {row['url']}, {'renews itself' if row['renews'] else 'log in anew'}")
        for name in ("certificate", "token"):
            print(f"  {name:11} {_span(row[name])}")
        print(f"  ssh         {'reads ~/.ssh/config' if row['ssh_config'] else 'has no Include line in ~/.ssh/config'}")
    good = rows and all(row["renews"] or row["certificate"]["ok"] for row in rows)
    if not rows and not as_json:
        print("you are not logged in anywhere; farmlet login https://…", file=sys.stderr)
    return 0 if good else 1


def _span(found: dict[str, Any] | None) -> str:
    if found is None or not found["expires"]:
        return "none"
    return f"{'until' if found['ok'] else 'ended'} {found['expires']}  {found['path']}"
