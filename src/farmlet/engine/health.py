"""Whether a facility works: its checks, run now by the node agents' own code, on the nodes where they must hold."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from farmlet.engine.deployment import Deployment
from farmlet.engine.layout import CHECKS
from farmlet.errors import Errors, FarmletError, InputError
from farmlet.parts import units

# it ends with 1 when a check fails; the results are what counts
CHECK = f'{units.NODE}/bin/python -m farmlet.parts.base.agent --check "$@"; code=$?'
RELOAD = "systemctl reload farmlet-agent.service"  # after all checks the agent runs them too: `farmlet status` is as new as this
END = "[ $code -le 1 ]"
SILENT = "base.agent"  # stands for all checks of a node that does not answer
SECONDS = 60.0  # for a node's checks together: its agent gives up each by itself, a few at a time
SETTLE_SECONDS = 90.0  # certificates and tokens reach the nodes, daemons find each other
PAUSE = 0.5


def check_now(deployment: Deployment, names: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Run all checks, or only those of these names or parts: [{"check", "node", "ok", "seconds", "evidence"}].

    Nodes that were away from the `up` just made are not asked. One that does not answer is a failed check `base.agent`,
    whatever the names. Raises InputError for a name that no check has.
    """
    nodes = [node for node in deployment.facility.nodes if node not in deployment.away]
    with ThreadPoolExecutor(max_workers=8) as pool:
        results = list(pool.map(lambda node: _check_node(deployment, node, names), nodes))
    rows = [row for found in results for row in found]
    unknown = [name for name in names if not any(f"{row['check']}.".startswith(f"{name}.") for row in rows)]
    if any(row["check"] == SILENT for row in rows):  # whose checks nobody can list: the part at least must be there
        unknown = [name for name in unknown if name.split(".")[0] not in deployment.layout.parts]
    if unknown:
        answering = {row["node"] for row in rows if row["check"] != SILENT}
        known = sorted({name for node in nodes if node in answering for name in _list_names(deployment, node)})
        hint = f"checks: {', '.join(known)}" if known else f"parts: {', '.join(deployment.layout.parts)}"  # where no node answers
        raise InputError(f"check {' '.join(unknown)}", "there is no such check", hint)
    return rows


def _list_names(deployment: Deployment, node: str) -> list[str]:
    return [check["name"] for check in json.loads(deployment.run(node, ["cat", CHECKS]))["checks"]]


def _check_node(deployment: Deployment, node: str, names: Sequence[str]) -> list[dict[str, Any]]:
    script = "; ".join((CHECK, END) if names else (CHECK, RELOAD, END))
    try:
        rows = json.loads(deployment.run(node, ["sh", "-c", script, "sh", *names], timeout=SECONDS))
    except (FarmletError, ValueError) as error:
        evidence = error.what if isinstance(error, FarmletError) else str(error)
        return [{"check": SILENT, "node": node, "ok": False, "seconds": 0.0, "evidence": evidence}]
    keys = ("check", "ok", "seconds", "evidence")
    return [{"node": node} | {key: row[key] for key in keys} for row in rows]


def find_causes(failed: Sequence[dict[str, Any]], after: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    """Of failed checks those that do not fail because another of them does."""
    names = {row["check"] for row in failed}
    return [row for row in failed if names.isdisjoint(after.get(row["check"], ()))]


def _list_again(failed: Sequence[dict[str, Any]], known: set[str], deployment: Deployment) -> list[str]:
    """The checks that failed, and of the `known` those that may tell why; all (empty) when none failed or a node is silent."""
    names = {row["check"] for row in failed}
    if not names or SILENT in names:
        return []
    reasons = {reason for name in names for reason in deployment.layout.after.get(name, ())}
    return sorted(names | known & (reasons | deployment.layout.by_hand))


def explain(row: Mapping[str, Any], by_hand: bool) -> FarmletError:
    """A failed check with the next step."""
    hint = "then repeat: farmlet up" if by_hand else "farmlet logs; farmlet check"
    return FarmletError(f"{row['node']}: {row['check']}", row["evidence"], hint)


def wait_healthy(deployment: Deployment, seconds: float = SETTLE_SECONDS) -> None:
    """Wait until every check of the facility's own holds; Errors with the evidence of those that do not.

    Others that do not hold are told, and that is all. What only follows from another (`Check.after`) is not told beside it. What
    a person has to do is told at once and alone: any other may be waiting for it.
    """
    end, external, by_hand = time.monotonic() + seconds, deployment.layout.external, deployment.layout.by_hand
    known = set[str]()
    again: list[str] = []  # only these are run until they hold, then all once more
    with deployment.report.phase("checks"):
        while True:
            found = check_now(deployment, again)
            rows = find_causes([row for row in found if not row["ok"]], deployment.layout.after)
            failed = [row for row in rows if row["check"] not in external]
            if not failed and not again:
                break
            known |= {row["check"] for row in found}
            again = _list_again(failed, known, deployment)
            if not failed:
                continue
            if asked := [row for row in failed if row["check"] in by_hand]:
                raise Errors([explain(row, by_hand=True) for row in asked])
            if time.monotonic() > end:
                raise Errors([explain(row, by_hand=False) for row in failed])
            time.sleep(PAUSE)
    for row in rows:
        deployment.report.say(f"  ! {row['node']}: {row['check']}: {row['evidence']}")
