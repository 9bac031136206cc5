"""The verbs of `farmlet-identity client` for administrators."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from farmlet.parts.identity import programs
from farmlet.parts.identity.service.admin.output import show
from farmlet.parts.identity.service.django.project import Provider

# The database's models exist only once Django is set up, so everything that needs them is imported in the verbs.


def register(parsers: Any, add: Callable[..., argparse.ArgumentParser]) -> None:
    """Put the verbs into the command line; `add(parsers, name, call, help)` makes the parser of one."""
    calls = {"list": list_, "show": show_, "set": set_, "remove": remove}
    for verb, text in programs.VERBS.items():
        parser = add(parsers, verb, calls[verb], text)
        programs.describe(parser, verb)
        parser.add_argument("--json", action="store_true")


def list_(provider: Provider, options: argparse.Namespace) -> None:
    from farmlet.parts.identity.service.clients.edit import list_clients

    shown = list_clients()
    show(shown, options.json, "\n".join(f"{one['client_id']:<34} {one['of']:<10} {one['name']}" for one in shown))


def show_(provider: Provider, options: argparse.Namespace) -> None:
    from farmlet.parts.identity.service.clients.edit import describe, find

    shown = describe(find(options.id))
    show(shown, options.json, "\n".join(f"{key:<16} {value}" for key, value in shown.items()))


def set_(provider: Provider, options: argparse.Namespace) -> None:
    from farmlet.parts.identity.service.clients.edit import describe, set_client

    client, secret = set_client(provider, options.id, vars(options), options.by)
    shown = describe(client) | ({"client_secret": secret} if secret else {})
    show(shown, options.json, f"client {options.id} is set" + (f"\n{secret}" if secret else ""))


def remove(provider: Provider, options: argparse.Namespace) -> None:
    from farmlet.parts.identity.service.clients.edit import remove as end

    show(end(provider, options.id, options.by), options.json, f"client {options.id} is removed")
