"""The verbs of `farmlet-identity` that keep the house: `up` and a timer run them, administrators may at any time."""

from __future__ import annotations

import argparse
from typing import Any

from django.core.management import call_command

from farmlet.parts.identity.service.admin import pruning
from farmlet.parts.identity.service.admin.output import say, show
from farmlet.parts.identity.service.django.project import Provider
from farmlet.parts.identity.service.keys import rotation
from farmlet.parts.identity.service.keys.keys import ensure_keys
from farmlet.parts.identity.service.members import members, membership


def migrate(provider: Provider, options: argparse.Namespace) -> None:
    call_command("migrate", interactive=False, verbosity=0)
    say("the database is at this version")


def ensure_groups(provider: Provider, options: argparse.Namespace) -> None:
    changed = members.ensure_groups(provider, options.by)
    say(f"groups changed: {', '.join(changed)}" if changed else "groups as they were")


def make_keys(provider: Provider, options: argparse.Namespace) -> None:
    made = ensure_keys(provider.configuration.keys)
    keys = provider.keys.held()
    for slot in made:
        provider.record("key.made", kid=keys[slot].kid, algorithm=slot.algorithm, by=options.by)
    say(f"signing keys made: {', '.join(slot.algorithm for slot in made)}" if made else "signing keys were there")


def list_keys(provider: Provider, options: argparse.Namespace) -> None:
    _tell(rotation.describe(provider.keys, provider.configuration.lifetimes.access), options.json)


def rotate_keys(provider: Provider, options: argparse.Namespace) -> None:
    folder, lifetime = provider.configuration.keys, provider.configuration.lifetimes.access
    before = {str(key.kid) for key in provider.keys.held().values()} if folder.is_dir() else set()
    if options.now:
        rotation.replace(folder)
    else:
        rotation.rotate(folder, lifetime, begin=options.next, ahead=provider.keys.ahead)
    shown = rotation.describe(provider.keys, lifetime)
    after = {str(item["kid"]) for item in shown}
    # the keys come first here: an emergency must not wait for a log that cannot be written
    if before != after:
        made, gone = sorted(after - before), sorted(before - after)
        provider.record("keys.replaced" if options.now else "keys.rotated", made=made, gone=gone, by=options.by)
    _tell(shown, options.json)


def prune(provider: Provider, options: argparse.Namespace) -> None:
    found = pruning.prune(provider)
    told = ", ".join(f"{count} {name}" for name, count in found.items() if count)
    show(found, None if options.json else f"deleted: {told or 'nothing'}")


def expire(provider: Provider, options: argparse.Namespace) -> None:
    names = membership.expire(provider, options.by)
    show({"expired": names}, None if options.json else "\n".join(names))


def _tell(keys: list[dict[str, Any]], as_json: bool) -> None:
    lines = []
    for item in keys:
        times = [f"{word} {item[word][:16]}" for word in ("made", "from", "until") if word in item]
        lines.append("  ".join([item["kid"], item["algorithm"], f"{item['state']:<5}", *times]))
    show(keys, None if as_json else "\n".join(lines))
