"""How long a log-in takes while another member does harm on the same node: a fork bomb that goes on, and one that rests.

The peer is the same member's log-in on the node at rest, in the same run.
"""

from __future__ import annotations

import os
import secrets
import sys
import time

from logins import facility, wait
from record import ROOT, record

sys.path.insert(0, str(ROOT / "tests" / "facility"))
from person import Person
from sandbox import Sandbox
from test_3_limits import BOMB, BOMBS

ROUNDS = int(os.environ.get("ROUNDS", "3"))
LOG_INS = 12  # of each round


def join(sandbox: Sandbox, name: str) -> Person:
    person = Person.join(sandbox, f"{name}{secrets.token_hex(3)}", "lab")
    wait(lambda: person.try_ssh("true").returncode == 0)
    return person


def time_log_ins(person: Person) -> list[float]:
    """Seconds of each, one after another."""
    found = []
    for _ in range(LOG_INS):
        began = time.monotonic()
        person.ssh("true")
        found.append(time.monotonic() - began)
    return found


def measure(sandbox: Sandbox, quiet: Person, kind: str) -> list[float]:
    """The quiet member's log-ins, begun at once with the bomb of another, who is suspended afterwards."""
    other = join(sandbox, "bomb")
    bomb = other.start(BOMBS[kind].format(BOMB=BOMB) if kind == "busy" else BOMBS[kind])
    found = time_log_ins(quiet)
    sandbox.run("user", "suspend", other.name)
    bomb.kill()
    bomb.wait()
    return found


def main() -> None:
    with facility() as sandbox:
        quiet = join(sandbox, "quiet")
        rest = [each for _ in range(ROUNDS) for each in time_log_ins(quiet)]
        rows = {kind: [each for _ in range(ROUNDS) for each in measure(sandbox, quiet, kind)] for kind in BOMBS}
    record("log-in, the node at rest", "peer", "s", rest, f"{LOG_INS} log-ins, {ROUNDS} rounds, client included")
    for kind, words in (("shell", "that rests once it is refused"), ("busy", "that goes on, until the guard ends it")):
        record(f"log-in beside a fork bomb {words}", "≤ 2 s", "s", rows[kind], "another member's, on the same node")


if __name__ == "__main__":
    main()
