"""What the loader needs to know of parts. It cannot import them (imports run one way), so they are passed in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from pydantic import BaseModel

    from farmlet.facility.model import Facility

Place: TypeAlias = Literal["control", "members", "every", "named"]

# something wrong with the facility as a whole: the keys of the file where it is best mended, what it is, and a hint
Complaint: TypeAlias = tuple[tuple[str | int, ...], str, str]


class RoleSpec(Protocol):
    """A role: where a part named without role puts it, and the TCP ports it opens for others (see `spread`)."""

    @property
    def name(self) -> str: ...
    @property
    def place(self) -> Place: ...
    @property
    def ports(self) -> tuple[int, ...]: ...
    @property
    def with_role(self) -> str | None:
        """`part.role` that this role goes with, wherever that is."""


class PartSpec(Protocol):
    """A part: its roles, and the pydantic model of its section of the facility file."""

    @property
    def name(self) -> str: ...
    @property
    def roles(self) -> tuple[RoleSpec, ...]: ...
    @property
    def section(self) -> type[BaseModel] | None: ...
    @property
    def judge(self) -> Callable[[Facility], Iterable[Complaint]]:
        """What of the whole facility this part cannot do with; called although sections or groups have faults of their own."""


Catalog: TypeAlias = Mapping[str, PartSpec]
