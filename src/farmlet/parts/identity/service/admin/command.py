"""The command `farmlet-identity`: what administrators and Farmlet's deployment do on the node itself.

Data goes to stdout, messages to stderr; exit code 2 for bad input, 1 for a failure. Run as root it becomes the owner of
the database's folder before it opens the database, so that no file there ever belongs to root.
"""

from __future__ import annotations

import argparse
import os
import pwd
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.db import OperationalError
from django.utils.module_loading import import_string

from farmlet.errors import FarmletError
from farmlet.parts.identity import programs, verbs
from farmlet.parts.identity.service.django.configuration import Configuration, load_configuration
from farmlet.parts.identity.service.django.project import SERVICE, start
from farmlet.parts.identity.service.keys.keys import ensure_secret

MEMBER_CALLS = {"add": "add", "list": "list_", "show": "show_", "history": "tell_history", "secret": "renew_secret"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code."""
    options = build_parser().parse_args(arguments)
    options.by = options.by or find_caller()
    try:
        configuration = load_configuration(options.config)
        if getattr(options, "secret_file", None):
            options.secret = ensure_secret(options.secret_file).decode()
        become_owner(configuration)
        provider = start(configuration, ensure_secret(configuration.secret_key_file).decode())
        # the database's models, which all verbs need, exist only now
        import_string(f"{SERVICE}.admin.{options.call}")(provider, options)
    except FarmletError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except OperationalError as error:
        print(f"database: {str(error).strip()}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{error.filename or 'identity'}: {error.strerror or error}", file=sys.stderr)
        return 1
    return 0


def find_caller() -> str:
    """Who runs this: the account's name, or its number if it has none."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def become_owner(configuration: Configuration) -> None:
    """Make the service's own folder if it is missing; as root, take on its owner's identity for good."""
    folder = configuration.folder
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    owner = folder.stat()
    if os.getuid() == 0 and owner.st_uid != 0:
        try:
            os.initgroups(pwd.getpwuid(owner.st_uid).pw_name, owner.st_gid)
        except KeyError:
            os.setgroups([])
        os.setgid(owner.st_gid)
        os.setuid(owner.st_uid)
    os.umask(0o077)


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="farmlet-identity", description="Members, clients and keys of the facility.")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the service's JSON configuration")
    words = parser.add_subparsers(required=True, metavar="VERB")
    _add(words, "migrate", "upkeep.migrate", "bring the database to this version")
    _add_keys(_group(words, "keys", "signing keys"))
    _add(words, "prune", "upkeep.prune", "delete what has ended", json=True)
    _add(_group(words, "groups", "groups"), "ensure", "upkeep.ensure_groups", "make the groups what the rights table says")
    clients = _group(words, "client", "programs that may ask for tokens")
    _add_ensure(_add(clients, "ensure", "clients.ensure", "register or update a client"))
    for verb, text in programs.VERBS.items():
        programs.describe(_add(clients, verb, f"clients.{verb}_", text), verb)
    _add_members(_group(words, "member", "members"))
    _add_token(_add(words, "token", "break_glass.take", "break-glass: a token in a member's name, audited"))
    return parser


def _group(words: Any, name: str, text: str) -> Any:
    return words.add_parser(name, help=text).add_subparsers(required=True, metavar="VERB")


def _add(words: Any, name: str, call: str, text: str, json: bool = False) -> argparse.ArgumentParser:
    """A verb. `call`: module and function below `admin`; `json`: what it says in words it says as JSON too."""
    parser: argparse.ArgumentParser = words.add_parser(name, help=text)
    parser.set_defaults(call=call, verb=name)
    parser.add_argument("--by", metavar="WHO", help="who decided this, for the audit log (default: who runs it)")
    if json:
        parser.add_argument("--json", action="store_true")
    return parser


def _add_keys(keys: Any) -> None:
    _add(keys, "ensure", "upkeep.make_keys", "make signing keys where there are none")
    _add(keys, "list", "upkeep.list_keys", "all keys and what they are for", json=True)
    rotate = _add(keys, "rotate", "upkeep.rotate_keys", "do what is due: make, use and delete keys; safe to repeat", json=True)
    when = rotate.add_mutually_exclusive_group()
    when.add_argument("--next", action="store_true", help="make successors now, calmly; they sign in an hour")
    when.add_argument("--now", action="store_true", help="emergency: new keys at once, all older ones gone at once")


def _add_ensure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id")
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument("--public", action="store_true", help="it cannot keep a secret")
    kind.add_argument("--secret-file", type=Path, metavar="PATH", help="its secret; made there (0600) if it is missing")
    programs.describe_wishes(parser)
    parser.add_argument("--trusted", action="store_true", help="the facility's own: people are not asked whether they allow it")
    parser.add_argument("--own", action="store_true", help="one of those that `farmlet up` makes")


def _add_members(members: Any) -> None:
    for verb, text in verbs.VERBS.items():
        parser = _add(members, verb, f"members.{MEMBER_CALLS.get(verb, 'change')}", text)
        verbs.describe(parser, verb)
        if verb == "add":
            parser.add_argument("--pending", action="store_true", help="wait for `farmlet user approve`")
    _add(members, "expire", "upkeep.expire", "announce whose end has come; safe to repeat, for a timer", json=True)


def _add_token(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--as", dest="member", required=True, metavar="USER")
    parser.add_argument("--scope", required=True)
    parser.add_argument("--audience", default="")
    parser.add_argument("--reason", required=True)
