"""Two members and two elements, with the tokens that tests of ways around them are about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from element import DATA, Element, find
from person import Person
from sandbox import Sandbox, until


@dataclass(frozen=True)
class House:
    """In the folders of both members, and in the owner's (`home`) on the other element, lies a file `kept`."""

    sandbox: Sandbox
    here: Element
    there: Element
    owner: Person
    reader: str  # the owner's token that may read all, and write nothing
    writer: str  # the owner's own folder
    other: str  # the other member's folder

    @classmethod
    def furnish(cls, sandbox: Sandbox, name: str, neighbour: str) -> Self:
        """With two new members."""
        here, there = find(sandbox)
        owner, other = (Person.join(sandbox, one, "lab") for one in (name, neighbour))
        until(lambda: owner.try_ssh("true").returncode == 0, 30)
        writer, theirs = (
            one.authorise(f"storage.read:/users/{one.name} storage.modify:/users/{one.name}").access_token
            for one in (owner, other)
        )
        made = cls(sandbox, here, there, owner, owner.authorise("storage.read:/").access_token, writer, theirs)
        assert here.put(f"{made.home}/kept", writer, b"kept") == 201
        assert here.put(f"/users/{neighbour}/kept", theirs, f"{neighbour}'s".encode()) == 201
        assert there.put(f"{made.home}/kept", writer, b"there") == 201
        return made

    @property
    def home(self) -> str:
        return f"/users/{self.owner.name}"

    def exists(self, path: str) -> bool:
        """Whether something lies there on the facility's element."""
        return self.sandbox.exec("head", f"test -e '{DATA}{path}' && echo yes || true") == "yes"

    def list(self, folder: str) -> list[str]:
        return sorted(self.sandbox.exec("head", f"ls -A {DATA}{folder}").split())
