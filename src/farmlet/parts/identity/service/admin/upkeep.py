"""The verbs of `farmlet-identity` that keep the house: a timer runs them, administrators may at any time."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from farmlet.parts.identity.service.admin.output import say, show
from farmlet.parts.identity.service.django.project import Provider
from farmlet.parts.identity.service.keys import rotation
from farmlet.parts.identity.service.keys.keys import ensure_keys

Add = Callable[..., argparse.ArgumentParser]


def register(verbs: Any, add: Add) -> None:
    """Put the verbs on the command line; `add` is the command's own way to do so."""
    keys = verbs.add_parser("keys", help="signing keys").add_subparsers(required=True, metavar="VERB")
    add(keys, "ensure", make_keys, "make signing keys where there are none")
    add(keys, "list", list_keys, "all keys and what they are for").add_argument("--json", action="store_true")
    rotate = add(keys, "rotate", rotate_keys, "do what is due: make, use and delete keys; safe to repeat")
    when = rotate.add_mutually_exclusive_group()
    when.add_argument("--next", action="store_true", help="make successors now, calmly; they sign in an hour")
    when.add_argument("--now", action="store_true", help="emergency: new keys at once, all older ones gone at once")
    rotate.add_argument("--json", action="store_true")
    add(verbs, "prune", prune, "delete what has ended").add_argument("--json", action="store_true")


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
    from farmlet.parts.identity.service.admin.pruning import prune

    found = prune(provider)
    text = ", ".join(f"{count} {name}" for name, count in found.items() if count)
    show(found, options.json, f"deleted: {text or 'nothing'}")


def _tell(keys: list[dict[str, Any]], as_json: bool) -> None:
    lines = []
    for item in keys:
        times = [f"{word} {item[word][:16]}" for word in ("made", "from", "until") if word in item]
        lines.append("  ".join([item["kid"], item["algorithm"], f"{item['state']:<5}", *times]))
    show(keys, as_json, "\n".join(lines))
