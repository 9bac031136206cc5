"""Makes HTCondor's tokens where a signing key is, as root: `python -m farmlet.parts.batch.mint CONFIG`.

CONFIG is JSON with what is wanted of {"pool": {"identity", "key": path of the pool's signing key, "lifetime": seconds,
"outbox", "item", "nodes": {name: [authorisation, …]}}, "reader": {"identity", "key", "lifetime", "path"}, "share": arguments
of `readers.share`}. A pool token goes to `outbox/<node>/<item>`, from where only that node's agent gets it. A token is made
again when it has spent a third of its life, or is older than the key or the configuration.
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
from farmlet.parts.batch import readers
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


def create(key: Path, identity: str, rights: Sequence[str], lifetime: int) -> bytes:
    """A token signed by `key`, which HTCondor knows by its name. Raises FarmletError with what HTCondor said."""
    command = ["condor_token_create", "-key", key.name, "-identity", identity, "-lifetime", str(lifetime)]
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
            write(path, create(key, config["identity"], rights, config["lifetime"]), 0o640)
            served.append(name)
    return served


def ensure_reader(config: Mapping[str, Any], source: Path) -> None:
    """Make the token that reads, if it is due."""
    key, path = Path(config["key"]), Path(config["path"])
    wait_key(key)
    if not is_fresh(path, config["lifetime"], (key, source)):
        write(path, create(key, config["identity"], ["READ"], config["lifetime"]), 0o600)


def main(arguments: Sequence[str]) -> int:
    source = Path(arguments[0])
    try:
        config = json.loads(source.read_text())
        served = ensure(config["pool"], source) if "pool" in config else []
        if "reader" in config:
            ensure_reader(config["reader"], source)
        if told := config.get("share"):
            folders = {name: Path(told[name]) for name in ("own", "inbox", "outbox")}
            for fault in readers.share(**{**told, **folders}):
                print(fault, file=sys.stderr)
    except (FarmletError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    if served:
        print(f"pool tokens made for: {', '.join(served)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
