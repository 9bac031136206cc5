"""What the loader needs to know of parts. It cannot import them (imports run one way), so they are passed in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from pydantic import BaseModel

    from farmlet.facility.model import Facility, Issuer, Route

Place: TypeAlias = Literal["control", "members", "every", "named", "routes"]

# something wrong with the facility as a whole: the keys of the file where it is best mended, what it is, and a hint
Issue: TypeAlias = tuple[tuple[str | int, ...], str, str]


class RoleSpec(Protocol):
    """A role: where a part named without role puts it, its web services, and the TCP ports it opens (see `spread`)."""

    @property
    def name(self) -> str: ...
    @property
    def place(self) -> Place: ...
    @property
    def ports(self) -> tuple[int, ...]: ...
    @property
    def routes(self) -> tuple[Route, ...]: ...
    @property
    def with_role(self) -> str | None:
        """`part.role` that this role goes with, wherever that is."""


class PartSpec(Protocol):
    """A part: its roles, and the pydantic model of its section of the facility file; `spread` tells how its roles are placed."""

    @property
    def name(self) -> str: ...
    @property
    def roles(self) -> tuple[RoleSpec, ...]: ...
    @property
    def section(self) -> type[BaseModel] | None: ...
    @property
    def implicit(self) -> bool:
        """Whether every node has it unasked."""

    @property
    def decides(self) -> int:
        """Its rank among the parts whose node is the control node, 1 before 2; 0: it is none of these."""

    @property
    def shell(self) -> bool:
        """Whether members run code on the nodes that list it."""

    @property
    def issuer(self) -> Callable[[Any], Issuer | None]:
        """The issuer that its section names in its stead: with one, the part is on no node."""

    @property
    def validate(self) -> Callable[[Facility], Iterable[Issue]]:
        """The issues of the whole facility that this part sees; called although sections or groups have faults of their own."""


Catalog: TypeAlias = Mapping[str, PartSpec]
