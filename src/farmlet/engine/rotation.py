"""New keys for a running facility; and, where the old ones may be known to others, who must forget these at once."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from farmlet.engine.deployment import Deployment
from farmlet.engine.identity import ask
from farmlet.errors import FarmletError


@dataclass(frozen=True)
class Rotated:
    """What a rotation came to.

    `keys`: the keys there are now, as the part that holds them describes them. `forgot`: `node` and `role` of who dropped
    what they had kept of the old ones; `failed`: those that could not, with `error`. `left`: what remains elsewhere, in words.
    """

    keys: list[dict[str, Any]]
    forgot: list[dict[str, str]] = field(default_factory=list)
    failed: list[dict[str, str]] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


def rotate_issuer(deployment: Deployment, now: bool, by: str) -> Rotated:
    """Give identity new signing keys: calmly, or `now`, so that what the old ones signed is refused everywhere ≤ 60 s."""
    found = json.loads(ask(deployment, "keys", "turn", "--now" if now else "--next", "--by", by, "--json"))
    if not now:
        return Rotated(found)
    forgot, failed = _forget(deployment)
    return Rotated(found, forgot, failed, _find_left(deployment))


def _forget(deployment: Deployment) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Run each role's own command on each node that has it; a node that fails keeps none of the others waiting."""
    layout, nodes = deployment.layout, deployment.facility.nodes.values()
    work = [(node.name, title, role.forget) for node in nodes for title, role in layout.roles(node) if role.forget]

    def run(item: tuple[str, str, str]) -> dict[str, str]:
        node, title, command = item
        try:
            deployment.run(node, ["sh", "-c", command])
        except FarmletError as error:
            return {"node": node, "role": title, "error": f"{error.where}: {error.what}"}
        return {"node": node, "role": title}

    with ThreadPoolExecutor(max_workers=8) as pool:
        done = list(pool.map(run, work))
    return [item for item in done if "error" not in item], [item for item in done if "error" in item]


def _find_left(deployment: Deployment) -> list[str]:
    """Who is out of reach, and for how long they go on with the old keys."""
    facility = deployment.facility
    left = [
        f"site {name}: its storage keeps the issuer's keys up to 10 minutes; until then it takes tokens of the old key and may "
        "refuse new ones. While the issuer does not answer it keeps them for days: tell its administrators"
        for name in facility.sites
    ]
    if facility.has("access.authority"):
        left.append("SSH certificates: those given for tokens of the old key live on, 12 hours or what the file says")
    return [*left, "members: access tokens at hand are refused; programs get new ones by themselves, refresh tokens stay good"]
