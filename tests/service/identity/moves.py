"""`python moves.py FOLDER`: random moves of people by the real functions over a real database, in a process of its own.

After each of them every active service member has an active person in its owner or below. Django is set up once in a
process, so this is no test function; test_services.py runs it.
"""

from __future__ import annotations

import random
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from farmlet.errors import InputError
from farmlet.facility.rights import GroupRights, Table
from farmlet.parts.identity.service.django.configuration import parse
from farmlet.parts.identity.service.django.project import Provider, start
from farmlet.parts.identity.service.keys.keys import ensure_keys
from farmlet.runtime import audit

GROUPS = ("lab", "lab/production", "lab/production/night", "guests", "board")
ROUNDS, STEPS = 4, 40
VERBS = ("suspend", "remove", "resume", "resume", "join", "leave", "revive", "give")


def prepare(folder: Path) -> Provider:
    table = Table({path: GroupRights(administer=path == "board") for path in GROUPS})
    values = {"issuer": "https://localhost", "title": "", "rights": table.to_json(), "secret_key_file": folder / "secret"}
    configuration = parse(values | {"database": folder / "db.sqlite3", "keys": folder / "keys"}, "moves")
    ensure_keys(configuration.keys)
    provider = start(configuration, "-")
    from django.core.management import call_command

    from farmlet.parts.identity.service.members.members import ensure_groups

    call_command("migrate", verbosity=0)
    ensure_groups(provider, "test")
    return provider


class World:
    """Three people and as many service members as there are owners for."""

    def __init__(self, provider: Provider, number: int) -> None:
        from farmlet.parts.identity.service.members import members, services

        self.provider = provider
        self.people = [f"{name}{number}" for name in ("ada", "bo", "cy")]
        self.services: list[str] = []
        self.seen: set[tuple[str, str]] = set()
        for name in self.people:
            members.add(provider, name, random.sample(GROUPS, 2), display="", email="", state="active", by="test")
        details: dict[str, Any] = {"display": "", "until": None, "scopes": (), "audiences": (), "by": "test"}
        for path in GROUPS:
            name = f"s{number}-{path.replace('/', '-')}"
            with suppress(InputError):
                services.add(provider, name, [path], owner=path, **details)
                self.services.append(name)

    def step(self, verb: str, path: str) -> None:
        """One move; InputError where it is refused."""
        from farmlet.parts.identity.service.members import members, membership

        person, service = random.choice(self.people), random.choice(self.services)
        match verb:
            case "join":
                membership.join_group(self.provider, person, path, "test")
            case "leave":
                membership.leave_group(self.provider, person, path, "test")
            case "give":
                membership.give(self.provider, service, path, "test")
            case "revive":
                members.move(self.provider, service, "resume", "test")
            case _:
                members.move(self.provider, person, verb, "test")

    def check(self) -> None:
        from farmlet.parts.identity.service.django.models import Member

        persons = Member.objects.filter(kind="person").prefetch_related("groups")
        held = {path for person in persons if person.is_active for path in person.paths}
        for each in Member.objects.filter(kind="service").select_related("owner"):
            self.seen.add((each.owner.path, each.state))
            owned = any(path == each.owner.path or path.startswith(f"{each.owner.path}/") for path in held)
            assert owned or each.state != "active", f"{each.name} of {each.owner.path}, people in {held}"


def main(folder: Path) -> None:
    provider = prepare(folder)
    from farmlet.parts.identity.service.members import members

    random.seed(1)
    seen = set()
    for number in range(ROUNDS):
        world = World(provider, number)
        for _ in range(STEPS):
            with suppress(InputError):
                world.step(random.choice(VERBS), random.choice(GROUPS))
            world.check()
        for name in world.people:
            members.move(provider, name, "remove", "test")
            world.check()
        seen |= world.seen
    assert {owner for owner, _ in seen} == set(GROUPS) and {state for _, state in seen} == {"active", "suspended"}
    audit.verify(provider.configuration.audit)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
