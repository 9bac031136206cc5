"""The verbs of `farmlet-identity client`. But for `ensure` they answer in JSON, which `farmlet client` puts into words."""

from __future__ import annotations

import argparse

from farmlet.parts.identity.service.admin.output import say, show
from farmlet.parts.identity.service.clients import edit
from farmlet.parts.identity.service.clients.clients import OWN, ensure_client
from farmlet.parts.identity.service.django.project import Provider


def ensure(provider: Provider, options: argparse.Namespace) -> None:
    changed = ensure_client(
        provider,
        options.id,
        name=options.name,
        public=options.public,
        secret=None if options.public else options.secret,
        grants=options.grant,
        scopes=edit.split(options.scope),
        audiences=edit.split(options.audience),
        lifetimes=(options.access_lifetime, options.refresh_lifetime),
        redirects=options.redirect_uri,
        departures=options.post_logout_uri,
        trusted=options.trusted,
        algorithm=options.algorithm,
        source=OWN if options.own else "manual",
        by=options.by,
    )
    say(f"client {options.id} {'set' if changed else 'was there'}")


def list_(provider: Provider, options: argparse.Namespace) -> None:
    show(edit.list_clients())


def show_(provider: Provider, options: argparse.Namespace) -> None:
    show(edit.describe(edit.find(options.id)))


def set_(provider: Provider, options: argparse.Namespace) -> None:
    client, secret = edit.set_client(provider, options.id, vars(options), options.by)
    show(edit.describe(client) | ({"client_secret": secret} if secret else {}))


def remove_(provider: Provider, options: argparse.Namespace) -> None:
    show(edit.remove(provider, options.id, options.by))
