"""Whether drones can be ordered."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

from farmlet.runtime.checks import Failed

STATE = "/var/lib/farmlet/overlay"
SECONDS = 9
STALE = 180.0  # seconds without a look at the queues: three times the longest pause between two


def check_site(host: str, user: str, question: str, pause: str) -> str:
    """The site's submit host lets the overlay in and its batch system answers the `question`, a shell command.

    Lines with `drone: HOST: REASON` in the answer are of drones that gave up. `pause`: what the breaker tells.
    """
    told = read_pause(Path(pause), time.time())
    options = ["-o", "BatchMode=yes", "-o", "ConnectTimeout=5", "-o", "UserKnownHostsFile=/etc/farmlet/overlay/known_hosts"]
    login = ["ssh", "-F", "/dev/null", *options, "-i", f"{STATE}/ssh/id_ed25519", f"{user}@{host}"]
    command = ["runuser", "-u", "overlay", "--", *login, question]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False, cwd="/")
    except subprocess.TimeoutExpired as error:
        raise Failed(f"{user}@{host} does not answer within {SECONDS} s") from error
    said = done.stdout.strip().splitlines()
    if done.returncode or not said:
        raise Failed(f"{user}@{host}: {done.stderr.strip()[-200:] or 'says nothing'}")
    if refused := [line.strip().split("drone: ", 1)[1] for line in said if "drone: " in line]:
        raise Failed(f"{user}@{host}: drones give up: {'; '.join(refused)[:400]}{told}")
    if told:
        raise Failed(f"{user}@{host}{told}")
    return f"{user}@{host}: {said[-1]}"


def read_pause(path: Path, now: float) -> str:
    """In words, for how long no drones are ordered and why; "" when they are."""
    try:
        found = json.loads(path.read_bytes())
        left, count, reason = float(found["until"]) - now, int(found["count"]), str(found["reason"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return f"; no drones are ordered for {left:.0f} s more, since {count} gave up: {reason}" if left > 0 else ""


def check_demand(path: str) -> str:
    """The controller has read the queues lately, of each access point. Tells whose jobs it left out, since they ask for what no
    job can, or no drone takes them."""
    try:
        found = json.loads(Path(path).read_text())
        age, odd, silent = time.time() - found["at"], dict(found["odd"]), dict(found["silent"])
        told = f"drones for {found['demand']:g} cores are wanted"
        if untaken := list(found.get("untaken", ())):
            told += f"; free drones do not take {', '.join(untaken[:5])}: condor_q -better-analyze says there why"
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Failed(f"the queues were not read yet ({error}): journalctl -u farmlet-overlay") from error
    if age > STALE:
        raise Failed(f"the queues were last read {age:.0f} s ago, {told} since: journalctl -u farmlet-overlay")
    if silent:
        names = "; ".join(f"{name}: {why}" for name, why in sorted(silent.items()))
        raise Failed(f"{told}; of access points that do not answer the last known jobs count for a while: {names}")
    left = ", ".join(f"{count} of {owner}" for owner, count in sorted(odd.items())[:5])
    return f"{told}; left out are jobs that ask for no amount of cores or memory: {left}" if odd else told
