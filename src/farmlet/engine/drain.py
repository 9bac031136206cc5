"""A node that leaves the facility: it takes nothing new, what runs there ends by itself, and only then it goes."""

from __future__ import annotations

import time
from collections.abc import Sequence

from farmlet.engine.deployment import Deployment
from farmlet.engine.preflight import Busy
from farmlet.errors import Errors, FarmletError, InputError
from farmlet.facility.model import Node
from farmlet.parts.part import Role

PAUSE = 2.0


class Drain:
    """One node of a facility, in its file or left of an earlier one, and what its roles know about emptying it."""

    def __init__(self, deployment: Deployment, name: str) -> None:
        self.deployment, self.name = deployment, name
        self.node: Node = deployment.find(name)
        self.roles: Sequence[tuple[str, Role]] = deployment.layout.roles(self.node)

    def refuse_control(self) -> None:
        if self.name == self.deployment.facility.controller:
            what = "is the control node, without which there is no facility"
            raise InputError(f"node {self.name}", what, "farmlet down --purge removes the whole facility")

    def refuse_running(self) -> None:
        target = self.deployment.target(self.name)
        if target.driver.state(target.machine) == "running":
            raise InputError(f"node {self.name}", "is not lost: it runs", f"farmlet node remove {self.name}")

    def refuse_what_stays(self) -> None:
        """Errors for each thing that would be missed without this node."""
        facility = self.deployment.facility
        errors: list[FarmletError] = []
        for title, role in self.roles:
            if role.data and not role.leave:
                errors.append(self._stays(title, role.data, f"move it away and take {title.split('.')[0]} out of `runs` first"))
            if role.shares and not [node for node in facility.hosts(title) if node.name != self.name]:
                errors.append(self._stays(title, role.shares, f"let another node run {role.with_role or title} first"))
        if errors:
            raise Errors(errors)

    def _stays(self, title: str, paths: Sequence[str], hint: str) -> InputError:
        return InputError(f"node {self.name}", f"{title} has data here and nowhere else: {', '.join(paths)}", hint)

    def close(self) -> None:
        """Take nothing new from now on. Safe to repeat."""
        self._note(time.strftime("%F %T"))
        self._each("close")

    def open(self) -> None:
        """Take part again."""
        self._each("open")
        self._note(None)

    def _note(self, since: str | None) -> None:
        store = self.deployment.store
        others = {name: one for name, one in store.load().get("drained", {}).items() if name != self.name}
        store.save(drained=others | ({self.name: since} if since else {}))

    def _each(self, verb: str) -> None:
        for title, role in self.roles:
            if role.leave:
                with self.deployment.report.phase(f"{self.name}: {verb} {title}"):
                    self._run(getattr(role.leave, verb))

    def busy(self) -> list[Busy]:
        """What still runs there."""
        return self.deployment.list_busy(self.name, self.roles)

    def _run(self, command: str) -> str:
        return self.deployment.run(self.name, ["env", f"FARMLET_NODE={self.name}", "sh", "-ec", command])

    def wait(self, minutes: float) -> list[Busy]:
        """What still runs when nothing does any more, or after `minutes`."""
        end = time.monotonic() + 60 * minutes
        while (left := self.busy()) and time.monotonic() < end:
            time.sleep(min(PAUSE, max(end - time.monotonic(), 0)))
        return left

    def remove(self) -> None:
        """Remove what was made of the node, and forget it. A host is left alone."""
        deployment = self.deployment
        with deployment.report.phase(f"{self.name}: remove"):
            target = deployment.target(self.name)
            target.driver.stop(target.machine)  # its services take leave, or the pool goes on offering its slots
            target.driver.remove(target.machine)
            deployment.forget(self.name)
