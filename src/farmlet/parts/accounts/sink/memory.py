"""A sink in memory, for tests and for trying things out."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from farmlet.parts.accounts.sink.sink import Held, Outcome
from farmlet.parts.accounts.sink.state import Account


class Memory:
    """An `AccountSink`. `accounts`: those that are there, by name; who was removed is not."""

    name = "memory"

    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}

    def look(self) -> Held:
        accounts = tuple(self.accounts.values())
        return Held(accounts, {name: gid for account in accounts for name, gid in account.groups.items()})

    def plan(self, accounts: Sequence[Account], held: AbstractSet[str] = frozenset()) -> Outcome:
        wanted = self._want(accounts, held)
        names = sorted(name for name in {*wanted, *self.accounts} if wanted.get(name) != self.accounts.get(name))
        return Outcome(tuple(f"member {name}: {_show(self.accounts.get(name))} → {_show(wanted.get(name))}" for name in names))

    def sync(self, accounts: Sequence[Account], held: AbstractSet[str] = frozenset()) -> Outcome:
        outcome = self.plan(accounts, held)
        self.accounts = self._want(accounts, held)
        return outcome

    def _want(self, accounts: Sequence[Account], held: AbstractSet[str]) -> dict[str, Account]:
        told = {one.name: one for one in accounts if one.state != "removed" and (one.name not in held or not one.active)}
        removed = {one.name for one in accounts if one.state == "removed"}
        stay = {name: one for name, one in self.accounts.items() if name in held and name not in removed}
        return stay | told


def _show(account: Account | None) -> str:
    return f"{account.state} {','.join(account.groups)}".strip() if account else "none"
