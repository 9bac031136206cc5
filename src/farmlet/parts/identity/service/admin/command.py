"""The command `farmlet-identity`: what administrators and Farmlet's deployment do on the node itself.

Data goes to stdout, messages to stderr; exit code 2 for bad input, 1 for a failure. Run as root it becomes the owner of
the database's folder before it opens the database, so that no file there ever belongs to root.
"""

from __future__ import annotations

import argparse
import os
import pwd
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from django.db import OperationalError

from farmlet.errors import FarmletError
from farmlet.parts.identity.service.admin import clients as listed
from farmlet.parts.identity.service.admin import members, upkeep
from farmlet.parts.identity.service.admin.output import say
from farmlet.parts.identity.service.django.configuration import Configuration, load_configuration
from farmlet.parts.identity.service.django.project import Provider, start
from farmlet.parts.identity.service.keys.keys import ensure_secret
from farmlet.runtime.numbers import whole
from farmlet.runtime.tokens import ALGORITHMS

Verb = Callable[[Provider, argparse.Namespace], None]


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
        verb: Verb = options.call
        verb(provider, options)
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
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    _add(verbs, "migrate", migrate, "bring the database to this version")
    upkeep.register(verbs, _add)
    groups = verbs.add_parser("groups", help="groups").add_subparsers(required=True, metavar="VERB")
    _add(groups, "ensure", update_groups, "make the groups what the rights table says")
    clients = verbs.add_parser("client", help="programs that may ask for tokens").add_subparsers(required=True, metavar="VERB")
    _add_client(_add(clients, "ensure", make_client, "register or update a client"))
    listed.register(clients, _add)
    members.register(verbs.add_parser("member", help="members").add_subparsers(required=True, metavar="VERB"), _add)
    _add_token(_add(verbs, "token", make_token, "break-glass: a token in a member's name, audited"))
    return parser


def _add(verbs: Any, name: str, call: Verb, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(name, help=text)
    parser.set_defaults(call=call)
    parser.add_argument("--by", metavar="WHO", help="who decided this, for the audit log (default: who runs it)")
    return parser


def _add_client(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id")
    parser.add_argument("--name", default="", help="what people see when they are asked to allow it")
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument("--public", action="store_true", help="it cannot keep a secret")
    kind.add_argument("--secret-file", type=Path, metavar="PATH", help="its secret; made there (0600) if it is missing")
    parser.add_argument(
        "--grant", action="append", default=[], help="code, device, refresh, client_credentials or exchange; repeat for more"
    )
    parser.add_argument(
        "--redirect-uri", action="append", default=[], metavar="URI", help="where codes may be sent; repeat for more"
    )
    parser.add_argument("--post-logout-uri", action="append", default=[], metavar="URI", help="where to go after a log-out")
    parser.add_argument("--trusted", action="store_true", help="the facility's own: people are not asked whether they allow it")
    parser.add_argument("--own", action="store_true", help="one of those that `farmlet up` makes")
    parser.add_argument("--algorithm", choices=ALGORITHMS, default="", help="of its ID tokens (default: RS256)")
    parser.add_argument("--scope", action="append", default=[], help="repeat, or separate by blanks")
    parser.add_argument(
        "--audience",
        action="append",
        default=[],
        help="whom its tokens may be for (default: whatever members allow that opens no log-in)",
    )
    parser.add_argument("--access-lifetime", type=whole, metavar="SECONDS")
    parser.add_argument("--refresh-lifetime", type=whole, metavar="SECONDS")


def _add_token(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--as", dest="member", required=True, metavar="USER")
    parser.add_argument("--scope", required=True)
    parser.add_argument("--audience", default="")
    parser.add_argument("--reason", required=True)


# The database's models exist only once Django is set up, so everything that needs them is imported in the verbs.


def migrate(provider: Provider, options: argparse.Namespace) -> None:
    from django.core.management import call_command

    call_command("migrate", interactive=False, verbosity=0)
    say("the database is at this version")


def update_groups(provider: Provider, options: argparse.Namespace) -> None:
    from farmlet.parts.identity.service.members.members import ensure_groups

    changed = ensure_groups(provider, options.by)
    say(f"groups changed: {', '.join(changed)}" if changed else "groups as they were")


def make_client(provider: Provider, options: argparse.Namespace) -> None:
    from farmlet.parts.identity.service.clients.clients import OWN, ensure_client

    changed = ensure_client(
        provider,
        options.id,
        name=options.name,
        public=options.public,
        secret=None if options.public else options.secret,
        grants=options.grant,
        scopes=[scope for text in options.scope for scope in text.split()],
        audiences=[audience for text in options.audience for audience in text.split()],
        lifetimes=(options.access_lifetime, options.refresh_lifetime),
        redirects=options.redirect_uri,
        departures=options.post_logout_uri,
        trusted=options.trusted,
        algorithm=options.algorithm,
        source=OWN if options.own else "manual",
        by=options.by,
    )
    say(f"client {options.id} {'set' if changed else 'was there'}")


def make_token(provider: Provider, options: argparse.Namespace) -> None:
    from farmlet.parts.identity.service.admin.break_glass import break_glass

    token = break_glass(provider, options.member, options.scope.split(), options.audience, reason=options.reason, by=options.by)
    print(token)
