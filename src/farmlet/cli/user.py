"""`farmlet user`: members, by the identity service's own command on the control node.

`release` is about accounts whose member is missing at their source, whoever that is: the accounts daemon asked.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from farmlet.cli.opening import open_deployment, open_members
from farmlet.cli.options import add_actions, print_json, print_table
from farmlet.errors import InputError
from farmlet.parts.accounts.admin import release
from farmlet.parts.identity import verbs
from farmlet.runtime import files

RELEASE = "let members go who are missing where they are kept (`check accounts` asks)"


def add(parser: argparse.ArgumentParser) -> None:
    add_actions(parser, verbs.VERBS | {"release": RELEASE}, _describe)


def _describe(parser: argparse.ArgumentParser, action: str) -> None:
    if action == "release":
        parser.add_argument("name", nargs="*", help="the members' UNIX names")
        parser.add_argument("--all", action="store_true", help="all who are missing")
        return
    verbs.describe(parser, action)
    if action in ("add", "secret"):
        parser.add_argument("--secret-file", type=Path, metavar="PATH", help="write the secret there (0600), do not print it")


def run(args: argparse.Namespace) -> int:
    _check(args)
    deployment = open_deployment(args, running=True)
    found: Any
    if args.action == "release":
        found = release(deployment, args.name)
    elif args.action == "list":
        found = open_members(deployment).list()
    elif args.action == "history":
        found = open_members(deployment).history(args.name)
    else:
        found = open_members(deployment).change(args.action, args.name, *verbs.spell(args.action, vars(args)))
    if args.action in ("add", "secret") and args.secret_file:
        files.write(args.secret_file, f"{found.pop('client_secret')}\n".encode(), mode=0o600)
    if args.json or args.action == "show":
        print_json(found)
    else:
        tell: Callable[..., None] = TELL.get(args.action, _tell)
        tell(args, found)
    return 0


def _check(args: argparse.Namespace) -> None:
    if args.action == "add":
        verbs.check_add(args)
        if args.secret_file and not args.service:
            raise InputError("--secret-file", "is for service members", "add --service")
    if args.action == "release" and args.all == bool(args.name):
        raise InputError(
            "farmlet user release", "needs the names of members, or --all", "farmlet check accounts names who is missing"
        )
    path = getattr(args, "secret_file", None)
    if path and not path.parent.is_dir():  # before the secret is made, which is told only once
        raise InputError(f"--secret-file {path}", f"there is no folder {path.parent}", f"mkdir -p {path.parent}")


def _end(found: dict[str, Any]) -> str:
    owner = f", owned by {found['owner']}" if found["owner"] else ""
    return owner + (f", until {found['expires'][:10]}" if found["expires"] else "")


def _tell(args: argparse.Namespace, found: dict[str, Any]) -> None:
    """One member, what to do next, and what is told only now."""
    print(f"member {args.name}: {found['state']}, groups {', '.join(found['groups']) or 'none'}{_end(found)}")
    if "join" in found:
        print(f"next: give this link to them; it sets their password, once:\n  {found['join']}")
    if "client_id" in found:
        print(f"client: {found['client_id']}")
        print(f"secret: {found.get('client_secret') or f'in {args.secret_file}'}")
        print("next: put the secret into a file (0600) where the production runs; it is not told again", file=sys.stderr)
    if "residual" in found:
        minutes = found["residual"] // 60
        print(f"the old secret gets nothing more; tokens got with it go on for at most {minutes} min", file=sys.stderr)
    for name in found.get("renew", ()):
        print(f"{args.name} may know the secret of {name}: `farmlet user secret {name}` makes a new one", file=sys.stderr)


def _release(args: argparse.Namespace, names: Sequence[str]) -> None:
    print(f"let go: {', '.join(names) or 'nobody'}")
    print("next: within a minute they are removed on all nodes: farmlet check accounts", file=sys.stderr)


def _list(args: argparse.Namespace, found: Sequence[dict[str, Any]]) -> None:
    rows = [
        (row["name"], row["kind"], row["state"], (row["expires"] or "-")[:10], row["owner"] or "-", str(row["uid"]), groups)
        for row in found
        for groups in (" ".join(row["groups"]),)
    ]
    print_table(rows, ("name", "kind", "state", "until", "owner", "uid", "groups"))


def _history(args: argparse.Namespace, lines: Sequence[dict[str, Any]]) -> None:
    rows = []
    for line in lines:
        moment = datetime.fromtimestamp(line["at"], UTC).strftime("%Y-%m-%d %H:%M:%S")
        details = {key: value for key, value in line.items() if key not in ("at", "event", "by")}
        words = [f"{key}={' '.join(value) if isinstance(value, list) else value}" for key, value in details.items()]
        rows.append((moment, line["event"], line["by"], ", ".join(words)))
    print_table(rows, ("at (UTC)", "event", "by", "details"))


TELL: dict[str, Callable[..., None]] = {"list": _list, "history": _history, "release": _release}
