"""`farmlet client`: programs that may ask the identity service for tokens, by its own command on the control node."""

from __future__ import annotations

import argparse
import getpass
import sys
from pathlib import Path
from typing import Any

from farmlet.cli.opening import open_deployment
from farmlet.cli.options import add_actions, print_json, print_table
from farmlet.errors import InputError
from farmlet.parts.identity import programs
from farmlet.parts.identity.admin import ask_clients
from farmlet.runtime import files


def add(parser: argparse.ArgumentParser) -> None:
    made = add_actions(parser, programs.VERBS, programs.describe)
    made["set"].add_argument("--secret-file", type=Path, metavar="PATH", help="write its secret there (0600), do not print it")


def run(args: argparse.Namespace) -> int:
    path = getattr(args, "secret_file", None)
    if path and not path.parent.is_dir():  # before the secret is made, which is told only once
        raise InputError(f"--secret-file {path}", f"there is no folder {path.parent}", f"mkdir -p {path.parent}")
    deployment = open_deployment(args, running=True)
    if deployment.facility.external:
        what = f"clients are kept by {deployment.facility.issuer}, and cannot be changed from here"
        raise InputError("farmlet client", what, "register them there: docs/reference/clients.md")
    words = [args.action, *([] if args.action == "list" else [args.id])]
    words += programs.spell(vars(args)) if args.action == "set" else []
    found = ask_clients(deployment, words, getpass.getuser())
    if path and "client_secret" in found:
        files.write(path, f"{found.pop('client_secret')}\n".encode(), mode=0o600)
    if args.json:
        print_json(found)
    elif args.action == "list":
        rows = [(one["client_id"], one["of"], " ".join(one["grants"]), (one["used"] or "-")[:10], one["name"]) for one in found]
        print_table(rows, ("client", "of", "grants", "used", "name"))
    elif args.action == "remove":
        print(f"client {args.id} is removed; tokens it has go on until they end, at most an hour")
    else:
        _tell(found, path)
    return 0


def _tell(found: dict[str, Any], path: Path | None) -> None:
    """One client, and its secret where there is a new one."""
    told = {key: " ".join(value) if isinstance(value, list) else value for key, value in found.items() if key != "client_secret"}
    for key, value in told.items():
        print(f"{key:<16}  {'-' if value in (None, '') else value}")
    if "client_secret" in found:
        print(f"{'client_secret':<16}  {found['client_secret']}")
        print("next: put the secret into a file (0600) where the program runs; it is not told again", file=sys.stderr)
    elif path:
        print(f"its secret is in {path}, if it has a new one", file=sys.stderr)
