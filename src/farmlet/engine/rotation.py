"""A new authority for a running facility; and, where a part has new keys, who must forget the old ones at once."""

from __future__ import annotations

import hashlib
import ssl
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from farmlet.engine.deployment import Deployment
from farmlet.errors import FarmletError
from farmlet.parts.resources import Certificate


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


def rotate_ca(deployment: Deployment, now: bool, by: str) -> Rotated:
    """A new facility authority, and a new renewal authority with a new key; then `up`, which makes all certificates anew.

    There is no calm way: nodes trust one authority, so what the old ones signed is refused as soon as `up` was on a node. A
    command that was cut off is mended by `up`.
    """
    with deployment.store.locked():
        for node, certificate in _find_signing(deployment):
            deployment.run(node, ["rm", "-f", certificate.key, certificate.path])
        authority = deployment.layout.authority()
        authority.replace()
    deployment.up()
    failed = [{"node": name, "role": "base.trust", "error": error.what} for name, error in deployment.away.items()]
    fingerprint = hashlib.sha256(ssl.PEM_cert_to_DER_cert(authority.read())).hexdigest()
    sites = deployment.facility.sites
    left = [
        "members who log in with `farmlet login`: their machines know the old authority, until they log in anew with the new one",
        *(f"site {name}: where its administrators installed the old authority, they install the new one" for name in sites),
        "the keys of the issuer, of SSH and of the pool are as they were",
    ]
    return Rotated([{"kid": fingerprint, "algorithm": "X.509", "state": "signs"}], failed=failed, left=left)


def _find_signing(deployment: Deployment) -> list[tuple[str, Certificate]]:
    """Where there are intermediate authorities: the node, and what `up` wants there."""
    targets = deployment.layout.targets(deployment.store.load().get("keys", {}), deployment.sites())
    resources = [(target.name, one) for target in targets for wanted in target.configure for one in wanted.resources]
    return [(name, one) for name, one in resources if isinstance(one, Certificate) and one.signs]


def forget(deployment: Deployment) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
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
