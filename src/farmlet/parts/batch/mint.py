"""Makes the pool tokens of the nodes, on the central manager, as root: `python -m farmlet.parts.batch.mint CONFIG`.

CONFIG is JSON: {"identity", "key": path of the pool's signing key, "lifetime": seconds, "outbox", "item", "nodes": {name:
[authorisation, …]}}. Each token goes to `outbox/<node>/<item>`, from where only that node's agent gets it. A token is
made again when it has spent a third of its life, or is older than the key or the configuration.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from farmlet.errors import FarmletError
from farmlet.runtime.files import write

PATIENCE = 60.0  # seconds the collector may take to make its key at the first start


def wait_key(path: Path, patience: float = PATIENCE) -> None:
    """Return once the pool's key is there; FarmletError after `patience` seconds."""
    deadline = time.monotonic() + patience
    while not (path.exists() and path.stat().st_size):
        if time.monotonic() >= deadline:
            raise FarmletError(str(path), f"no signing key after {patience:.0f} s", "is the collector up? condor_status")
        time.sleep(0.2)


def is_fresh(token: Path, lifetime: int, older: Sequence[Path]) -> bool:
    """Whether `token` (life in seconds) has most of its life before it and is younger than the files `older`."""
    try:
        made = token.stat().st_mtime
    except OSError:
        return False
    return time.time() - made < lifetime / 3 and all(path.stat().st_mtime <= made for path in older)


def create(identity: str, rights: Sequence[str], lifetime: int) -> bytes:
    """A token signed by the pool's key. Raises FarmletError with what HTCondor said."""
    command = ["condor_token_create", "-identity", identity, "-lifetime", str(lifetime)]
    command += [word for right in rights for word in ("-authz", right)]
    done = subprocess.run(command, capture_output=True, timeout=30, stdin=subprocess.DEVNULL)
    token = done.stdout.strip()
    # it reports some failures on its output only
    if done.returncode or token.count(b".") != 2:
        raise FarmletError("condor_token_create", done.stderr.decode(errors="replace").strip() or "gave no token")
    return token + b"\n"


def ensure(config: Mapping[str, Any], source: Path) -> list[str]:
    """Make the tokens that are due and take away those of nodes that need none any more; the nodes' names it served."""
    key, outbox, item, nodes = Path(config["key"]), Path(config["outbox"]), config["item"], config["nodes"]
    wait_key(key)
    for path in outbox.glob(f"*/{item}"):
        if path.parent.name not in nodes:
            path.unlink()
    served = []
    for name, rights in nodes.items():
        path = outbox / name / item
        if not is_fresh(path, config["lifetime"], (key, source)):
            write(path, create(config["identity"], rights, config["lifetime"]), 0o640)
            served.append(name)
    return served


def main(arguments: Sequence[str]) -> int:
    source = Path(arguments[0])
    try:
        served = ensure(json.loads(source.read_text()), source)
    except (FarmletError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"pool tokens made for: {', '.join(served) or 'nobody, all are fresh'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
