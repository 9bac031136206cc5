"""Signs the SSH host keys that the nodes have left at the control API. Standard library only; run by a path unit and a timer.

    python -m farmlet.parts.access.hostcerts [--config FILE]

For each node: `inbox/<node>/ssh-host-key` → `outbox/<node>/ssh-host-cert`. A node can only speak for itself, since the
control API knows it by its certificate. A certificate that is right and lives long enough is left alone.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from farmlet.errors import FarmletError
from farmlet.parts.access import certificates
from farmlet.runtime.files import write

CONFIG = "/etc/farmlet/ssh.json"
DAYS = 30
RENEW_DAYS = 20


class Signer:
    """`control` is the control API's data, `key` the private key that signs hosts; `nodes` gives the names a node is known by."""

    def __init__(self, control: Path, key: Path, nodes: Mapping[str, Sequence[str]]) -> None:
        self._control, self._key, self._nodes = control, key, nodes

    def ensure(self) -> list[str]:
        """Sign what needs it. Returns what went wrong, one line a node; a key not there yet is no fault."""
        signer = certificates.fingerprint(Path(f"{self._key}.pub").read_text())
        faults = []
        for node in self._nodes:
            try:
                self._ensure(node, signer)
            except (FarmletError, OSError, UnicodeDecodeError) as error:
                faults.append(f"node {node}: {error}")
        return faults

    def _ensure(self, node: str, signer: str) -> None:
        source = self._control / "inbox" / node / "ssh-host-key"
        target = self._control / "outbox" / node / "ssh-host-cert"
        if not source.exists():
            return
        key = certificates.parse(source.read_text())
        names = tuple(self._nodes[node])
        if target.exists() and _holds(target, certificates.fingerprint(key), signer, names):
            return
        request = certificates.Request(key, f"host/{node}", names, f"-5m:+{DAYS}d", host=True)
        write(target, (certificates.sign(self._key, request) + "\n").encode(), 0o640)
        print(f"signed the host key of {node} for {', '.join(names)}", flush=True)


def _holds(path: Path, key: str, signer: str, names: tuple[str, ...]) -> bool:
    try:
        found = certificates.describe(path.read_text())
    except FarmletError:
        return False
    left = found.end - datetime.now(UTC)
    return (found.key, found.signer, found.principals) == (key, signer, names) and left.days >= RENEW_DAYS


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Sign the host keys that nodes left at the control API.")
    parser.add_argument("--config", default=CONFIG)
    config = json.loads(Path(parser.parse_args(arguments).config).read_text())
    control = Path(config["control"])
    # members' certificates are checked by every log-in node: the public half goes to all
    public = Path(f"{config['key']}.pub").read_bytes()
    shared = control / "outbox" / "all" / "ssh-user-ca.pub"
    if not shared.exists() or shared.read_bytes() != public:
        write(shared, public, 0o640)
    faults = Signer(control, Path(config["host_key"]), config["nodes"]).ensure()
    for fault in faults:
        print(fault, file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
