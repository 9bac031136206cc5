"""Programs that read what strangers made: as a user that owns nothing here, without rights, and within limits."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from farmlet.errors import FarmletError

HOUR = 3600
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


@dataclass(frozen=True)
class Tools:
    """Runs them as `user`, with `work`, a folder of that user's, for what they keep meanwhile. `most`: bytes of one file."""

    user: str
    work: Path
    most: int

    def run(self, words: Sequence[str], where: str, memory: int = 0) -> bytes:
        """Standard output. Raises FarmletError with the last of what it complained in. `memory`: bytes, 0: any."""
        account = pwd.getpwnam(self.user)
        limits = [f"--fsize={self.most}", "--core=0", *([f"--as={memory}"] if memory else [])]
        # they end with us: what nobody waits for would fill the disk
        command = ["setpriv", "--no-new-privs", "--pdeathsig=KILL", "prlimit", *limits, "--", *words]
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                stdin=subprocess.DEVNULL,
                timeout=HOUR,
                check=False,
                cwd=self.work,
                env=self._environment(),
                user=account.pw_uid,
                group=account.pw_gid,
                extra_groups=[],
                umask=0o022,
            )
        except subprocess.TimeoutExpired as error:
            raise FarmletError(where, f"did not end within {HOUR} s", "") from error
        if done.returncode:
            said = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
            what = _shorten(said[-1].replace(f"{self.work}/", "")) if said else f"{words[0]} ended with {done.returncode}"
            raise FarmletError(where, what, "")
        return done.stdout

    def _environment(self) -> dict[str, str]:
        own = {"PATH": "/usr/bin:/bin", "HOME": str(self.work), "TMPDIR": str(self.work), "LANG": "C.UTF-8"}
        return own | {name: os.environ[name] for name in PROXIES if name in os.environ}


def _shorten(line: str) -> str:
    """What skopeo and umoci say, without their frame (`time="…" level=fatal msg="…"`)."""
    text = line.partition(' msg="')[2].removesuffix('"').replace('\\"', '"') or line.strip(" ⨯")
    return "".join(one if one.isprintable() else "?" for one in text)[:400]
