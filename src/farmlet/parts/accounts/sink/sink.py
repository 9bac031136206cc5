"""The seam to whoever holds accounts. Implementations: the LDAP directory (`directory`: ours or an existing one), the nodes
(`nodes`), a sink in memory (`memory`).

The daemon goes through its sinks in one order, the directory first: what an earlier one could not do for somebody
holds that person back in the later ones, so that no node is told of a member whom the directory does not know. Ends wait for
nobody: they are safe without the directory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Protocol

from farmlet.parts.accounts.sink.state import Account, Fault


@dataclass(frozen=True)
class Outcome:
    """What a sink did, or would do: a readable line for each change; `faults`: what it could not do."""

    changes: tuple[str, ...] = ()
    faults: tuple[Fault, ...] = ()

    @property
    def held(self) -> frozenset[str]:
        """Names of the members (and groups) for whom something could not be done."""
        return frozenset().union(*(fault.names for fault in self.faults))


@dataclass(frozen=True)
class Held:
    """What a sink holds: accounts as far as it knows them, and the numbers of groups by UNIX name."""

    accounts: Sequence[Account] = ()
    groups: Mapping[str, int] = field(default_factory=dict)


class AccountSink(Protocol):
    """Something whose own side can be made equal to a list of accounts. It never touches what it did not make.

    `held`: names whose accounts are not in order elsewhere. What is there of them stays as it is, nothing new is made, but
    the end of a membership is carried out. Names that are held need not be among the accounts.
    """

    name: str

    def look(self) -> Held:
        """What is there of ours: names and numbers that must never be anybody else's. Raises FarmletError or OSError."""
        ...

    def plan(self, accounts: Sequence[Account], held: AbstractSet[str] = frozenset()) -> Outcome:
        """What `sync` would do now; changes nothing. Raises FarmletError or OSError."""
        ...

    def sync(self, accounts: Sequence[Account], held: AbstractSet[str] = frozenset()) -> Outcome:
        """Make this side equal to the accounts; one that fails does not keep others from theirs.

        Safe to be killed anywhere and called again. Raises FarmletError or OSError when nothing at all can be done.
        """
        ...
