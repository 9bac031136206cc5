"""Whether drones can be ordered."""

from __future__ import annotations

import subprocess

from farmlet.runtime.checks import Failed

STATE = "/var/lib/farmlet/overlay"


def check_site(host: str, user: str) -> str:
    """The site's submit host lets the overlay in and its batch system answers."""
    options = ["-o", "BatchMode=yes", "-o", "ConnectTimeout=5", "-o", "UserKnownHostsFile=/etc/farmlet/overlay/known_hosts"]
    login = ["ssh", "-F", "/dev/null", *options, "-i", f"{STATE}/ssh/id_ed25519", f"{user}@{host}"]
    command = ["runuser", "-u", "overlay", "--", *login, "condor_status -schedd -af Name || true; condor_q -totals | tail -n 1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=9, check=False, cwd="/")
    if done.returncode:
        raise Failed(f"{user}@{host}: {done.stderr.strip()[-200:]}")
    return f"{user}@{host}: {done.stdout.strip().splitlines()[-1]}"
