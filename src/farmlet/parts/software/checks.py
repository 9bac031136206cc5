"""Whether the software images are there and run."""

from __future__ import annotations

import json
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

from farmlet.parts import images
from farmlet.runtime.checks import Failed

LATE = 3 * 3600  # seconds without a look at the registries, which are asked each hour


def check_image(path: str) -> str:
    """The published image carries its stamp, and its last test ended well."""
    place = Path(path)
    row = images.load(place.parent).get(place.name)
    if row is None:
        raise Failed(f"{place.name} was never built: farmlet images build {place.name}")
    if row.error:
        still = "; the one before is offered still" if row.offered else ""
        raise Failed(" ".join(row.error.split()) + still)
    stamp = place / "etc/farmlet-image"
    if not stamp.is_file():
        raise Failed(f"{path} is not a built image")
    name, digest = stamp.read_text().split()
    return f"{name} {digest[:12]} at {path}, {row.size >> 20} MiB"


def check_run(path: str) -> str:
    """Apptainer starts the image as an ordinary user and its Python answers."""
    # in a unit of its own: the agent's hardening would keep Apptainer from mounting /proc
    unit = ["systemd-run", "--quiet", "--pipe", "--wait", "--collect", "--uid=nobody", "--working-directory=/"]
    command = ["apptainer", "exec", "--containall", path, "python3", "-c", "import sys; print(sys.version.split()[0])"]
    done = subprocess.run([*unit, *command], capture_output=True, text=True, timeout=30, check=False)
    if done.returncode:
        raise Failed(f"apptainer exec {path}: {done.stderr.strip()[-200:]}")
    return f"Python {done.stdout.strip()} in {path}"


def check_unpacked(folder: str) -> str:
    """Every line of the wish list is an image that is there as its registry has it, and somebody looked lately."""
    place = Path(folder)
    try:
        age = time.time() - json.loads((place / ".state.json").read_text())["run"]
    except (OSError, ValueError, KeyError, TypeError):
        raise Failed("nothing was fetched yet: systemctl status farmlet-unpacked") from None
    rows = images.load(place).values()
    shown = [row for row in rows if row.offered]
    if bad := [row.error for row in rows if row.error]:
        raise Failed(f"{len(bad)} of {len(rows)}: " + "; ".join(" ".join(one.split())[:300] for one in bad[:5]))
    last = max((row.tested for row in shown), default=0.0)
    told = f", the last unpacked {datetime.fromtimestamp(last, UTC):%Y-%m-%d %H:%M} UTC" if last else ""
    evidence = f"{len(shown)} images{told}, registries asked {age / 60:.0f} min ago"
    if age > LATE:
        raise Failed(evidence)
    return evidence


def check_sharing(folder: str) -> str:
    """What is published is packed for those who fetch it, and was looked at lately."""
    path = Path(folder) / "index.json"
    try:
        found, age = json.loads(path.read_text()), time.time() - path.stat().st_mtime
    except (OSError, ValueError):
        raise Failed("nothing was packed yet: systemctl status farmlet-sharing") from None
    size = sum(one["size"] for one in found["files"].values())
    evidence = f"{len(found['shown'])} images for those who fetch, {size >> 20} MiB, looked at {age / 60:.0f} min ago"
    offered = [row["path"] for rows in found["lists"].values() for row in rows["images"] if row["offered"]]
    if missing := [path for path in offered if path not in found["shown"]]:
        raise Failed(f"{evidence}; not packed: {' '.join(missing[:5])}")
    if age > LATE:
        raise Failed(evidence)
    return evidence


def check_mirror(path: str) -> str:
    """All that the facility publishes is here, as it was minutes ago."""
    try:
        found = json.loads(Path(path).read_text())
    except (OSError, ValueError):
        raise Failed("nothing was fetched yet: systemctl status farmlet-mirror") from None
    age = time.time() - found["run"]
    if found["failed"]:
        raise Failed("; ".join(" ".join(one.split())[:300] for one in found["failed"][:5]))
    if age > LATE:
        raise Failed(f"looked {age / 60:.0f} min ago: systemctl status farmlet-mirror")
    return f"as published {age / 60:.0f} min ago"
