"""Which UNIX names and numbers were ever somebody's, as the nodes know it. Standard library only.

The accounts daemon writes it, and whoever gives names and numbers reads it: a database may be restored from before the last ones
or be empty, while files on the nodes keep their owners.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from farmlet.errors import FarmletError
from farmlet.runtime.files import write

Kind = Literal["member", "group"]


@dataclass(frozen=True)
class Bearer:
    """Whose a name and number are: `sub` is what their source calls a member."""

    sub: str
    uid: int


@dataclass(frozen=True)
class Seen:
    """By UNIX name: the members, also those who are no more, and the numbers of groups."""

    members: Mapping[str, Bearer] = field(default_factory=dict)
    groups: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path | None) -> Seen:
        """What is in the file; nothing where there is none. Raises FarmletError: what cannot be read may be what matters."""
        if path is None:
            return cls()
        try:
            found = json.loads(path.read_text())
            members = {str(name): Bearer(str(sub), int(uid)) for name, (sub, uid) in found["members"].items()}
            return cls(members, {str(name): int(gid) for name, gid in found["groups"].items()})
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            hint = "where it is broken, remove it: the accounts daemon writes it anew"
            raise FarmletError(str(path), f"cannot be read: {error!r}", hint) from error

    def save(self, path: Path) -> None:
        """No secret: whoever may look at the directory knows it. Raises OSError."""
        members = {name: (one.sub, one.uid) for name, one in self.members.items()}
        write(path, json.dumps({"members": members, "groups": dict(self.groups)}).encode(), 0o644)

    def first(self, kind: Kind, base: int) -> int:
        """The first number that may be given: `base`, or the one after the highest that was."""
        numbers = [one.uid for one in self.members.values()] if kind == "member" else list(self.groups.values())
        return max([base, *(number + 1 for number in numbers)])
