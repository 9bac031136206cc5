"""Whether an image does what it shall: its Python starts, a notebook runs, its server and a Hub go together, and its own test
ends well. Standard library only."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from farmlet.errors import FarmletError
from farmlet.runtime import program

SECONDS = 300
# an ordinary user with nothing of the node but its kernel: what is in an image comes from people we do not know
CONFINED = (
    "MountAPIVFS=yes",
    "PrivateNetwork=yes",
    "PrivateDevices=yes",
    "ProtectSystem=strict",
    "TemporaryFileSystem=/tmp:mode=1777 /var/tmp:mode=1777",
    "CapabilityBoundingSet=",
    "NoNewPrivileges=yes",
    "RestrictNamespaces=yes",
    "MemoryMax=2G",
    "TasksMax=512",
    f"RuntimeMaxSec={SECONDS}",
)


@dataclass(frozen=True)
class Told:
    """What was found in an image: versions by name."""

    hub: str
    python: Mapping[str, str]
    debian: Mapping[str, str]


def run(root: Path, name: str, script: str, hub: str) -> Told:
    """Test the image `name` at `root`; `script` (bash) is its own test, `hub` the version of the Hub. Raises FarmletError."""
    said = enter(root, ["/usr/bin/python3", "-c", read("probe.py")], f"image {name}: a notebook in it")
    try:
        found = json.loads(said.splitlines()[-1])
        told = Told(str(found["hub"]), dict(found["python"]), list_debian(root))
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise FarmletError(f"image {name}", "does not say what is in it", "its Python prints on its own") from error
    if hub and told.hub.partition(".")[0] != hub.partition(".")[0]:
        what = f"has JupyterHub {told.hub or 'not at all'}, and the facility's is {hub}"
        raise FarmletError(f"image {name}", what, "leave jupyterhub to the image that it is from")
    if hub:
        enter(root, ["/usr/bin/python3", "-c", read("handshake.py"), hub], f"image {name}: a server in it")
    if script.strip():
        enter(root, ["/bin/bash", "-euo", "pipefail", "-c", script], f"image {name}: its test")
    return told


def read(name: str) -> str:
    return files(__package__).joinpath("templates", name).read_text()


def enter(root: Path, words: Sequence[str], where: str) -> str:
    """What a program says inside; standard output. Raises FarmletError with the end of what it complained in."""
    unit = ["systemd-run", "--quiet", "--pipe", "--wait", "--collect", "--uid=nobody", "--working-directory=/tmp"]
    unit += [f"--property={one}" for one in (f"RootDirectory={root}", *CONFINED)]
    unit += [f"--setenv={one}" for one in ("HOME=/tmp", "LANG=C.UTF-8", "PATH=/usr/local/bin:/usr/bin:/bin", "MPLCONFIGDIR=/tmp")]
    try:
        done = subprocess.run(
            [*unit, "--", *words],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SECONDS + 30,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired as error:
        raise FarmletError(where, f"did not end within {SECONDS} s") from error
    if done.returncode:
        said = "\n  ".join((done.stderr or done.stdout).strip().splitlines()[-8:])
        raise FarmletError(where, f"ended with {done.returncode}" + (f"\n  {said}" if said else ""))
    return done.stdout


def list_debian(root: Path) -> dict[str, str]:
    """Debian packages of the image and their versions."""
    asked = ["dpkg-query", f"--admindir={root}/var/lib/dpkg", "-W", "-f", "${Package} ${Version}\n"]
    return dict(line.split(" ", 1) for line in program.run(asked, f"image {root.name}").decode().splitlines())


def measure(root: Path) -> int:
    """Bytes of disk below `root`."""
    return int(program.run(["du", "-s", "--block-size=1", f"{root}/"], seconds=None).split()[0])
