"""Whether the credential monitor keeps the tokens of jobs fresh. Standard library only."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

from farmlet.parts.tokens.credential import MOST
from farmlet.parts.tokens.notes import REFUSED, WAITS
from farmlet.parts.tokens.source import load_rotating
from farmlet.runtime.checks import Failed

KINDS = ((REFUSED, "refused by their issuer"), (WAITS, "waiting for their members at the issuer"))
SHOWN = 5
STALE = 180.0  # seconds without a finished pass: three times its longest pause


def check_credmon(folder: str) -> str:
    """The monitor runs and has gone through all credentials lately."""
    root = Path(folder)
    try:
        pid = int((root / "pid").read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        age = time.time() - (root / "CREDMON_COMPLETE").stat().st_mtime
    except (OSError, ValueError) as error:
        raise Failed(f"the credential monitor does not run: {error}") from error
    if "credmon" not in command:
        raise Failed(f"process {pid} is not the credential monitor: {command.strip()}")
    if age > STALE:
        raise Failed(f"process {pid} has not finished a pass for {age:.0f} s")
    held, ready = (len(list(root.glob(f"*/*.{kind}"))) for kind in ("top", "use"))
    crowd = Counter(path.parent.name for path in root.glob("*/*.top"))
    many = "".join(f"; of {count} that {name} stored, {MOST} are looked after" for name, count in crowd.items() if count > MOST)
    return f"process {pid}: {held} credentials, {ready} tokens ready{count(root)}{many}"


def check_rotation(path: str, issuer: str) -> str:
    """The issuer, which forgives no answer that is lost, leaves our members' refresh tokens as they are."""
    if clients := sorted(load_rotating(Path(path)).get(issuer, ())):
        names = f"client {clients[0]} rotates its" if len(clients) == 1 else f"clients {', '.join(clients)} rotate their"
        what = "one answer that is lost on the way ends a member's credential; tick “reuse refresh token” there"
        raise Failed(f"{names} refresh tokens at {issuer}: {what}")
    return f"no client is known to rotate the refresh tokens of jobs at {issuer}"


def count(root: Path) -> str:
    """What members have notes about (`notes`)."""
    told = ""
    for kind, words in KINDS:
        found = sorted(f"{path.parent.name}/{path.stem}" for path in root.glob(f"*/*{kind}"))
        shown = ", ".join(found[:SHOWN]) + ("…" if len(found) > SHOWN else "")
        told += f", {len(found)} {words}" + (f" ({shown})" if found else "")
    return told
